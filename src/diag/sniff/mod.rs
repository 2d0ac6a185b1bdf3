//! Capturing packets of a device: which ones, until when, and what is done with them.
//!
//! [`open`] takes what needs rights, [`Session::run`] hands every packet to a [`Sink`]: lines, a file, or the latency of
//! a server. Packets that the kernel dropped are part of every result.

#[cfg(feature = "libpcap")]
pub mod expression;
pub mod file;
pub mod filter;
mod icmp;
mod sequence;
pub mod sink;
pub mod text;

use crate::clock::Clock;
use crate::sys::packet::{
    Capture, Device, DeviceError, LinkType, Packet, PacketStats, RecvmsgCapture, Ring, RingSize, Tap,
};
use crate::units::{Bytes, Nanos};
use file::FileError;
use filter::{Filter, FilterContext, FilterTooLong};
use socket2::SockFilter;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A block of the ring that is not full is handed over after this.
const BLOCK_TIMEOUT: Duration = Duration::from_millis(20);
/// How long to wait for packets before looking whether it is time to end.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Packet by packet, what was dropped is asked for only now and then: it costs a system call.
const PACKETS_PER_COUNT: u64 = 64;
/// No packet is longer, however segments are joined.
pub const LONGEST: Bytes = Bytes(256 << 10);

/// The capture failed.
#[derive(Debug, thiserror::Error)]
pub enum SniffError {
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Filter(#[from] FilterTooLong),
    #[cfg(feature = "libpcap")]
    #[error(transparent)]
    Expression(#[from] expression::ExpressionError),
    #[error(
        "the kernel did not take the filter: {0}; a program may be too long for net.core.optmem_max (sysctl): ask for less"
    )]
    Attach(io::Error),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("printing packets failed: {0}")]
    Print(io::Error),
}

/// Which packets pass.
#[derive(Clone, Debug)]
pub enum PacketFilter {
    Filter(Filter),
    /// A libpcap expression.
    #[cfg(feature = "libpcap")]
    Expression(String),
}

/// What is captured, and how.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the device; `any` for all.
    pub device: String,
    /// Which packets are captured.
    pub wanted: PacketFilter,
    /// Bytes of each packet that are captured.
    pub snap: Bytes,
    /// Memory of the ring.
    pub buffer: Bytes,
    /// Packet by packet instead of in blocks.
    pub immediate: bool,
    /// Frames to other addresses are captured too (PACKET_MR_PROMISC, packet(7)).
    pub promiscuous: bool,
}

/// When to end; the stop flag ends it too.
#[derive(Clone, Copy, Debug, Default)]
pub struct StopCondition {
    /// After this number of packets.
    pub packets: Option<u64>,
    /// After this time.
    pub duration: Option<Nanos>,
}

/// What is done with captured packets.
pub trait Sink {
    /// One captured packet.
    fn packet(&mut self, packet: &Packet) -> Result<(), SniffError>;

    /// Called after each block of packets, and now and then when none come. `waiting`: nothing more is there for now.
    fn pause(&mut self, stats: PacketStats, waiting: bool) -> Result<(), SniffError>;
}

/// How it ended.
#[derive(Debug)]
pub struct Outcome {
    /// Packets that the sink saw.
    pub captured: u64,
    /// What the kernel counted.
    pub stats: PacketStats,
    /// Length of the capture.
    pub took: Nanos,
    /// Why it ended early.
    pub failed: Option<SniffError>,
}

/// Opens the device; packets wait in the kernel from here on.
pub fn open(config: &Config) -> Result<Capture, SniffError> {
    let device = Device::find(&config.device)?;
    let failed = |error| DeviceError::opening(&config.device, error);
    let tap = Tap::open(device)?;
    let program = program(config, tap.device())?;
    tap.filter(&program).map_err(SniffError::Attach)?;
    if tap.device().loopback {
        tap.ignore_outgoing().map_err(failed)?;
    }
    if config.promiscuous && tap.device().index != 0 {
        tap.promiscuous().map_err(failed)?;
    }
    if config.immediate {
        let started = RecvmsgCapture::start(tap, LONGEST.0 as usize, config.buffer.0 as usize);
        return Ok(Capture::Recvmsg(started.map_err(failed)?));
    }
    let ring = Ring::start(tap, RingSize { buffer: config.buffer, block_timeout: BLOCK_TIMEOUT });
    Ok(Capture::Ring(ring.map_err(failed)?))
}

fn program(config: &Config, device: &Device) -> Result<Vec<SockFilter>, SniffError> {
    let many = device.index == 0;
    let context = FilterContext {
        link_type: device.link_type,
        loopback: Device::loopback_index().filter(|_| many),
        snap: Bytes(config.snap.0.min(LONGEST.0)),
    };
    match &config.wanted {
        PacketFilter::Filter(filter) => Ok(filter.compile(context)?),
        #[cfg(feature = "libpcap")]
        PacketFilter::Expression(text) => Ok(expression::compile(text, context)?),
    }
}

/// A capture under way.
pub struct Session<'a> {
    capture: Capture,
    until: StopCondition,
    stop: &'a AtomicBool,
    captured: u64,
    stats: PacketStats,
}

impl<'a> Session<'a> {
    /// `stop` ends the session when it is set.
    pub fn new(capture: Capture, until: StopCondition, stop: &'a AtomicBool) -> Session<'a> {
        Session { capture, until, stop, captured: 0, stats: PacketStats::default() }
    }

    /// What frames of the device begin with.
    pub fn link_type(&self) -> LinkType {
        self.capture.device().link_type
    }

    /// Hands packets to the sink until it is time.
    pub fn run(mut self, sink: &mut impl Sink) -> Outcome {
        let clock = Clock::start();
        let failed = self.capture_until_end(clock, sink).and_then(|()| self.drain(sink)).err();
        let stats = self.capture.stats().unwrap_or_default();
        Outcome { captured: self.captured, stats, took: clock.now(), failed }
    }

    fn capture_until_end(&mut self, clock: Clock, sink: &mut impl Sink) -> Result<(), SniffError> {
        let end = self.until.duration.unwrap_or(Nanos(u64::MAX));
        while !self.stop.load(Ordering::Relaxed) && !self.has_enough() && clock.now() < end {
            self.receive(POLL_INTERVAL.min(end.since(clock.now()).duration()), sink)?;
        }
        Ok(())
    }

    /// What arrived before the end, though the kernel had not handed it over.
    fn drain(&mut self, sink: &mut impl Sink) -> Result<(), SniffError> {
        if self.capture.stop().is_err() {
            return Ok(());
        }
        while !self.has_enough() && self.receive(3 * BLOCK_TIMEOUT, sink)? > 0 {}
        Ok(())
    }

    fn has_enough(&self) -> bool {
        self.until.packets.is_some_and(|packets| self.captured >= packets)
    }

    fn receive(&mut self, at_most: Duration, sink: &mut impl Sink) -> Result<usize, SniffError> {
        let mut left = self.until.packets.map_or(u64::MAX, |packets| packets - self.captured);
        let mut outcome = Ok(());
        let received = self.capture.receive(at_most, |packet| {
            if left > 0 && outcome.is_ok() {
                left -= 1;
                self.captured += 1;
                outcome = sink.packet(&packet);
            }
        });
        outcome?;
        let received = received.map_err(|error| DeviceError::opening(&self.capture.device().name, error))?;
        let seldom = self.capture.is_recvmsg() && received > 0 && !self.captured.is_multiple_of(PACKETS_PER_COUNT);
        if !seldom {
            let stats = self.capture.stats();
            self.stats = stats.map_err(|error| DeviceError::opening(&self.capture.device().name, error))?;
        }
        sink.pause(self.stats, received == 0)?;
        Ok(received)
    }
}
