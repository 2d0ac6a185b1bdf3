//! One system call per packet: slower than the ring, but no packet waits for a block to fill.

use super::{Meta, Packet, Tap, read_address, set, vlan_tag};
use crate::units::Nanos;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Room for the ancillary data: a time stamp and the packet's status.
const CONTROL_WORDS: usize = 32;

/// A tap that is read packet by packet, started.
#[derive(Debug)]
pub struct Immediate {
    tap: Tap,
    buffer: Vec<u8>,
}

/// Ancillary data, aligned as the kernel's headers want it.
type Control = [u64; CONTROL_WORDS];

impl Immediate {
    /// Packets that may lie between a drop and its being noticed: more than a socket's queue holds at its usual size.
    pub(super) const QUEUE: u64 = 1 << 16;

    /// Starts the tap; packets are cut at `snap` bytes, and the kernel may queue `buffer` bytes.
    pub fn start(tap: Tap, snap: usize, buffer: usize) -> io::Result<Immediate> {
        set(&tap.socket, libc::SOL_PACKET, libc::PACKET_AUXDATA, &1i32)?;
        set(&tap.socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &1i32)?;
        // As much as the limit of this user allows.
        let _ = set(&tap.socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &(buffer.min(i32::MAX as usize) as i32));
        tap.socket.set_nonblocking(true)?;
        tap.start()?;
        Ok(Immediate { tap, buffer: vec![0; snap] })
    }

    pub(super) fn receive(&mut self, at_most: Duration, mut each: impl FnMut(Packet<'_>)) -> io::Result<usize> {
        let (meta, length) = match self.read() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.tap.wait(at_most)?;
                match self.read() {
                    Err(error) if crate::sys::socket::is_transient(&error) => return Ok(0),
                    read => read?,
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(0),
            read => read?,
        };
        each(Packet { meta, data: &self.buffer[..length] });
        Ok(1)
    }

    pub(super) fn tap(&self) -> &Tap {
        &self.tap
    }

    pub(super) fn tap_mut(&mut self) -> &mut Tap {
        &mut self.tap
    }

    /// Reads one packet into the buffer; returns how long it is there.
    fn read(&mut self) -> io::Result<(Meta, usize)> {
        // SAFETY: plain data, for which all zero is valid: an address without a family.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        let mut control: Control = [0; CONTROL_WORDS];
        let mut part = libc::iovec { iov_base: self.buffer.as_mut_ptr().cast(), iov_len: self.buffer.len() };
        // SAFETY: plain data, for which all zero is valid: no address, no buffers.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_name = (&raw mut address).cast();
        message.msg_namelen = size_of_val(&address) as libc::socklen_t;
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        // SAFETY: every pointer of the message is to a live buffer of the length beside it.
        let received = unsafe { libc::recvmsg(self.tap.socket.as_raw_fd(), &raw mut message, 0) };
        if received < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut meta = read_control(&message, received as u32);
        read_address(&mut meta, &address);
        Ok((meta, received as usize))
    }
}

/// What the ancillary data of a received message says; its length where the kernel says nothing.
fn read_control(message: &libc::msghdr, received: u32) -> Meta {
    let mut meta = Meta::new(Nanos::ZERO, received);
    // SAFETY: the kernel filled the control buffer and set its length; the macros stay within it.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: as above: null or a header within the buffer.
    while let Some(found) = unsafe { header.as_ref() } {
        // SAFETY: the data follows its header.
        let data = unsafe { libc::CMSG_DATA(header) };
        match (found.cmsg_level, found.cmsg_type) {
            (libc::SOL_PACKET, libc::PACKET_AUXDATA) => {
                // SAFETY: the kernel puts one tpacket_auxdata, plain integers, under this type.
                let status = unsafe { data.cast::<libc::tpacket_auxdata>().read_unaligned() };
                meta.wire_len = status.tp_len;
                meta.vlan = vlan_tag(status.tp_status, status.tp_vlan_tci, status.tp_vlan_tpid);
            }
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                // SAFETY: the kernel puts one timespec, plain integers, under this type.
                let stamp = unsafe { data.cast::<libc::timespec>().read_unaligned() };
                meta.at = Nanos(stamp.tv_sec as u64 * 1_000_000_000 + stamp.tv_nsec as u64);
            }
            _ => {}
        }
        // SAFETY: as above.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    meta
}
