//! Where the next protocol's client begins: copy this file, rename the type, and add a line to
//! [`for_each_stream_client`](crate::for_each_stream_client), or for datagrams to
//! [`for_each_datagram_client`](crate::for_each_datagram_client). Its name, its dispatch and its loop in every engine
//! of the load generator follow from that.
//!
//! The example asks for the length of a line. It has no client for datagrams, since an answer there does not say which
//! request it answers: such a client writes the request's number into each, as [`crate::protocol::echo::client`] does.

use crate::protocol::client::{ClientConfig, ProtocolError, Received, StreamClient};
use crate::units::Nanos;
use std::sync::LazyLock;

const LINE: &[u8] = b"how long is this\n";
const ANSWER: &[u8] = b"17\n";
const _: () = assert!(LINE.len() == 17);

/// Bytes to be sent must live as long as the process: the kernel may read them until a send is over. Many lines, so
/// that many requests become one send.
static LINES: LazyLock<Vec<u8>> = LazyLock::new(|| LINE.repeat(64));

/// One connection: positions in what is sent and received, and no copies of either. It is made anew for each
/// connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct SkeletonStream {
    /// Requests begun.
    begun: u64,
    /// Bytes.
    sent: u64,
    received: u64,
}

impl StreamClient for SkeletonStream {
    // A protocol with histograms of its own names them here: const SERIES.

    fn open(_config: &ClientConfig, _number: u64) -> SkeletonStream {
        SkeletonStream::default()
    }

    // One that must say something before the first request overrides `hello`, and notifies `Received::Ready` later.

    fn request(&mut self, id: u64, _at: Nanos) {
        self.begun = id + 1;
    }

    fn next_send(&self) -> &'static [u8] {
        let rest = self.begun * LINE.len() as u64 - self.sent;
        let lines = &LINES[self.sent as usize % LINE.len()..];
        &lines[..lines.len().min(rest as usize)]
    }

    fn sent(&mut self, len: usize) {
        self.sent += len as u64;
    }

    fn received(&mut self, bytes: &[u8], mut notify: impl FnMut(Received)) -> Result<(), ProtocolError> {
        for byte in bytes {
            let (id, at) = (self.received / ANSWER.len() as u64, self.received as usize % ANSWER.len());
            if id >= self.begun {
                return Err(ProtocolError::Surplus { requested: self.begun * ANSWER.len() as u64 });
            }
            if *byte != ANSWER[at] {
                return Err(ProtocolError::WrongByte { position: self.received });
            }
            self.received += 1;
            if at + 1 == ANSWER.len() {
                notify(Received::Answered { id });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The law of every client: any chunking of the same input means the same.
        #[test]
        fn any_chunking_brings_the_same_answers(requests in 1u64..200, cut in 1usize..50, surplus: bool) {
            let mut client = SkeletonStream::default();
            let mut lines = Vec::new();
            for id in 0..requests {
                client.request(id, Nanos(id));
                let len = client.next_send().len().min(cut);
                lines.extend_from_slice(&client.next_send()[..len]);
                client.sent(len);
            }
            while !client.next_send().is_empty() {
                lines.extend_from_slice(client.next_send());
                client.sent(client.next_send().len());
            }
            prop_assert_eq!(lines, LINE.repeat(requests as usize));
            let (mut answered, mut answers) = (Vec::new(), ANSWER.repeat(requests as usize));
            answers.extend(surplus.then_some(b'1'));
            let outcome = answers.chunks(cut).try_for_each(|chunk| client.received(chunk, |received| answered.push(received)));
            prop_assert_eq!(outcome.is_err(), surplus);
            prop_assert_eq!(answered, (0..requests).map(|id| Received::Answered { id }).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_wrong_length_is_an_error() {
        let mut client = SkeletonStream::default();
        client.request(0, Nanos::ZERO);
        assert_eq!(client.received(b"16\n", |_| ()), Err(ProtocolError::WrongByte { position: 1 }));
    }
}
