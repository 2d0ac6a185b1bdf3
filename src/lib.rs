//! ringmark answers one question with figures that hold up: *what would io_uring buy this server on this machine, what
//! does it cost, and which settings get it?*
//!
//! Two programs: `ringmark` (`compare`, `serve`, `report`, `doctor`, `ping`, `trace`, `sniff`) and `ringload`, the load
//! generator. `compare` starts its own executable again for the server and for the generator; they are always separate
//! processes.
//!
//! # Code map
//!
//! | module | what it is for | may import |
//! |---|---|---|
//! | [`units`] | what people type and what figures mean: durations, sizes, cores, addresses | – |
//! | [`clock`] | the one place that reads time | units |
//! | [`sys`] | the only unsafe code: the ring, epoll, sockets, datagrams by the batch, packet rings, affinity, accounting, processes | units |
//! | [`protocol`] | what is said on a socket, by the server and by the generator, with no sockets and no clock | units, stats |
//! | [`engine`] | how a server does I/O: one module per engine, and the connection's state that they share | sys, clock, units, protocol |
//! | [`server`] | listeners, shards, placement of connections, drain, counters | engine, protocol, sys, clock, units |
//! | [`stats`] | pure functions: medians, paired ratios, bootstrap intervals, several claims at once, quantiles, outliers | units, clock |
//! | [`record`] | what is stored and its codecs: results, the workload they are of, the reasons why figures do not count; load, trial and diag write it, report reads it | stats, units |
//! | [`report`] | reading results: figures (`derive.rs`), verdicts (`judgement.rs`), one file per kind of result and one per format, with `result.rs` between them | record, stats, units |
//! | [`load`] | the generator: pacer, pipelines of requests, connections and datagram sockets, recorder, validity, its two engines | protocol, record, stats, sys, clock, units |
//! | [`trial`] | rounds of servers, each with a generator process of its own: all alive and loaded by turns in blocks of slices, or in trials one after the other; order, stop | units, clock, sys, stats, record |
//! | [`diag`] | diagnostics on raw sockets: ping, trace, and sniff with the latency of a server off the wire; parsers and state machines without I/O, and thin loops that send and receive | sys, clock, units, stats, record |
//! | [`cli`] | clap structs, one file per command: what was typed turned into validated settings | all |
//!
//! `tests/architecture` holds the table.
//!
//! # Where things happen
//!
//! - **A received byte**, server side: an engine (`engine/uring/shard.rs`, the fastest to run; `engine/threads.rs`, the
//!   plainest to read) → [`engine::conversation::Conversation::received`] → the protocol's [`protocol::Session::received`] →
//!   back through `Conversation::next_send` to the engine. Nothing else interprets what a session says. A datagram:
//!   `engine/*/datagrams.rs` → [`engine::datagram::handle_datagram`] → [`protocol::DatagramService::datagram`].
//! - **A socket's life**, server side: create, bind, listen in `server/listeners/open.rs`; accept, receive, send in the
//!   engine; drain in [`server`]. The client's (create, connect, send, receive): `load/*/engine/`.
//! - **A request is timed** in `load/pipeline.rs` (when it was meant to be sent and when it was), and recorded by
//!   `load/recorder.rs` when its answer is complete.
//! - **A slice** (a comparison's 50 ms with one contestant): `trial/slices.rs` says whose turn it is, by line to the
//!   generator ([`record::slice_command`]); there `load/slices.rs` begins and ends it with nothing under way and reads the
//!   clocks at both ends, and the threads wait at `load/slice_gate.rs` until the next.
//! - **A verdict is made** in `report/judgement.rs`, from ratios that `report/pairing.rs` takes block by block and
//!   `stats/rounds.rs` (of trials `stats/paired.rs`) makes an interval of; whether a trial counts in `load/validity.rs`,
//!   whether a contestant is broken in `report/broken.rs`.
//! - **What is said to whom on all shards** (publications): [`protocol::Cx::publish`] → `engine/topics.rs` on each shard.
//!
//! # Adding to it
//!
//! - A protocol: a file that begins like [`protocol::skeleton`], and one line in `for_each_protocol`.
//! - What the generator speaks: a file that begins like [`protocol::skeleton::client`], and one line in
//!   [`for_each_stream_client`] or [`for_each_datagram_client`].
//! - An engine: a file that begins like [`engine::skeleton`], and one line in [`for_each_engine`].
//! - A property of the load: one field of [`record::Workload`] and its description in [`record::workload::PROPERTIES`].
//! - A kind of result: a file in [`report`] and one line in [`report::result::KINDS`]. A format: a file and a line in
//!   `report/export.rs`.
//! - A reason why figures do not count: a variant of [`record::Reason`] and its words in `record/reason/words.rs`.
//!
//! # Invariants
//!
//! 1. `unsafe` lives in [`sys`] only, each block with its SAFETY reason; what `sys` exports is safe to call. The ring
//!    owns every buffer the kernel may touch until the final completion of the operation that names it; a
//!    [`sys::uring::Lease`] is the proof that a received buffer is ours.
//! 2. Once a connection is open, an echoed message costs no allocation, no lock and no dynamic dispatch (tokio and
//!    tokio-uring do inside what they do). A publication costs one shared buffer, and one message per other shard and turn.
//! 3. At most one send in flight per stream connection, of one or several segments, many per datagram socket; bytes held
//!    per connection are bounded, whatever the protocol ([`engine::conversation`]); a slow reader slows only itself: when
//!    its answers pin so many receive buffers that others starve, they are copied out. Every free list is bounded in number
//!    and bytes.
//! 4. Every engine gets the same sockets: same options, same placement, same buffer budget. What differs is named in
//!    the contestant's options.
//! 5. A slot is used again only after every operation on it has completed, and under a new generation.
//! 6. Every thread the work causes is counted, io-wq workers and the SQPOLL thread included: CPU time is the process's.
//!    What cannot be counted for nothing (system calls) is counted outside the counted window, under the same load.
//! 7. Raw data is stored; derived figures are computed from it again. Percentiles are never averaged: histograms add.
//! 8. An error says what was tried, on what, why it failed, and what to do next. Nothing panics on input or the network.
//! 9. Default addresses are loopback. No server answers what may be the answer of another
//!    ([`engine::datagram::ReflectionGuard`], [`sys::datagram::mark_answers`]).
//!
//! Deliberately absent: an async runtime of our own, a plug-in interface, `dyn` in a message's path, configuration
//! files (a scenario of `compare` counts only where it is named), and a drain inside the kernel (`IORING_OP_SHUTDOWN` runs
//! on a worker thread and is used at the end only).
#![deny(unsafe_code)]

pub mod cli;
pub mod clock;
pub mod diag;
pub mod engine;
pub mod load;
pub mod protocol;
pub mod record;
pub mod report;
pub mod server;
pub mod stats;
pub mod sys;
pub mod trial;
pub mod units;
