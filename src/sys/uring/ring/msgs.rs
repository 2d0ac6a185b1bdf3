//! sendmsg(2) and recvmsg(2) on the ring: datagrams with address and ancillary data.

use super::{OpMemory, Ring, UserData};
use crate::sys::uring::msg::{Msg, Queue};
use io_uring::types::Fd;
use io_uring::{opcode, squeue};
use std::os::fd::RawFd;

impl Ring {
    /// Sends a datagram (5.3). It comes back as [`super::Completion::msg`].
    pub fn send_msg(&mut self, fd: RawFd, mut msg: Box<Msg>, user_data: UserData) {
        let entry = opcode::SendMsg::new(Fd(fd), msg.outbound()).flags(libc::MSG_NOSIGNAL as u32).build();
        self.push_with_memory(entry, user_data, OpMemory::Msg(msg));
    }

    /// Receives datagrams of at most `room` bytes into these messages (5.3), one after the other: as many as are there with
    /// one wake-up, and in the order in which they arrived. Each comes back with a completion of its own as
    /// [`super::Completion::msg`]; the result is the datagram's length. After an error the rest is cancelled (ECANCELED).
    ///
    /// All of them must fit into the submission queue together with what is in it.
    pub fn receive_msgs(
        &mut self,
        fd: RawFd,
        msgs: impl ExactSizeIterator<Item = Box<Msg>>,
        room: usize,
        queue: Queue,
        user_data: UserData,
    ) {
        let message_flags = if queue == Queue::Errors { libc::MSG_ERRQUEUE as u32 } else { 0 };
        let last = msgs.len().saturating_sub(1);
        for (index, mut msg) in msgs.enumerate() {
            let link = if index < last { squeue::Flags::IO_LINK } else { squeue::Flags::empty() };
            let entry = opcode::RecvMsg::new(Fd(fd), msg.inbound(room)).flags(message_flags).build().flags(link);
            self.push_with_memory(entry, user_data, OpMemory::Msg(msg));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{RingSettings, Wait};
    use super::*;
    use crate::units::Nanos;
    use socket2::SockAddr;
    use std::net::{SocketAddr, UdpSocket};
    use std::os::fd::AsRawFd;

    const USER_DATA: UserData = UserData { kind: 1, generation: 2, slot: 3 };

    /// The one message that completes, and the result.
    fn finished(ring: &mut Ring) -> (Box<Msg>, u32) {
        if ring.ready_len() == 0 {
            ring.enter(Wait::AtMost(Nanos::from_secs(5))).unwrap();
        }
        let completion = ring.next_completion().expect("it completes");
        assert_eq!(completion.user_data, USER_DATA);
        (completion.msg.expect("it comes back"), completion.result.expect("it works"))
    }

    #[test]
    fn a_msg_arrives_with_its_sender() {
        let Ok(mut ring) = Ring::new(&RingSettings::default()) else {
            return eprintln!("skipped: io_uring does not work here");
        };
        for at in crate::sys::loopbacks() {
            let [a, b] = [(); 2].map(|()| UdpSocket::bind(at).unwrap());
            let to: SocketAddr = b.local_addr().unwrap();
            let mut msg = Msg::new(0);
            msg.compose(&SockAddr::from(to), Some(9)).extend_from_slice(b"hello");
            ring.send_msg(a.as_raw_fd(), msg, USER_DATA);
            let (msg, sent) = finished(&mut ring);
            assert_eq!(sent, 5);
            ring.receive_msgs(b.as_raw_fd(), [msg].into_iter(), 100, Queue::Data, USER_DATA);
            let (msg, len) = finished(&mut ring);
            assert_eq!((msg.received(len), msg.from()), (&b"hello"[..], Some(to.ip())));
        }
    }

    #[test]
    fn msgs_arrive_in_order() {
        let Ok(mut ring) = Ring::new(&RingSettings { entries: 64, completions: 128, ..RingSettings::default() }) else {
            return eprintln!("skipped: io_uring does not work here");
        };
        let [a, b] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let to = b.local_addr().unwrap();
        let mut seen = Vec::new();
        let send = |numbers: std::ops::RangeInclusive<u8>| {
            numbers.for_each(|number| assert_eq!(a.send_to(&[number], to).unwrap(), 1));
        };
        // Half of each batch is there when it is waited for, half comes later.
        for first in [1, 5, 9] {
            send(first..=first + 1);
            ring.receive_msgs(b.as_raw_fd(), (0..4).map(|_| Msg::new(0)), 9, Queue::Data, USER_DATA);
            ring.enter(Wait::Poll).unwrap();
            send(first + 2..=first + 3);
            for _ in 0..4 {
                let (msg, len) = finished(&mut ring);
                seen.push(msg.received(len)[0]);
            }
        }
        assert_eq!(seen, (1..=12).collect::<Vec<u8>>());
    }
}
