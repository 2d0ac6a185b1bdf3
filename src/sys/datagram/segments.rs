//! What a receive brought at once, cut into the datagrams that were sent (UDP_GRO, udp(7)).

use std::ops::Range;

/// Where the datagrams lie in `len` received bytes: one, or several of `size` bytes of which the last may be shorter. An
/// empty datagram is one.
#[inline]
pub fn segments(len: usize, size: Option<usize>) -> impl ExactSizeIterator<Item = Range<usize>> {
    let size = size.filter(|size| *size > 0).unwrap_or(len).max(1);
    (0..len.div_ceil(size).max(1)).map(move |index| index * size..(index * size + size).min(len))
}

/// The datagrams themselves.
#[inline]
pub fn parts(bytes: &[u8], size: Option<usize>) -> impl ExactSizeIterator<Item = &[u8]> {
    segments(bytes.len(), size).map(|range| &bytes[range])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_or_several_of_which_the_last_may_be_shorter() {
        for (len, size, ends) in [
            (10, Some(4), &[4, 8, 10][..]),
            (8, Some(4), &[4, 8]),
            (3, Some(4), &[3]),
            (5, None, &[5]),
            (0, None, &[0]),
            (0, Some(4), &[0]),
            (5, Some(0), &[5]),
        ] {
            assert_eq!(segments(len, size).map(|range| range.end).collect::<Vec<_>>(), ends, "{len} {size:?}");
        }
    }

    proptest! {
        #[test]
        fn they_are_what_came(bytes in prop::collection::vec(any::<u8>(), 0..100), size: Option<usize>) {
            let all: Vec<&[u8]> = parts(&bytes, size.map(|size| size % 120)).collect();
            prop_assert_eq!(all.concat(), &bytes[..]);
            prop_assert!(all.windows(2).all(|pair| pair[0].len() >= pair[1].len() && !pair[1].is_empty()));
            prop_assert!(!all.is_empty() && all.iter().rev().skip(1).all(|part| part.len() == all[0].len()));
        }
    }
}
