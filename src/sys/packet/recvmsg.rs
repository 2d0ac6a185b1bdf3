//! One system call per packet: slower than the ring, but no packet waits for a block to fill.

use super::{Meta, Packet, Tap, read_address, vlan_tag};
use crate::sys::cmsg::{Cmsg, CmsgBuffer, cmsgs, space, stamp};
use crate::sys::socket::set_option;
use crate::units::Nanos;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Room for the ancillary data: a time stamp and the packet's status.
const ROOM: usize = space(size_of::<libc::timespec>()) + space(size_of::<libc::tpacket_auxdata>());

/// A tap that is read packet by packet, started.
#[derive(Debug)]
pub struct RecvmsgCapture {
    tap: Tap,
    buffer: Vec<u8>,
}

impl RecvmsgCapture {
    /// Packets that may lie between a drop and its being noticed: more than a socket's queue holds at its usual size.
    pub(super) const QUEUE: u64 = 1 << 16;

    /// Starts the tap; packets are cut at `snap` bytes, and the kernel may queue `buffer` bytes.
    pub fn start(tap: Tap, snap: usize, buffer: usize) -> io::Result<RecvmsgCapture> {
        set_option(&tap.socket, libc::SOL_PACKET, libc::PACKET_AUXDATA, &1i32)?;
        set_option(&tap.socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &1i32)?;
        // As much as the limit of this user allows.
        let _ =
            set_option(&tap.socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &(buffer.min(i32::MAX as usize) as i32));
        tap.socket.set_nonblocking(true)?;
        tap.start()?;
        Ok(RecvmsgCapture { tap, buffer: vec![0; snap] })
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
        let mut control = CmsgBuffer::<ROOM>::EMPTY;
        let mut part = libc::iovec { iov_base: self.buffer.as_mut_ptr().cast(), iov_len: self.buffer.len() };
        // SAFETY: plain data, for which all zero is valid: no address, no buffers.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_name = (&raw mut address).cast();
        message.msg_namelen = size_of_val(&address) as libc::socklen_t;
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        control.offer(&mut message);
        // SAFETY: every pointer of the message is to a live buffer of the length beside it.
        let received = unsafe { libc::recvmsg(self.tap.socket.as_raw_fd(), &raw mut message, 0) };
        if received < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut meta = read_control(control.received(&message), received as u32);
        read_address(&mut meta, &address);
        Ok((meta, received as usize))
    }
}

/// Reads the ancillary data of a received message; without PACKET_AUXDATA the wire length is the received one.
fn read_control(control: &[u8], received: u32) -> Meta {
    let mut meta = Meta::new(Nanos::ZERO, received);
    for Cmsg { level, kind, data } in cmsgs(control) {
        match (level, kind) {
            (libc::SOL_PACKET, libc::PACKET_AUXDATA) => read_status(&mut meta, data),
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                meta.at = stamp(data).map_or(Nanos::ZERO, |at| Nanos(at.as_nanos() as u64))
            }
            _ => {}
        }
    }
    meta
}

/// A `struct tpacket_auxdata`.
fn read_status(meta: &mut Meta, data: &[u8]) {
    let Some(bytes) = data.get(..size_of::<libc::tpacket_auxdata>()) else { return };
    // SAFETY: there are as many bytes as the struct has, and any bytes make one: it consists of integers.
    let status: libc::tpacket_auxdata = unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast()) };
    meta.wire_len = status.tp_len;
    meta.vlan = vlan_tag(status.tp_status, status.tp_vlan_tci, status.tp_vlan_tpid);
}
