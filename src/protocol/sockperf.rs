//! The client of `sockperf server`, in datagrams: sockperf's header, and behind it what an echo has.
//!
//! Its header (sockperf 3, `MsgHeader` in message.h), in network byte order: sequence number of 8 bytes, flags of 2,
//! length of the whole message of 4. The server answers what says that it is a client's and wants an answer (else it
//! stays silent) with the client's flag cleared.

use super::client::{ClientConfig, DatagramClient, ProtocolError, Received};
use super::requests::Requests;

const HEADER: usize = 14;
const CLIENT: u16 = 1;
const WANTS_ANSWER: u16 = 2;

/// One socket's requests.
#[derive(Clone, Copy, Debug)]
pub struct SockperfDatagrams(Requests);

impl DatagramClient for SockperfDatagrams {
    const MIN_SIZE: u64 = 24;

    fn open(config: &ClientConfig, number: u64) -> SockperfDatagrams {
        SockperfDatagrams(Requests::new(config, number))
    }

    #[inline]
    fn request(&self, id: u64, room: &mut [u8]) -> usize {
        let size = self.0.size(id) as usize;
        let (header, body) = room[..size].split_at_mut(HEADER);
        header.copy_from_slice(&self::header(id, CLIENT | WANTS_ANSWER, size));
        body.copy_from_slice(self.0.body(id, body.len()));
        size
    }

    #[inline]
    fn received(&self, datagram: &[u8]) -> Result<Received, ProtocolError> {
        let (header, body) = datagram.split_first_chunk::<HEADER>().ok_or(ProtocolError::NoAnswer)?;
        let [number @ .., _, _, _, _, _, _] = *header;
        let id = u64::from_be_bytes(number);
        // A plain echo, which changes nothing, is compared with sockperf's under the same requests.
        let is_answer = [WANTS_ANSWER, CLIENT | WANTS_ANSWER]
            .into_iter()
            .any(|flags| *header == self::header(id, flags, datagram.len()));
        let right = is_answer && datagram.len() as u64 == self.0.size(id) && body == self.0.body(id, body.len());
        if right { Ok(Received::Answered { id }) } else { Err(ProtocolError::NoAnswer) }
    }
}

fn header(id: u64, flags: u16, size: usize) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&id.to_be_bytes());
    header[8..10].copy_from_slice(&flags.to_be_bytes());
    header[10..].copy_from_slice(&(size as u32).to_be_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::echo::client::tests::datagrams;

    #[test]
    fn requests_and_answers_are_told_apart_bit_by_bit() {
        datagrams::check::<SockperfDatagrams>(Some((9, 0)));
    }

    #[test]
    fn a_plain_echo_of_the_header_is_an_answer_too() {
        let client = SockperfDatagrams::open(&datagrams::config(24), 1);
        let mut room = [0; 24];
        assert_eq!(client.request(7, &mut room), 24);
        assert_eq!(client.received(&room), Ok(Received::Answered { id: 7 }));
        room[9] &= !1;
        assert_eq!(client.received(&room), Ok(Received::Answered { id: 7 }));
    }
}
