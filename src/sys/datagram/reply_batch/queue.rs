//! Answers in the order in which they are to leave: which bytes go to the sender of which message, and what of that is
//! done. Knows no socket.

use std::io;
use std::ops::Range;

/// Datagrams that may leave as one (UDP_MAX_SEGMENTS; 64 in older kernels: after their refusal answers leave one by one).
const MAX_SEGMENTS: usize = 128;

/// Answers of one batch and how far they are sent.
pub(super) struct Queue {
    answers: Vec<Answer>,
    /// Those before it are done.
    next: usize,
    /// The one at `next` goes out datagram by datagram: as a whole it was refused.
    one_by_one: bool,
    /// What services wrote.
    written: Vec<u8>,
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

/// What to hand to the kernel as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NextSend<'a> {
    /// The message that is answered.
    pub message: usize,
    pub bytes: &'a [u8],
    /// Length of the datagrams, where there are several; the last may be shorter.
    pub segment: Option<usize>,
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

impl Queue {
    /// Prepared for this many answers at a time.
    pub(super) fn new(count: usize) -> Queue {
        Queue { answers: Vec::with_capacity(count), next: 0, one_by_one: false, written: Vec::new() }
    }

    /// See [`super::ReplyBatch::push_range`].
    #[inline]
    pub(super) fn push_range(&mut self, message: usize, range: Range<usize>, segment: Option<usize>) {
        let size = segment.unwrap_or(range.len());
        match self.answers.last_mut() {
            Some(last) if last.is_continued_by(message, &range, size) => last.range.end = range.end,
            _ => self.answers.push(Answer { message, source: Source::Message, range, size }),
        }
    }

    /// See [`super::ReplyBatch::push_bytes`].
    pub(super) fn push_bytes(&mut self, message: usize, bytes: &[u8]) {
        let range = self.written.len()..self.written.len() + bytes.len();
        self.written.extend_from_slice(bytes);
        self.answers.push(Answer { message, source: Source::Written, range, size: bytes.len() });
    }

    pub(super) fn clear(&mut self) {
        self.answers.clear();
        self.written.clear();
        (self.next, self.one_by_one) = (0, false);
    }

    /// Datagrams that are not done.
    pub(super) fn waiting(&self) -> u64 {
        self.answers[self.next..].iter().map(|answer| answer.datagrams() as u64).sum()
    }

    /// How many may be handed to the kernel by one call.
    #[inline]
    pub(super) fn ahead(&self) -> usize {
        let rest = self.answers.len() - self.next;
        if self.one_by_one { rest.min(1) } else { rest }
    }

    /// The one at this place of those ahead; `payload` gives the bytes of a message.
    #[inline]
    pub(super) fn next_send<'a>(&'a self, place: usize, payload: impl FnOnce(usize) -> &'a [u8]) -> NextSend<'a> {
        let answer = &self.answers[self.next + place];
        let range = if self.one_by_one { answer.first() } else { answer.range.clone() };
        let bytes = match answer.source {
            Source::Message => payload(answer.message),
            Source::Written => &self.written,
        };
        let bytes = &bytes[range.start.min(bytes.len())..range.end.min(bytes.len())];
        let segment = (bytes.len() > answer.size).then_some(answer.size);
        NextSend { message: answer.message, bytes, segment }
    }

    /// Passes over the first one ahead, which has been dealt with; returns its bytes and datagrams.
    #[inline]
    pub(super) fn take_first(&mut self) -> (u64, u64) {
        let answer = &mut self.answers[self.next];
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

    /// The first one ahead was refused so. If that may be a refusal of segments only (too long for the way back, too many
    /// for this kernel, or a device that does not calculate checksums), goes on datagram by datagram; `false` otherwise.
    pub(super) fn go_one_by_one(&mut self, error: &io::Error) -> bool {
        let of_segments = matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EMSGSIZE | libc::EIO));
        let go = of_segments && !self.one_by_one && self.answers[self.next].datagrams() > 1;
        self.one_by_one |= go;
        go
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::datagram::segments;
    use proptest::prelude::*;

    /// The queue as (message, range, datagrams).
    fn contents(queue: &Queue) -> Vec<(usize, Range<usize>, usize)> {
        queue.answers.iter().map(|answer| (answer.message, answer.range.clone(), answer.datagrams())).collect()
    }

    #[test]
    fn whole_answers_to_segments_leave_as_one_and_others_by_themselves() {
        let mut queue = Queue::new(4);
        for range in [0..4, 4..8, 8..10] {
            queue.push_range(0, range, Some(4));
        }
        // After a short one none may follow, nor after a gap, nor one of another message.
        queue.push_range(0, 10..14, Some(4));
        queue.push_range(0, 15..18, Some(4));
        queue.push_range(1, 18..20, Some(4));
        queue.push_range(2, 0..5, None);
        queue.push_range(2, 5..5, None);
        queue.push_bytes(2, b"");
        let expected =
            [(0, 0..10, 3), (0, 10..14, 1), (0, 15..18, 1), (1, 18..20, 1), (2, 0..5, 1), (2, 5..5, 1), (2, 0..0, 1)];
        assert_eq!(contents(&queue), expected);
        assert_eq!(queue.waiting(), 9);
    }

    #[test]
    fn no_more_leave_as_one_than_the_kernel_takes() {
        let mut queue = Queue::new(4);
        (0..MAX_SEGMENTS + 2).for_each(|index| queue.push_range(0, index..index + 1, Some(1)));
        assert_eq!(contents(&queue), [(0, 0..128, 128), (0, 128..130, 2)]);
    }

    #[test]
    fn a_refused_one_is_taken_datagram_by_datagram() {
        let mut queue = Queue::new(4);
        [0..4, 4..8, 8..9].into_iter().for_each(|range| queue.push_range(0, range, Some(4)));
        queue.push_range(1, 0..7, None);
        let refused = io::Error::from_raw_os_error(libc::EINVAL);
        assert!(!queue.go_one_by_one(&io::Error::from_raw_os_error(libc::EPERM)));
        assert!(queue.go_one_by_one(&refused) && !queue.go_one_by_one(&refused));
        assert_eq!([(); 4].map(|()| queue.take_first()), [(4, 1), (4, 1), (1, 1), (7, 1)]);
        assert_eq!((queue.next, queue.one_by_one, queue.waiting(), queue.ahead()), (2, false, 0, 0));
    }

    proptest! {
        /// Whatever is refused: every datagram of every message leaves once, whole and in order.
        #[test]
        fn every_datagram_leaves_once_in_order(
            messages in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..300), 1usize..40), 1..6),
            refusals in prop::collection::vec(any::<bool>(), 0..20),
        ) {
            let mut queue = Queue::new(4);
            let mut expected = Vec::new();
            for (index, (bytes, size)) in messages.iter().enumerate() {
                for part in segments(bytes.len(), Some(*size)) {
                    expected.push((index, bytes[part.clone()].to_vec()));
                    queue.push_range(index, part, Some(*size));
                }
                queue.push_bytes(index, &[index as u8]);
                expected.push((index, vec![index as u8]));
            }
            let (mut refusals, mut left) = (refusals.into_iter(), Vec::new());
            prop_assert_eq!(queue.waiting(), expected.len() as u64);
            while queue.ahead() > 0 {
                let refused = refusals.next() == Some(true);
                if refused && queue.go_one_by_one(&io::Error::from_raw_os_error(libc::EIO)) {
                    continue;
                }
                let NextSend { message, bytes, segment } = queue.next_send(0, |message| &messages[message].0);
                let parts: Vec<_> =
                    segments(bytes.len(), segment).map(|part| (message, bytes[part].to_vec())).collect();
                let taken = (bytes.len() as u64, parts.len() as u64);
                left.extend(parts);
                prop_assert_eq!(queue.take_first(), taken);
            }
            prop_assert_eq!(left, expected);
        }
    }
}
