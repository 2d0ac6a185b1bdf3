//! Echo, the client: what is sent must come back, every byte. Nothing is copied or allocated: requests are slices of
//! the pattern, and an answer is compared with it.

use crate::protocol::client::{ClientConfig, DatagramClient, ProtocolError, Received, StreamClient};
use crate::protocol::requests::Requests;
use crate::units::Nanos;

/// On a stream the requests lie one behind the other, so that several become one send, and nothing marks where one
/// ends.
#[derive(Debug)]
pub struct EchoStream {
    requests: Requests,
    /// Requests begun and answered.
    begun: u64,
    answered: u64,
    /// Bytes of all requests begun; as many must come back.
    requested: u64,
    /// Where the oldest request without an answer ends.
    oldest_end: u64,
    /// Bytes that the kernel took, and bytes that came back right.
    sent: u64,
    received: u64,
}

impl StreamClient for EchoStream {
    fn open(config: &ClientConfig, number: u64) -> EchoStream {
        let requests = Requests::new(config, number);
        let oldest_end = requests.size(0);
        EchoStream { requests, begun: 0, answered: 0, requested: 0, oldest_end, sent: 0, received: 0 }
    }

    #[inline]
    fn request(&mut self, id: u64, _at: Nanos) {
        self.requested += self.requests.size(id);
        self.begun = id + 1;
    }

    #[inline]
    fn next_send(&self) -> &'static [u8] {
        self.requests.slice(self.sent, self.requested - self.sent)
    }

    #[inline]
    fn sent(&mut self, len: usize) {
        self.sent = (self.sent + len as u64).min(self.requested);
    }

    #[inline]
    fn received(&mut self, bytes: &[u8], mut notify: impl FnMut(Received)) -> Result<(), ProtocolError> {
        self.check(self.received, bytes)?;
        self.received += bytes.len() as u64;
        while self.answered < self.begun && self.received >= self.oldest_end {
            notify(Received::Answered { id: self.answered });
            self.answered += 1;
            self.oldest_end += self.requests.size(self.answered);
        }
        Ok(())
    }
}

impl EchoStream {
    /// Checks that `bytes` are the stream's from `position` on, and that none is beyond what was asked for.
    #[inline]
    fn check(&self, position: u64, bytes: &[u8]) -> Result<(), ProtocolError> {
        if bytes.len() as u64 > self.requested - position {
            return Err(ProtocolError::Surplus { requested: self.requested });
        }
        let expected = self.requests.slice(position, bytes.len() as u64);
        // One comparison is the common case; only more than a slice at once needs a second.
        let (head, tail) = bytes.split_at(expected.len());
        if head != expected {
            return Err(ProtocolError::WrongByte { position: position + first_difference(head, expected) });
        }
        if tail.is_empty() { Ok(()) } else { self.check(position + head.len() as u64, tail) }
    }
}

#[cold]
fn first_difference(a: &[u8], b: &[u8]) -> u64 {
    a.iter().zip(b).take_while(|(a, b)| a == b).count() as u64
}

/// The sequence number in front of every datagram: 8 bytes, little endian.
const HEADER: usize = 8;

/// In datagrams each request has its number in front, since answers may be lost, late or out of order.
#[derive(Clone, Copy, Debug)]
pub struct EchoDatagrams(Requests);

impl DatagramClient for EchoDatagrams {
    const MIN_SIZE: u64 = 16;

    fn open(config: &ClientConfig, number: u64) -> EchoDatagrams {
        EchoDatagrams(Requests::new(config, number))
    }

    #[inline]
    fn request(&self, id: u64, room: &mut [u8]) -> usize {
        let size = self.0.size(id) as usize;
        let (header, body) = room[..size].split_at_mut(HEADER);
        header.copy_from_slice(&id.to_le_bytes());
        body.copy_from_slice(self.0.body(id, body.len()));
        size
    }

    #[inline]
    fn received(&self, datagram: &[u8]) -> Result<Received, ProtocolError> {
        let (header, body) = datagram.split_first_chunk::<HEADER>().ok_or(ProtocolError::NoAnswer)?;
        let id = u64::from_le_bytes(*header);
        let right = datagram.len() as u64 == self.0.size(id) && body == self.0.body(id, body.len());
        if right { Ok(Received::Answered { id }) } else { Err(ProtocolError::NoAnswer) }
    }
}

#[cfg(test)]
pub mod tests;
