//! A client of chargen (RFC 864): knows every character that must come.

use super::client::Stream;
use std::io::{self, ErrorKind};
use std::net::TcpStream;

/// The printable characters of ASCII, and how many of them a line has.
const PRINTABLE: u64 = 95;
const COLUMNS: u64 = 72;

/// The character at a position of the endless stream.
pub fn character(position: u64) -> u8 {
    let (line, column) = (position / (COLUMNS + 2), position % (COLUMNS + 2));
    match column {
        COLUMNS => b'\r',
        column if column > COLUMNS => b'\n',
        _ => b' ' + ((line + column) % PRINTABLE) as u8,
    }
}

/// Checks the first characters of the stream.
#[track_caller]
pub fn check(start: u64, received: &[u8]) {
    let wrong = received.iter().zip(start..).find(|(byte, position)| **byte != character(*position));
    if let Some((byte, position)) = wrong {
        panic!("the character at {position} is {:?}, not {:?}", *byte as char, character(position) as char);
    }
}

/// One connection to a chargen server.
pub struct Characters<S = TcpStream> {
    pub stream: S,
    pub received: u64,
}

impl<S: Stream> Characters<S> {
    pub fn new(stream: S) -> Characters<S> {
        stream.watch_over();
        Characters { stream, received: 0 }
    }

    /// Reads some, at most `most`, and checks them. Returns how many; 0 at the end of the stream.
    #[track_caller]
    pub fn read_some(&mut self, most: usize) -> io::Result<usize> {
        let mut room = vec![0; most];
        loop {
            match self.stream.read(&mut room) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => {
                    let count = result?;
                    check(self.received, &room[..count]);
                    self.received += count as u64;
                    return Ok(count);
                }
            }
        }
    }

    /// Reads at least until this position.
    #[track_caller]
    pub fn read_until(&mut self, position: u64) {
        while self.received < position {
            let count = self.read_some(64 << 10).expect("receiving");
            assert!(count > 0, "the stream ended at {} of {position}", self.received);
        }
    }

    /// Reads to the orderly end of the stream; returns its length.
    #[track_caller]
    pub fn read_to_end(&mut self) -> u64 {
        while self.read_some(64 << 10).unwrap_or_else(|error| panic!("receiving after {}: {error}", self.received)) > 0
        {
        }
        self.received
    }
}
