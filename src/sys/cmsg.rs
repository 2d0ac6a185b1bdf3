//! Ancillary data (cmsg(3)), what recvmsg(2) and sendmsg(2) carry beside a packet's bytes: its one reader and its one
//! writer. Any bytes may be read; a damaged header ends the reading.

use libc::{c_int, cmsghdr, msghdr};
use std::time::Duration;

const HEAD: usize = size_of::<cmsghdr>();
const ALIGN: usize = align_of::<cmsghdr>();

/// One control message (`struct cmsghdr` and its data).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cmsg<'a> {
    pub level: c_int,
    pub kind: c_int,
    pub data: &'a [u8],
}

/// Bytes that a message with so much data takes (CMSG_SPACE).
pub(super) const fn space(data: usize) -> usize {
    HEAD + data.next_multiple_of(ALIGN)
}

/// The control messages in these bytes, in order.
#[inline]
pub(super) fn cmsgs(control: &[u8]) -> Cmsgs<'_> {
    Cmsgs(control)
}

/// What [`cmsgs`] has still to read.
pub(super) struct Cmsgs<'a>(&'a [u8]);

impl<'a> Iterator for Cmsgs<'a> {
    type Item = Cmsg<'a>;

    #[inline]
    fn next(&mut self) -> Option<Cmsg<'a>> {
        let bytes = self.0.get(..HEAD)?;
        // SAFETY: there are as many bytes as the struct has, and any bytes make one: it consists of integers.
        let head: cmsghdr = unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast()) };
        #[allow(clippy::unnecessary_cast, reason = "it is narrower with other C libraries")]
        let len = head.cmsg_len as usize;
        let data = self.0.get(HEAD..len)?;
        self.0 = len.checked_next_multiple_of(ALIGN).and_then(|end| self.0.get(end..)).unwrap_or_default();
        Some(Cmsg { level: head.cmsg_level, kind: head.cmsg_type, data })
    }
}

/// The 32 bits that begin at this byte.
#[inline]
pub(super) fn word(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(data.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// A `struct timespec`; `None` where it is no time.
pub(super) fn stamp(data: &[u8]) -> Option<Duration> {
    const HALF: usize = size_of::<libc::timespec>() / 2;
    let number = |at: usize| match HALF {
        8 => Some(i64::from_ne_bytes(data.get(at..at + 8)?.try_into().ok()?)),
        _ => Some(i64::from(word(data, at)? as i32)),
    };
    let (secs, nanos) = (u64::try_from(number(0)?).ok()?, u32::try_from(number(HALF)?).ok()?);
    (nanos < 1_000_000_000).then(|| Duration::new(secs, nanos))
}

/// Room for ancillary data, to be received into or written to; aligned as the kernel's headers want it.
#[derive(Clone, Debug)]
#[repr(C, align(8))]
pub(super) struct CmsgBuffer<const ROOM: usize> {
    bytes: [u8; ROOM],
    /// Bytes written.
    len: usize,
}

impl<const ROOM: usize> CmsgBuffer<ROOM> {
    pub(super) const EMPTY: CmsgBuffer<ROOM> = CmsgBuffer { bytes: [0; ROOM], len: 0 };

    /// Lets a receive with this header fill it, from the beginning. It must stay where it is until that is over.
    #[inline]
    pub(super) fn offer(&mut self, header: &mut msghdr) {
        header.msg_control = self.bytes.as_mut_ptr().cast();
        header.msg_controllen = ROOM as _;
    }

    /// What a receive with this header left in it.
    #[inline]
    pub(super) fn received(&self, header: &msghdr) -> &[u8] {
        #[allow(clippy::unnecessary_cast, reason = "it is narrower with other C libraries")]
        let len = header.msg_controllen as usize;
        &self.bytes[..len.min(ROOM)]
    }

    /// Begins to write anew.
    #[inline]
    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    /// Writes a control message behind those before. There must be room for it ([`space`]): otherwise it is left out.
    #[inline]
    pub(super) fn push(&mut self, level: c_int, kind: c_int, data: &[u8]) {
        let rest = self.len..self.len + space(data.len());
        let Some(place) = self.bytes.get_mut(rest.clone()) else { return debug_assert!(false, "no room") };
        // SAFETY: an integer structure, for which zeros will do.
        let mut head: cmsghdr = unsafe { std::mem::zeroed() };
        head.cmsg_len = (HEAD + data.len()) as _;
        (head.cmsg_level, head.cmsg_type) = (level, kind);
        // SAFETY: the place is at least as long as the header.
        unsafe { place.as_mut_ptr().cast::<cmsghdr>().write_unaligned(head) };
        place[HEAD..][..data.len()].copy_from_slice(data);
        self.len = rest.end;
    }

    /// What was written.
    #[inline]
    pub(super) fn written(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Attaches what was written to the header of a send. It must stay where it is until that is over.
    #[inline]
    pub(super) fn attach(&mut self, header: &mut msghdr) {
        header.msg_control = if self.len > 0 { self.bytes.as_mut_ptr().cast() } else { std::ptr::null_mut() };
        header.msg_controllen = self.len as _;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ROOM: usize = 256;

    fn some_pieces() -> impl Strategy<Value = Vec<(c_int, c_int, Vec<u8>)>> {
        let data = prop::collection::vec(any::<u8>(), 0..40);
        prop::collection::vec((any::<c_int>(), any::<c_int>(), data), 0..5)
    }

    fn written(all: &[(c_int, c_int, Vec<u8>)]) -> CmsgBuffer<ROOM> {
        let mut control = CmsgBuffer::EMPTY;
        // Whatever stood there before.
        control.push(-1, -1, &[0xff; ROOM - HEAD]);
        control.clear();
        all.iter().for_each(|(level, kind, data)| control.push(*level, *kind, data));
        control
    }

    /// As the C library's macros read it.
    fn read_by_macros(control: &mut CmsgBuffer<ROOM>) -> Vec<(c_int, c_int, Vec<u8>)> {
        // SAFETY: integers and pointers, for which zeros will do.
        let mut header: msghdr = unsafe { std::mem::zeroed() };
        control.attach(&mut header);
        let mut found = Vec::new();
        // SAFETY: the header says how much of a live buffer holds ancillary data that was written as the macros want it.
        unsafe {
            let mut next = libc::CMSG_FIRSTHDR(&raw const header);
            while let Some(head) = next.as_ref() {
                #[allow(clippy::unnecessary_cast, reason = "it is narrower with other C libraries")]
                let len = head.cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                let data = std::slice::from_raw_parts(libc::CMSG_DATA(next), len);
                found.push((head.cmsg_level, head.cmsg_type, data.to_vec()));
                next = libc::CMSG_NXTHDR(&raw const header, next);
            }
        }
        found
    }

    #[test]
    fn times_are_read_and_what_is_none_is_not() {
        let of = |secs: libc::time_t, nanos: libc::c_long| stamp(&[secs.to_ne_bytes(), nanos.to_ne_bytes()].concat());
        assert_eq!(of(7, 9), Some(Duration::new(7, 9)));
        assert_eq!((of(-1, 0), of(0, -1), of(0, 1_000_000_000), stamp(&[0; 5])), (None, None, None, None));
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(expected in some_pieces()) {
            let mut control = written(&expected);
            let read: Vec<_> =
                cmsgs(control.written()).map(|Cmsg { level, kind, data }| (level, kind, data.to_vec())).collect();
            prop_assert_eq!(&read, &expected);
            prop_assert_eq!(read_by_macros(&mut control), expected);
        }

        #[test]
        fn a_piece_takes_the_space_that_the_macros_say(len in 0usize..1000) {
            // SAFETY: calculates from its argument alone.
            prop_assert_eq!(space(len), unsafe { libc::CMSG_SPACE(len as u32) } as usize);
        }

        /// Wherever it is cut and whatever stands in one of its bytes: what is read lies within, and reading ends.
        #[test]
        fn garbage_is_read_within_its_bounds(
            all in some_pieces(), cut in 0..ROOM, at in 0..ROOM, byte: u8, shift in 0usize..8,
        ) {
            let control = written(&all);
            let mut bytes = control.written().to_vec();
            bytes.iter_mut().skip(at).take(1).for_each(|place| *place = byte);
            let start = shift.min(bytes.len());
            let bytes = &bytes[start..cut.max(start).min(bytes.len())];
            let read: usize = cmsgs(bytes).map(|cmsg| HEAD + cmsg.data.len()).sum();
            prop_assert!(read <= bytes.len());
            let _ = (stamp(bytes), word(bytes, at), word(bytes, usize::MAX));
        }
    }
}
