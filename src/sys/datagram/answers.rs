//! Answers on their way out, by sendmmsg(2): which bytes go to the sender of which message.

use super::along::{Along, AlongControl};
use super::batch::{BATCH, Received};
use super::single::is_writable;
use socket2::Socket;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::fd::AsRawFd;

/// Datagrams that may leave as one (UDP_MAX_SEGMENTS; 64 in older kernels, whose refusal is coped with).
const MAX_SEGMENTS: usize = 128;

/// What a send achieved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    pub datagrams: u64,
    pub bytes: u64,
    /// Datagrams that could not be sent at all: their destination is gone or has no room, or they are too long for it.
    pub unsent: u64,
    /// The socket took no more; the rest waits until it is writable.
    pub blocked: bool,
}

/// Answers to the messages of a batch, in the order in which they were given.
pub struct Answers {
    queue: Vec<Answer>,
    /// Those before it are done.
    next: usize,
    /// The one at `next` goes out datagram by datagram: as a whole it was refused.
    one_by_one: bool,
    /// What services wrote.
    written: Vec<u8>,
    controls: Vec<AlongControl>,
    vectors: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

/// Bytes for the sender of a message.
#[derive(Clone, Debug)]
struct Answer {
    message: usize,
    source: Source,
    range: Range<usize>,
    /// Length of the datagrams that it consists of; the last may be shorter.
    size: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// The message that is answered.
    Message,
    Written,
}

impl Answer {
    fn datagrams(&self) -> usize {
        self.range.len().div_ceil(self.size.max(1)).max(1)
    }

    /// Whether this range, a datagram of the same message, can leave as one with those already here: each but the last
    /// must have the full size.
    fn is_continued_by(&self, message: usize, range: &Range<usize>, size: usize) -> bool {
        let same = self.source == Source::Message && (self.message, self.size) == (message, size);
        let full = size > 0 && !self.range.is_empty() && self.range.len().is_multiple_of(size);
        let fits = !range.is_empty() && range.len() <= size && self.datagrams() < MAX_SEGMENTS;
        same && full && fits && self.range.end == range.start
    }

    /// The first datagram of it.
    fn first(&self) -> Range<usize> {
        self.range.start..self.range.end.min(self.range.start + self.size.max(1))
    }
}

impl Answers {
    /// Prepared for this many answers at a time.
    pub(super) fn new(count: usize) -> Answers {
        // SAFETY: integers and pointers, for which zeros will do.
        let header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        Answers {
            queue: Vec::with_capacity(count),
            next: 0,
            one_by_one: false,
            written: Vec::new(),
            controls: vec![AlongControl::EMPTY; BATCH],
            vectors: vec![libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; BATCH],
            headers: vec![header; BATCH],
        }
    }

    /// Answers a message with a range of itself, as one datagram. Where the message came in segments of a size, the
    /// answers to it that continue each other leave as they came: as one.
    #[inline]
    pub fn push_range(&mut self, message: usize, range: Range<usize>, segment: Option<usize>) {
        let size = segment.unwrap_or(range.len());
        match self.queue.last_mut() {
            Some(last) if last.is_continued_by(message, &range, size) => last.range.end = range.end,
            _ => self.queue.push(Answer { message, source: Source::Message, range, size }),
        }
    }

    /// Answers a message with other bytes, as one datagram.
    pub fn push_bytes(&mut self, message: usize, bytes: &[u8]) {
        let range = self.written.len()..self.written.len() + bytes.len();
        self.written.extend_from_slice(bytes);
        self.queue.push(Answer { message, source: Source::Written, range, size: bytes.len() });
    }

    pub(super) fn clear(&mut self) {
        self.queue.clear();
        self.written.clear();
        (self.next, self.one_by_one) = (0, false);
    }

    pub(super) fn waiting(&self) -> u64 {
        self.queue[self.next..].iter().map(|answer| answer.datagrams() as u64).sum()
    }

    pub(super) fn send(&mut self, socket: &Socket, received: &Received) -> Sent {
        let mut sent = Sent::default();
        let mut room_seen = false;
        while self.next < self.queue.len() {
            match self.send_some(socket, received) {
                Ok(count) => {
                    (0..count).for_each(|_| self.count_sent(&mut sent));
                    room_seen = false;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && !is_writable(socket) => {
                    sent.blocked = true;
                    return sent;
                }
                // There was room again meanwhile: once more. If it does not help, it is the destination that has none
                // (a unix socket whose reader does not read), and no readiness tells when that ends.
                Err(error) if error.kind() == ErrorKind::WouldBlock && !room_seen => room_seen = true,
                Err(error) if self.may_go_one_by_one(&error) => self.one_by_one = true,
                Err(_) => {
                    sent.unsent += self.take_first().1;
                    room_seen = false;
                }
            }
        }
        self.clear();
        sent
    }

    fn count_sent(&mut self, sent: &mut Sent) {
        let (bytes, datagrams) = self.take_first();
        sent.bytes += bytes;
        sent.datagrams += datagrams;
    }

    /// Whether the refusal may be one of segments only: too long for the way back, too many for this kernel, or a device
    /// that does not calculate checksums.
    fn may_go_one_by_one(&self, error: &io::Error) -> bool {
        let of_segments = matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EMSGSIZE | libc::EIO));
        of_segments && !self.one_by_one && self.queue[self.next].datagrams() > 1
    }

    /// Passes over what the last call dealt with first; returns its bytes and datagrams.
    #[inline]
    fn take_first(&mut self) -> (u64, u64) {
        let answer = &mut self.queue[self.next];
        let (taken, datagrams) = match self.one_by_one {
            true => (answer.first(), 1),
            false => (answer.range.clone(), answer.datagrams() as u64),
        };
        answer.range.start = taken.end;
        if answer.range.is_empty() {
            self.next += 1;
            self.one_by_one = false;
        }
        (taken.len() as u64, datagrams)
    }

    /// One system call. Returns how many answers it sent, of which each is a whole one unless `one_by_one`.
    fn send_some(&mut self, socket: &Socket, received: &Received) -> io::Result<usize> {
        let count = self.prepare(received);
        let headers = self.headers.as_mut_ptr();
        let flags = (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _;
        // SAFETY: the kernel writes the lengths of the first `count` headers, which were all prepared just now, and only
        // reads what they point to: bytes of `received` and of this value, both borrowed until after the call.
        let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers, count as u32, flags) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    /// Fills in the headers for one call; returns how many.
    fn prepare(&mut self, received: &Received) -> usize {
        let most = if self.one_by_one { 1 } else { BATCH };
        let count = (self.queue.len() - self.next).min(most);
        (0..count).for_each(|place| self.prepare_one(place, received));
        count
    }

    #[inline]
    fn prepare_one(&mut self, place: usize, received: &Received) {
        let answer = &self.queue[self.next + place];
        let range = if self.one_by_one { answer.first() } else { answer.range.clone() };
        let bytes = match answer.source {
            Source::Message => received.payload(answer.message),
            Source::Written => &self.written,
        };
        let bytes = &bytes[range.start.min(bytes.len())..range.end.min(bytes.len())];
        let name = received.name(answer.message);
        self.vectors[place] = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let header = &mut self.headers[place].msg_hdr;
        header.msg_iov = &raw mut self.vectors[place];
        header.msg_iovlen = 1;
        header.msg_name = name.as_ptr().cast_mut().cast();
        header.msg_namelen = name.len() as _;
        let segment = (bytes.len() > answer.size).then_some(answer.size);
        let control = &mut self.controls[place];
        Along { segment, local: received.along(answer.message).local }.write(control);
        control.attach(header);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The queue as (message, range, datagrams).
    fn queue(answers: &Answers) -> Vec<(usize, Range<usize>, usize)> {
        answers.queue.iter().map(|answer| (answer.message, answer.range.clone(), answer.datagrams())).collect()
    }

    #[test]
    fn whole_answers_to_segments_leave_as_one_and_others_by_themselves() {
        let mut answers = Answers::new(4);
        for range in [0..4, 4..8, 8..10] {
            answers.push_range(0, range, Some(4));
        }
        // After a short one none may follow, nor after a gap, nor one of another message.
        answers.push_range(0, 10..14, Some(4));
        answers.push_range(0, 15..18, Some(4));
        answers.push_range(1, 18..20, Some(4));
        answers.push_range(2, 0..5, None);
        answers.push_range(2, 5..5, None);
        answers.push_bytes(2, b"");
        let expected =
            [(0, 0..10, 3), (0, 10..14, 1), (0, 15..18, 1), (1, 18..20, 1), (2, 0..5, 1), (2, 5..5, 1), (2, 0..0, 1)];
        assert_eq!(queue(&answers), expected);
        assert_eq!(answers.waiting(), 9);
    }

    #[test]
    fn no_more_leave_as_one_than_the_kernel_takes() {
        let mut answers = Answers::new(4);
        (0..MAX_SEGMENTS + 2).for_each(|index| answers.push_range(0, index..index + 1, Some(1)));
        assert_eq!(queue(&answers), [(0, 0..128, 128), (0, 128..130, 2)]);
    }

    #[test]
    fn a_refused_one_is_taken_datagram_by_datagram() {
        let mut answers = Answers::new(4);
        [0..4, 4..8, 8..9].into_iter().for_each(|range| answers.push_range(0, range, Some(4)));
        answers.push_range(1, 0..7, None);
        let refused = io::Error::from_raw_os_error(libc::EINVAL);
        assert!(answers.may_go_one_by_one(&refused));
        answers.one_by_one = true;
        assert!(!answers.may_go_one_by_one(&refused));
        assert_eq!([(); 4].map(|()| answers.take_first()), [(4, 1), (4, 1), (1, 1), (7, 1)]);
        assert_eq!((answers.next, answers.one_by_one, answers.waiting()), (2, false, 0));
    }
}
