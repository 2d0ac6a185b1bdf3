//! The characters that RFC 864 suggests: lines of 72 of the 95 printable ones, each line a character further on.

use std::sync::LazyLock;

/// Bytes of a line: 72 characters, carriage return and line feed.
pub const LINE: usize = 74;
/// The printable characters of ASCII.
const PRINTABLE: usize = 95;
/// Bytes after which everything comes again: a line for every character that one can begin with.
pub const PERIOD: usize = PRINTABLE * LINE;
/// Bytes that lie in one piece from any position of the period on.
const MIN_SLICE: usize = 64 << 10;

static TABLE: LazyLock<Box<[u8]>> = LazyLock::new(|| (0..PERIOD + MIN_SLICE).map(|at| character(at as u64)).collect());

/// The byte at a position of the endless stream.
pub fn character(position: u64) -> u8 {
    let (line, column) = (position as usize % PERIOD / LINE, position as usize % LINE);
    match column {
        72 => b'\r',
        73 => b'\n',
        _ => b' ' + ((line + column) % PRINTABLE) as u8,
    }
}

/// The stream from `position` on: `len` bytes, or 64 KiB when that is less.
pub fn slice(position: u64, len: usize) -> &'static [u8] {
    let start = (position % PERIOD as u64) as usize;
    &TABLE[start..][..len.min(MIN_SLICE)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_the_rfc() {
        let lines: Vec<&[u8]> = slice(0, 3 * LINE).chunks(LINE).collect();
        let first = r##" !"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdefg"##;
        let second = r##"!"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdefgh"##;
        assert_eq!(lines[..2], [format!("{first}\r\n").as_bytes(), format!("{second}\r\n").as_bytes()]);
    }

    #[test]
    fn a_slice_is_the_stream_wherever_it_begins() {
        for position in [0, 73, 7_029, 7_030, 123_456_789] {
            let bytes = slice(position, MIN_SLICE + 1);
            assert_eq!(bytes.len(), MIN_SLICE);
            assert!(bytes.iter().zip(position..).all(|(byte, at)| *byte == character(at)));
        }
    }
}
