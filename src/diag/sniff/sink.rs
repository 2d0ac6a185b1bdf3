//! What is done with packets: lines on the standard output, files, both, or the latency of a server.

use super::file::PacketFile;
use super::text::Printer;
use super::{Sink, SniffError};
use crate::diag::frame::Frame;
use crate::diag::latency::{Flags, FlowTable, Segment};
use crate::sys::packet::{LinkType, Packet, PacketStats};
use etherparse::TransportSlice;
use std::io::{BufWriter, Stdout, Write};
use std::net::SocketAddr;

/// Lines to read, a file, or both.
pub struct Records {
    /// Where packets are printed.
    pub lines: Option<(Printer, BufWriter<Stdout>)>,
    /// Where packets are written.
    pub file: Option<PacketFile>,
    stats: PacketStats,
}

impl Records {
    /// Printed packets go to the standard output.
    pub fn new(lines: Option<Printer>, file: Option<PacketFile>) -> Records {
        let lines = lines.map(|printer| (printer, BufWriter::with_capacity(64 << 10, std::io::stdout())));
        Records { lines, file, stats: PacketStats::default() }
    }

    /// All is written.
    pub fn finish(&mut self, stats: PacketStats) -> Result<(), SniffError> {
        self.file.as_mut().map_or(Ok(()), |file| file.finish(stats))?;
        self.flush_lines()
    }

    fn flush_lines(&mut self) -> Result<(), SniffError> {
        self.lines.as_mut().map_or(Ok(()), |(_, out)| out.flush()).map_err(SniffError::Print)
    }
}

impl Sink for Records {
    fn packet(&mut self, packet: &Packet) -> Result<(), SniffError> {
        if let Some(file) = &mut self.file {
            file.write(packet, self.stats)?;
        }
        if let Some((printer, out)) = &mut self.lines {
            printer.print(packet, out).map_err(SniffError::Print)?;
        }
        Ok(())
    }

    /// Lines appear when nothing more is waiting to be printed; a file that is read along grows then, too.
    fn pause(&mut self, stats: PacketStats, waiting: bool) -> Result<(), SniffError> {
        self.stats = stats;
        self.flush_lines()?;
        match &mut self.file {
            Some(file) if waiting => Ok(file.flush()?),
            _ => Ok(()),
        }
    }
}

/// Feeds packets to a [`FlowTable`], and shows the progress.
pub struct Latency<F> {
    /// What was measured so far.
    pub table: FlowTable,
    link_type: LinkType,
    show: F,
    stats: PacketStats,
    /// Blocks after which a hole that is known to be ahead lies behind.
    gap_within: u64,
    blocks: u64,
}

impl<F: FnMut(&FlowTable, PacketStats)> Latency<F> {
    /// `blocks`: how many of them the kernel fills before it drops; `show` is called often.
    pub fn new(table: FlowTable, link_type: LinkType, blocks: u64, show: F) -> Latency<F> {
        Latency { table, link_type, show, stats: PacketStats::default(), gap_within: 0, blocks }
    }
}

impl<F: FnMut(&FlowTable, PacketStats)> Sink for Latency<F> {
    fn packet(&mut self, packet: &Packet) -> Result<(), SniffError> {
        feed(&mut self.table, self.link_type, packet);
        Ok(())
    }

    /// Drops are noticed before the packets around them come by: behind one of the blocks that were full then lies the
    /// hole, so each of their ends counts as one.
    fn pause(&mut self, stats: PacketStats, waiting: bool) -> Result<(), SniffError> {
        if stats.dropped > self.stats.dropped {
            self.gap_within = self.blocks;
        }
        if self.gap_within > 0 {
            self.table.lost();
            self.gap_within = if waiting { 0 } else { self.gap_within - 1 };
        }
        self.stats = stats;
        (self.show)(&self.table, stats);
        Ok(())
    }
}

/// Hands a packet to the table, if it is TCP or UDP.
pub fn feed(table: &mut FlowTable, link_type: LinkType, packet: &Packet) {
    let Some(frame) = Frame::parse(link_type, packet) else { return };
    let Some(pair) = frame.addr_pair() else { return };
    let at = packet.meta.at;
    match &frame.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            let flags = Flags { syn: tcp.syn(), ack: tcp.ack(), fin: tcp.fin(), rst: tcp.rst(), psh: tcp.psh() };
            let segment = Segment {
                sequence: tcp.sequence_number(),
                acknowledged: tcp.acknowledgment_number(),
                flags,
                payload: frame.tcp_payload(tcp) as u32,
            };
            let from = SocketAddr::new(pair.source, tcp.source_port());
            table.tcp(at, from, SocketAddr::new(pair.destination, tcp.destination_port()), segment);
        }
        Some(TransportSlice::Udp(udp)) => {
            let from = SocketAddr::new(pair.source, udp.source_port());
            table.udp(at, from, SocketAddr::new(pair.destination, udp.destination_port()));
        }
        _ => {}
    }
}
