//! Captured packets in pcapng files, with nanosecond stamps, that tcpdump and Wireshark read.
//!
//! The files are big-endian: readers take both, and only so does the library write the time of the statistics in the
//! order that the format asks for (high half first).

use super::LONGEST;
use crate::diag::frame::with_vlan;
use crate::sys::packet::{Device, Direction, LinkType, Packet, PacketStats};
use crate::units::{Bytes, Nanos};
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use pcap_file::pcapng::blocks::interface_statistics::{InterfaceStatisticsBlock, InterfaceStatisticsOption};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::{DataLink, Endianness, PcapError};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

const ETHERNET: u32 = 1;
/// LINKTYPE_LINUX_SLL2: its header has device, direction and protocol.
const COOKED: u32 = 276;
const COOKED_HEADER: usize = 20;
const VLAN_TAG: u64 = 4;
/// Stamps count 10^-9 seconds (`if_tsresol`).
const NANOSECONDS: u8 = 9;
/// Written to the file at once.
const BUFFER: usize = 256 << 10;
/// Beside its data, what a packet's block has at least.
const BLOCK_OVERHEAD: u64 = 32;
const STDOUT: &str = "-";

/// A file of packets cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("writing packets to {path} failed: {error}{hint}")]
pub struct FileError {
    path: String,
    error: io::Error,
    hint: &'static str,
}

/// When the next file begins, and how many are kept. All 0: never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// A file is not made larger than this, unless one packet is.
    pub bytes: Bytes,
    /// Packets of a file.
    pub packets: u64,
    /// Older files are removed; 0 keeps all.
    pub keep: usize,
}

impl Rotation {
    /// No rotation: all packets go into one file.
    pub fn is_off(&self) -> bool {
        self.bytes.0 == 0 && self.packets == 0
    }
}

/// Where packets are written, and what the file headers state about their source.
#[derive(Clone, Debug)]
pub struct FileConfig {
    /// `-` is the standard output.
    pub path: PathBuf,
    /// When the next file begins.
    pub rotation: Rotation,
    /// Where the packets come from.
    pub device: Device,
    /// Bytes of each packet that are captured.
    pub snap: Bytes,
}

/// The file that is being written, or the series of them.
pub struct PacketFile {
    config: FileConfig,
    writer: PcapNgWriter<BufWriter<File>>,
    number: u64,
    written: Bytes,
    packets: u64,
    kept: VecDeque<PathBuf>,
    started: Nanos,
    last: Nanos,
    room: Vec<u8>,
}

impl PacketFile {
    /// Creates the first file. An existing one is replaced.
    pub fn create(config: FileConfig) -> Result<PacketFile, FileError> {
        let path = config.file(0);
        let (writer, written) = open(&path, &config).map_err(|error| error_at(&path, error))?;
        let kept = VecDeque::from([path]);
        let (room, started) = (Vec::new(), Nanos::ZERO);
        Ok(PacketFile { config, writer, number: 0, written, packets: 0, kept, started, last: started, room })
    }

    /// Appends a packet; `counted` stands at the end of a file that is full.
    pub fn write(&mut self, packet: &Packet, stats: PacketStats) -> Result<(), FileError> {
        let size = Bytes(packet.data.len() as u64 + COOKED_HEADER as u64 + BLOCK_OVERHEAD);
        if self.is_full(size) {
            self.rotate(stats)?;
        }
        let block = block(packet, self.config.device.link_type, &mut self.room);
        let written = self.writer.write_pcapng_block(block).map_err(plain);
        self.written.0 += written.map_err(|error| error_at(self.path(), error))? as u64;
        self.packets += 1;
        self.last = packet.meta.at;
        if self.started == Nanos::ZERO {
            self.started = packet.meta.at;
        }
        Ok(())
    }

    /// What is written so far reaches its readers.
    pub fn flush(&mut self) -> Result<(), FileError> {
        self.writer.get_mut().flush().map_err(|error| error_at(self.path(), error))
    }

    /// Writes the statistics, and the file is whole.
    pub fn finish(&mut self, stats: PacketStats) -> Result<(), FileError> {
        let block = statistics(self.started, self.last, stats);
        let written = self.writer.write_pcapng_block(block).map_err(plain);
        written.map_err(|error| error_at(self.path(), error))?;
        self.flush()
    }

    fn path(&self) -> &Path {
        self.kept.back().map_or(self.config.path.as_path(), PathBuf::as_path)
    }

    fn is_full(&self, more: Bytes) -> bool {
        let Rotation { bytes, packets, .. } = self.config.rotation;
        let large = bytes.0 > 0 && self.written.0 + more.0 > bytes.0;
        self.packets > 0 && (large || (packets > 0 && self.packets >= packets))
    }

    fn rotate(&mut self, stats: PacketStats) -> Result<(), FileError> {
        self.finish(stats)?;
        self.number += 1;
        let path = self.config.file(self.number);
        let (writer, written) = open(&path, &self.config).map_err(|error| error_at(&path, error))?;
        (self.writer, self.written, self.packets, self.started) = (writer, written, 0, Nanos::ZERO);
        self.kept.push_back(path);
        while self.config.rotation.keep > 0 && self.kept.len() > self.config.rotation.keep {
            let oldest = self.kept.pop_front().unwrap_or_default();
            fs::remove_file(&oldest).map_err(|error| error_at(&oldest, error))?;
        }
        Ok(())
    }
}

impl FileConfig {
    /// The name of a file of the series: `trace.00003.pcapng`; of one that does not rotate the name as typed.
    fn file(&self, number: u64) -> PathBuf {
        if self.rotation.is_off() {
            return self.path.clone();
        }
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy();
        let extension = self.path.extension().map_or("pcapng".into(), |extension| extension.to_string_lossy());
        self.path.with_file_name(format!("{stem}.{number:05}.{extension}"))
    }
}

fn error_at(path: &Path, error: io::Error) -> FileError {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; root's rights were given up after opening: name a directory that the user of -Z may write to"
        }
        io::ErrorKind::StorageFull => {
            "; limit what is kept with --rotate-size and --files, or what is captured with -s"
        }
        _ => "",
    };
    FileError { path: path.display().to_string(), error, hint }
}

fn plain(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        other => io::Error::other(other),
    }
}

/// A new file with what stands at its beginning, and how long that is.
fn open(path: &Path, config: &FileConfig) -> io::Result<(PcapNgWriter<BufWriter<File>>, Bytes)> {
    let file = match path.to_str() {
        Some(STDOUT) => File::from(io::stdout().as_fd().try_clone_to_owned()?),
        _ => File::create(path)?,
    };
    let section = SectionHeaderBlock {
        endianness: Endianness::Big,
        options: vec![SectionHeaderOption::UserApplication(concat!("ringmark ", env!("CARGO_PKG_VERSION")).into())],
        ..Default::default()
    };
    let mut writer =
        PcapNgWriter::with_section_header(BufWriter::with_capacity(BUFFER, file), section).map_err(plain)?;
    // What is put before or into a frame makes it longer than what was captured; readers refuse what is longer than this.
    let (link, added) = match config.device.link_type {
        LinkType::Ethernet => (ETHERNET, VLAN_TAG),
        LinkType::Cooked => (COOKED, COOKED_HEADER as u64),
    };
    let interface = InterfaceDescriptionBlock {
        linktype: DataLink::from(link),
        snaplen: (config.snap.0 + added).min(LONGEST.0) as u32,
        options: vec![
            InterfaceDescriptionOption::IfName(config.device.name.as_str().into()),
            InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
        ],
    };
    let length = writer.write_pcapng_block(interface).map_err(plain)?;
    Ok((writer, Bytes(length as u64)))
}

fn block<'a>(packet: &Packet<'a>, link_type: LinkType, room: &'a mut Vec<u8>) -> EnhancedPacketBlock<'a> {
    let (packet, added) = match link_type {
        LinkType::Ethernet => (with_vlan(packet, link_type, room).0, 0),
        LinkType::Cooked => {
            room.clear();
            room.extend_from_slice(&cooked_header(packet));
            room.extend_from_slice(packet.data);
            (Packet { meta: packet.meta, data: room.as_slice() }, COOKED_HEADER as u32)
        }
    };
    EnhancedPacketBlock {
        interface_id: 0,
        timestamp: Duration::from_nanos(packet.meta.at.0),
        original_len: packet.meta.wire_len.saturating_add(added),
        data: Cow::Borrowed(packet.data),
        options: Vec::new(),
    }
}

/// LINUX_SLL2: protocol, nothing, device, its kind, direction, length of the sender's address, the address.
fn cooked_header(packet: &Packet) -> [u8; COOKED_HEADER] {
    let meta = &packet.meta;
    let direction = match meta.direction {
        Direction::Host => 0,
        Direction::Broadcast => 1,
        Direction::Multicast => 2,
        Direction::OtherHost => 3,
        Direction::Outgoing => 4,
    };
    let mut header = [0; COOKED_HEADER];
    header[..2].copy_from_slice(&meta.protocol.to_be_bytes());
    header[4..8].copy_from_slice(&meta.interface.to_be_bytes());
    header[8..10].copy_from_slice(&meta.hardware.to_be_bytes());
    header[10] = direction;
    header[11] = meta.source_len;
    header[12..].copy_from_slice(&meta.source);
    header
}

fn statistics(started: Nanos, ended: Nanos, stats: PacketStats) -> InterfaceStatisticsBlock<'static> {
    InterfaceStatisticsBlock {
        interface_id: 0,
        timestamp: ended.0,
        options: vec![
            InterfaceStatisticsOption::IsbStartTime(started.0),
            InterfaceStatisticsOption::IsbEndTime(ended.0),
            InterfaceStatisticsOption::IsbFilterAccept(stats.received),
            InterfaceStatisticsOption::IsbOsDrop(stats.dropped),
        ],
    }
}
