//! Packet sockets (packet(7)): every frame of a device, through a ring that the kernel fills ([`Ring`]) or one system
//! call per packet ([`RecvmsgCapture`]).
//!
//! A [`Device`] is opened as a [`Tap`], which sees nothing until it is started: filter and options come first, so that no
//! packet slips past them.

mod device;
mod recvmsg;
mod ring;

pub use device::{Device, DeviceError, LinkType, interface_name};
pub use recvmsg::RecvmsgCapture;
pub use ring::{Block, Packets, Ring, RingSize};

use crate::sys::socket::set_option;
use crate::units::Nanos;
use device::protocol_all;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Where a packet went, as the device saw it (`sll_pkttype`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To this machine.
    Host,
    /// Link-layer broadcast.
    Broadcast,
    /// Link-layer multicast.
    Multicast,
    /// To another machine, seen in promiscuous mode.
    OtherHost,
    /// Sent by this machine.
    Outgoing,
}

/// A tag of IEEE 802.1Q that the kernel took out of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VlanTag {
    /// Tag protocol identifier: 0x8100 or 0x88a8.
    pub ethertype: u16,
    /// Tag control information: priority, drop indicator, VLAN number.
    pub control: u16,
}

/// What came with a packet, beside its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Meta {
    /// Since 1970, from the wall clock, when the packet passed the device.
    pub at: Nanos,
    /// Bytes of the frame on the wire; more than were captured where the filter or the ring cut it.
    pub wire_len: u32,
    /// The tag that the kernel took out of the frame, if it had one.
    pub vlan: Option<VlanTag>,
    /// Index of the device.
    pub interface: u32,
    /// To or from this machine.
    pub direction: Direction,
    /// Of what follows the link's header, an EtherType.
    pub protocol: u16,
    /// Kind of the device (`ARPHRD_…`).
    pub hardware: u16,
    /// Link-layer address of the sender.
    pub source: [u8; 8],
    /// Valid bytes of `source`.
    pub source_len: u8,
}

/// One packet, for as long as the kernel cannot write over it.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// What the kernel reports about it.
    pub meta: Meta,
    /// The frame, as far as it was captured.
    pub data: &'a [u8],
}

/// Packets that passed the filter, and those among them that the kernel had no room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketStats {
    /// Packets that passed the filter, dropped ones included.
    pub received: u64,
    /// Of those: dropped by the kernel for want of buffer space.
    pub dropped: u64,
}

/// A packet socket on a device.
#[derive(Debug)]
pub struct Tap {
    socket: Socket,
    device: Device,
    stats: PacketStats,
}

impl Tap {
    /// Opens it; it sees nothing yet.
    pub fn open(device: Device) -> Result<Tap, DeviceError> {
        let kind = match device.link_type {
            LinkType::Ethernet => Type::RAW,
            LinkType::Cooked => Type::DGRAM,
        };
        // Protocol 0: nothing arrives before `start` binds it.
        let socket = Socket::new(Domain::PACKET, kind, Some(Protocol::from(0)));
        let socket = socket.map_err(|error| DeviceError::opening(&device.name, error))?;
        Ok(Tap { socket, device, stats: PacketStats::default() })
    }

    /// The device that is captured.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Has the kernel run this program over each packet: what it returns is how many bytes are captured, 0 none.
    ///
    /// # Errors
    /// EINVAL for a program that the kernel's checker refuses.
    pub fn filter(&self, program: &[SockFilter]) -> io::Result<()> {
        self.socket.attach_filter(program)
    }

    /// Leaves out what this machine sends: on a loopback device, where all comes in again, nothing then shows twice.
    pub fn ignore_outgoing(&self) -> io::Result<()> {
        set_option(&self.socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1i32)
    }

    /// Has the device take frames to any address while the tap is open.
    pub fn promiscuous(&self) -> io::Result<()> {
        let request = libc::packet_mreq {
            mr_ifindex: self.device.index as i32,
            mr_type: libc::PACKET_MR_PROMISC as u16,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        set_option(&self.socket, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &request)
    }

    /// From now on packets arrive.
    fn start(&self) -> io::Result<()> {
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: protocol_all(),
            sll_ifindex: self.device.index as i32,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        let length = size_of_val(&address) as libc::socklen_t;
        // SAFETY: the kernel reads one sockaddr_ll of the length given.
        match unsafe { libc::bind(self.socket.as_raw_fd(), (&raw const address).cast(), length) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// All that was counted since the start. The kernel forgets its own figures when they are read, so they add up here.
    fn stats(&mut self) -> io::Result<PacketStats> {
        let mut now = libc::tpacket_stats_v3 { tp_packets: 0, tp_drops: 0, tp_freeze_q_cnt: 0 };
        let mut length = size_of_val(&now) as libc::socklen_t;
        let (level, name) = (libc::SOL_PACKET, libc::PACKET_STATISTICS);
        // SAFETY: the kernel writes at most `length` bytes into a structure of that size, whose fields may hold any bits.
        let done =
            unsafe { libc::getsockopt(self.socket.as_raw_fd(), level, name, (&raw mut now).cast(), &raw mut length) };
        if done != 0 {
            return Err(io::Error::last_os_error());
        }
        self.stats.received += u64::from(now.tp_packets);
        self.stats.dropped += u64::from(now.tp_drops);
        Ok(self.stats)
    }

    /// Waits until something may be read, at most this long; a signal ends it early. An error is the device's: it went
    /// down or away.
    fn wait(&self, at_most: Duration) -> io::Result<()> {
        let mut poll = libc::pollfd { fd: self.socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let millis = at_most.as_millis().min(i32::MAX as u128) as i32;
        // SAFETY: the kernel reads and writes one pollfd.
        match unsafe { libc::poll(&raw mut poll, 1, millis) } {
            -1 => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => Ok(()),
                error => Err(error),
            },
            _ if poll.revents & libc::POLLERR != 0 => self.socket.take_error()?.map_or(Ok(()), Err),
            _ => Ok(()),
        }
    }
}

/// The tap as what reads from it.
#[derive(Debug)]
pub enum Capture {
    /// In blocks, from shared memory.
    Ring(Ring),
    /// Packet by packet, with recvmsg(2).
    Recvmsg(RecvmsgCapture),
}

impl Capture {
    /// Waits for packets, at most this long, and hands over those that are there: at most a block of the ring, or one
    /// packet. Returns how many.
    ///
    /// # Errors
    /// ENETDOWN when the device goes down: what was captured before has been handed over.
    pub fn receive(&mut self, at_most: Duration, each: impl FnMut(Packet<'_>)) -> io::Result<usize> {
        match self {
            Capture::Ring(ring) => ring.receive(at_most, each),
            Capture::Recvmsg(capture) => capture.receive(at_most, each),
        }
    }

    /// Packets since the start (PACKET_STATISTICS).
    pub fn stats(&mut self) -> io::Result<PacketStats> {
        self.tap_mut().stats()
    }

    /// The device that is captured.
    pub fn device(&self) -> &Device {
        match self {
            Capture::Ring(ring) => &ring.tap().device,
            Capture::Recvmsg(capture) => &capture.tap().device,
        }
    }

    /// Nothing more comes in; what the kernel holds can still be received.
    pub fn stop(&mut self) -> io::Result<()> {
        // Accepts no packet: BPF_RET | BPF_K with 0.
        self.tap_mut().filter(&[SockFilter::new(libc::BPF_RET as u16, 0, 0, 0)])
    }

    /// How many blocks the kernel may fill before it drops: what lies between a drop and its being noticed.
    pub fn blocks(&self) -> u64 {
        match self {
            Capture::Ring(ring) => ring.blocks(),
            Capture::Recvmsg(_) => RecvmsgCapture::QUEUE,
        }
    }

    /// Whether what was counted is asked for after each packet: then it is better asked for now and then.
    pub fn is_recvmsg(&self) -> bool {
        matches!(self, Capture::Recvmsg(_))
    }

    fn tap_mut(&mut self) -> &mut Tap {
        match self {
            Capture::Ring(ring) => ring.tap_mut(),
            Capture::Recvmsg(capture) => capture.tap_mut(),
        }
    }
}

/// Takes over what the kernel reports of a packet's link.
fn read_address(meta: &mut Meta, address: &libc::sockaddr_ll) {
    meta.interface = address.sll_ifindex as u32;
    meta.protocol = u16::from_be(address.sll_protocol);
    meta.hardware = address.sll_hatype;
    meta.source = address.sll_addr;
    meta.source_len = address.sll_halen.min(8);
    meta.direction = match address.sll_pkttype {
        libc::PACKET_BROADCAST => Direction::Broadcast,
        libc::PACKET_MULTICAST => Direction::Multicast,
        libc::PACKET_OTHERHOST => Direction::OtherHost,
        libc::PACKET_OUTGOING => Direction::Outgoing,
        _ => Direction::Host,
    };
}

/// The tag that the kernel took out of a frame, where the packet's status has one.
fn vlan_tag(status: u32, control: u16, ethertype: u16) -> Option<VlanTag> {
    const PLAIN: u16 = 0x8100;
    let known = status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
    let tag = VlanTag { ethertype: if known { ethertype } else { PLAIN }, control };
    (status & libc::TP_STATUS_VLAN_VALID != 0).then_some(tag)
}

impl Meta {
    /// Of a made-up packet.
    #[cfg(test)]
    pub fn sample(at: Nanos, wire_len: u32, protocol: u16) -> Meta {
        Meta { protocol, ..Meta::new(at, wire_len) }
    }

    fn new(at: Nanos, wire_len: u32) -> Meta {
        Meta {
            at,
            wire_len,
            vlan: None,
            interface: 0,
            direction: Direction::Host,
            protocol: 0,
            hardware: 0,
            source: [0; 8],
            source_len: 0,
        }
    }
}
