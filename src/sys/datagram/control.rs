//! The one piece of ancillary data (cmsg(3)) that UDP's batches carry: how long each of their datagrams is.

use libc::{CMSG_LEN, CMSG_SPACE, c_int, cmsghdr};

/// Room for one header with an integer.
const SPACE: usize = 24;
// SAFETY: calculates from its argument alone.
const _: () = assert!(SPACE >= unsafe { CMSG_SPACE(size_of::<c_int>() as u32) } as usize);
// SAFETY: calculates from its argument alone.
const DATA_AT: usize = unsafe { CMSG_LEN(0) } as usize;

/// Ancillary data of one message, as the kernel reads and writes it.
#[derive(Clone, Debug)]
#[repr(C, align(8))]
pub(in crate::sys) struct Control([u8; SPACE]);

impl Control {
    pub(in crate::sys) const EMPTY: Control = Control([0; SPACE]);

    pub(in crate::sys) fn as_ptr(&self) -> *mut libc::c_void {
        self.0.as_ptr().cast_mut().cast()
    }

    pub(super) const fn space() -> usize {
        SPACE
    }

    /// The segment size that came as UDP_GRO in the first `len` bytes.
    #[inline]
    pub(super) fn received_segment(&self, len: usize) -> Option<usize> {
        if len < DATA_AT + size_of::<c_int>() {
            return None;
        }
        // SAFETY: the bytes are aligned and longer than the header, for which any bytes will do.
        let header: cmsghdr = unsafe { self.0.as_ptr().cast::<cmsghdr>().read() };
        let size = c_int::from_ne_bytes(self.0[DATA_AT..DATA_AT + size_of::<c_int>()].try_into().ok()?);
        let is_gro = header.cmsg_level == libc::SOL_UDP && header.cmsg_type == libc::UDP_GRO;
        usize::try_from(size).ok().filter(|size| is_gro && *size > 0)
    }

    /// Asks for segments of `size` bytes (UDP_SEGMENT); returns how many bytes say so.
    #[inline]
    pub(in crate::sys) fn set_segment(&mut self, size: u16) -> usize {
        // SAFETY: an integer structure, for which zeros will do.
        let mut header: cmsghdr = unsafe { std::mem::zeroed() };
        header.cmsg_level = libc::SOL_UDP;
        header.cmsg_type = libc::UDP_SEGMENT;
        // SAFETY: calculates from its argument alone.
        header.cmsg_len = unsafe { CMSG_LEN(size_of::<u16>() as u32) } as _;
        // SAFETY: the bytes are aligned and longer than the header.
        unsafe { self.0.as_mut_ptr().cast::<cmsghdr>().write(header) };
        self.0[DATA_AT..DATA_AT + size_of::<u16>()].copy_from_slice(&size.to_ne_bytes());
        // SAFETY: calculates from its argument alone.
        unsafe { CMSG_SPACE(size_of::<u16>() as u32) as usize }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_gro_header_tells_a_size() {
        let mut control = Control::EMPTY;
        let len = control.set_segment(1200);
        assert_eq!(control.received_segment(len), None, "that was UDP_SEGMENT");
        // SAFETY: aligned and longer than the header.
        unsafe { (*control.0.as_mut_ptr().cast::<cmsghdr>()).cmsg_type = libc::UDP_GRO };
        assert_eq!(control.received_segment(len), Some(1200));
        assert_eq!(control.received_segment(DATA_AT), None);
        assert_eq!(Control::EMPTY.received_segment(SPACE), None);
    }
}
