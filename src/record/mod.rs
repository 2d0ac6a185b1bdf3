//! The stored form of every result: the bottom layer, which `load`, `trial` and `diag` write and `report` reads. Scripts
//! rely on these names; add fields, never rename or reuse them.
//!
//! Times are integer nanoseconds. Histograms are stored whole (HdrHistogram V2 deflate, base64), so that every figure
//! derived from them can be computed again and several runs can be added; percentiles are never averaged.

mod aa;
mod accounting;
mod comparison;
mod datagrams;
pub mod file;
pub mod histogram;
mod latency_figures;
mod load;
pub mod passive_latency;
pub mod ping;
mod probes;
mod reason;
pub mod slice_command;
mod slices;
pub mod trace;
pub mod workload;

pub use aa::{AA_SCHEMA, AaComparison, AaReport, AlarmsRecord, RateRecord};
pub use accounting::{
    AccountingRecord, CountRecord, EndRecord, InterruptsRecord, SYSTEM_CALLS, UnavailableRecord, UseRecord,
};
pub use comparison::*;
pub use datagrams::{DatagramRecord, TrafficRecord};
pub use latency_figures::LatencyFigures;
pub use load::*;
pub use passive_latency::{ConnectionRecord, PASSIVE_LATENCY_SCHEMA, PacketsRecord, PassiveLatencyReport, SeenRecord};
pub use ping::{PING_SCHEMA, PingReport, SocketRecord, TargetRecord};
pub use probes::IcmpErrorRecord;
use probes::{label, share_lost};
pub use reason::{Losses, Reason};
pub use slices::{Bound, FloorRecord, FloorSliceRecord, JudgedRatioRecord, RatiosRecord, SliceRecord, SlicesRecord};
pub use trace::{AddressRecord, HopRecord, TRACE_SCHEMA, TraceReport};
pub use workload::{GeneratorSettings, Shape, Workload};
