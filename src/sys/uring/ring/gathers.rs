//! Sends of several parts of buffers at once.

use super::{Descriptor, OpMemory, Ring, UserData};
use crate::sys::uring::gather::Gather;
use io_uring::opcode;
use io_uring::types::{Fd, Fixed};

impl Ring {
    /// Sends the parts in order, as far as the socket takes them: check the result. They come back with the completion.
    ///
    /// Not with MSG_WAITALL, as plain sends are: kernels before 6.2 without the fix of `io_setup_async_msg` (January 2023)
    /// went on from the wrong part after a short send.
    pub fn send_gather(&mut self, descriptor: Descriptor, mut gather: Box<Gather>, user_data: UserData) {
        let segments = std::mem::take(&mut gather.segments);
        let header = gather.point(segments.iter().map(|segment| segment.bytes(|lease| self.bytes(lease))));
        gather.segments = segments;
        let flags = libc::MSG_NOSIGNAL as u32;
        let entry = match descriptor {
            Descriptor::Fd(fd) => opcode::SendMsg::new(Fd(fd), header).flags(flags).build(),
            Descriptor::Direct(slot) => opcode::SendMsg::new(Fixed(slot), header).flags(flags).build(),
        };
        self.push_with_memory(entry, user_data, OpMemory::Gather(gather));
    }
}

#[cfg(test)]
mod tests {
    use super::super::{RingSettings, Wait};
    use super::*;
    use crate::sys::uring::{Segment, SendBuffer};
    use crate::units::Nanos;
    use std::io::Read;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn parts_are_sent_in_order_and_come_back() {
        let Ok(mut ring) = Ring::new(&RingSettings::default()) else {
            return eprintln!("skipped: io_uring does not work here");
        };
        let (socket, mut peer) = UnixStream::pair().unwrap();
        let mut gather = Gather::new();
        gather.segments.push(Segment { buffer: SendBuffer::Static(b"one two"), range: 4..7 });
        gather.segments.push(Segment { buffer: SendBuffer::Owned(b"one two".to_vec()), range: 0..4 });
        gather.segments.push(Segment { buffer: SendBuffer::Shared((*b"three").into()), range: 0..5 });
        ring.send_gather(Descriptor::Fd(socket.as_raw_fd()), gather, UserData { kind: 1, generation: 2, slot: 3 });
        ring.enter(Wait::AtMost(Nanos::from_secs(5))).unwrap();
        let completion = ring.next_completion().expect("it completes");
        assert_eq!((completion.result, completion.gather.map(|gather| gather.segments.len())), (Ok(12), Some(3)));
        let mut bytes = [0; 12];
        peer.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"twoone three");
    }
}
