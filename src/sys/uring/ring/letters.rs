//! Letters: datagrams that go to an address, or come with all that the kernel knows of them.

use super::{Memory, Payload, Ring, Token};
use crate::sys::uring::letter::{Letter, Queue};
use io_uring::types::Fd;
use io_uring::{opcode, squeue};
use std::os::fd::RawFd;

impl Ring {
    /// Sends a letter (5.3). It comes back with the completion as [`Payload::Letter`].
    pub fn send_letter(&mut self, fd: RawFd, mut letter: Box<Letter>, token: Token) {
        let entry = opcode::SendMsg::new(Fd(fd), letter.outbound()).flags(libc::MSG_NOSIGNAL as u32).build();
        self.push_holding(entry, token, Memory::Payload(Payload::Letter(letter)));
    }

    /// Receives datagrams of at most `room` bytes into these letters (5.3), one after the other: as many as are there with
    /// one wake-up, and in the order in which they arrived. Each comes back with a completion of its own as
    /// [`Payload::Letter`]; the result is the datagram's length. After an error the rest is cancelled (ECANCELED).
    ///
    /// All of them must fit into the submission queue together with what is in it.
    pub fn receive_letters(
        &mut self,
        fd: RawFd,
        letters: impl ExactSizeIterator<Item = Box<Letter>>,
        room: usize,
        queue: Queue,
        token: Token,
    ) {
        let message_flags = if queue == Queue::Errors { libc::MSG_ERRQUEUE as u32 } else { 0 };
        let last = letters.len().saturating_sub(1);
        for (index, mut letter) in letters.enumerate() {
            let link = if index < last { squeue::Flags::IO_LINK } else { squeue::Flags::empty() };
            let entry = opcode::RecvMsg::new(Fd(fd), letter.inbound(room)).flags(message_flags).build().flags(link);
            self.push_holding(entry, token, Memory::Payload(Payload::Letter(letter)));
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

    const TOKEN: Token = Token { kind: 1, generation: 2, slot: 3 };

    /// The one letter that completes, and the result.
    fn finished(ring: &mut Ring) -> (Box<Letter>, u32) {
        if ring.collected() == 0 {
            ring.enter(Wait::AtMost(Nanos::from_secs(5))).unwrap();
        }
        let completion = ring.next_completion().expect("it completes");
        assert_eq!(completion.token, TOKEN);
        match completion.payload {
            Some(Payload::Letter(letter)) => (letter, completion.result.expect("it works")),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_letter_arrives_with_its_sender() {
        let Ok(mut ring) = Ring::new(&RingSettings::default()) else {
            return eprintln!("skipped: io_uring does not work here");
        };
        for at in crate::sys::loopbacks() {
            let [a, b] = [(); 2].map(|()| UdpSocket::bind(at).unwrap());
            let to: SocketAddr = b.local_addr().unwrap();
            let mut letter = Letter::new(0);
            letter.compose(&SockAddr::from(to), Some(9)).extend_from_slice(b"hello");
            ring.send_letter(a.as_raw_fd(), letter, TOKEN);
            let (letter, sent) = finished(&mut ring);
            assert_eq!(sent, 5);
            ring.receive_letters(b.as_raw_fd(), [letter].into_iter(), 100, Queue::Data, TOKEN);
            let (letter, len) = finished(&mut ring);
            assert_eq!((letter.received(len), letter.from()), (&b"hello"[..], Some(to.ip())));
        }
    }

    #[test]
    fn letters_arrive_in_order() {
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
            ring.receive_letters(b.as_raw_fd(), (0..4).map(|_| Letter::new(0)), 9, Queue::Data, TOKEN);
            ring.enter(Wait::Poll).unwrap();
            send(first + 2..=first + 3);
            for _ in 0..4 {
                let (letter, len) = finished(&mut ring);
                seen.push(letter.received(len)[0]);
            }
        }
        assert_eq!(seen, (1..=12).collect::<Vec<u8>>());
    }
}
