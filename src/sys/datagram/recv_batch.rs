//! Many datagrams per system call: recvmmsg(2) and sendmmsg(2). Answers leave straight out of the receive buffers.

use super::recv_buffers::{BATCH, RecvBuffers};
use super::reply_batch::{ReplyBatch, Sent};
use socket2::Socket;
use std::io;

/// Room for [`BATCH`] datagrams and the answers to them. Memory of a buffer is only taken once something is written there.
pub struct RecvBatch {
    received: RecvBuffers,
    answers: ReplyBatch,
}

impl RecvBatch {
    /// Buffers of `buffer_bytes` each.
    pub fn new(buffer_bytes: usize) -> RecvBatch {
        RecvBatch { received: RecvBuffers::new(buffer_bytes), answers: ReplyBatch::new(BATCH) }
    }

    /// Receives what has arrived, without waiting, and returns how many messages that are: fewer than [`BATCH`] means
    /// that there are no more. Answers to the ones before that were not sent are gone.
    pub fn receive(&mut self, socket: &Socket) -> io::Result<usize> {
        self.answers.clear();
        self.received.receive(socket)
    }

    /// What was received, and where the answers to it go.
    pub fn parts(&mut self) -> (&RecvBuffers, &mut ReplyBatch) {
        (&self.received, &mut self.answers)
    }

    /// Sends what was answered, without waiting. Where the socket took no more, call it again once it is writable.
    pub fn send(&mut self, socket: &Socket) -> Sent {
        self.answers.send(socket, &self.received)
    }

    /// Datagrams that wait to be sent.
    pub fn waiting(&self) -> u64 {
        self.answers.waiting()
    }
}

#[cfg(test)]
mod tests;
