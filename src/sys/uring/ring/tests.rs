//! The ring against the running kernel.

use super::*;
use crate::sys::uring::op::{DATAGRAMS, OPENS};
use crate::sys::uring::{BufferSettings, Segment, SendBuffer};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

const ACCEPT: u8 = 1;
const RECEIVE: u8 = 2;
const SEND: u8 = 3;

pub(super) fn user_data(kind: u8, slot: u32) -> UserData {
    UserData { kind, generation: 0x00ab_cdef, slot }
}

pub(super) fn settings() -> RingSettings {
    RingSettings {
        entries: 8,
        completions: 64,
        taskrun: Taskrun::Defer,
        direct_slots: 8,
        buffers: Some(BufferSettings { count: 2, size: 64, max: 4 }),
        ..RingSettings::default()
    }
}

/// A ring, or `None` with the reason printed where the machine forbids io_uring.
fn ring() -> Option<Ring> {
    ring_with(&settings())
}

pub(super) fn ring_with(settings: &RingSettings) -> Option<Ring> {
    match Ring::new(settings) {
        Ok(ring) => Some(ring),
        Err(error) if std::env::var_os("RINGMARK_REQUIRE_URING").is_none() => {
            eprintln!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

pub(super) fn next(ring: &mut Ring) -> Completion {
    loop {
        if let Some(completion) = ring.next_completion() {
            return completion;
        }
        ring.enter(Wait::AtMost(Nanos::from_secs(10))).unwrap();
    }
}

#[test]
fn user_data_survives_packing() {
    let user_data = user_data(0x1f, u32::MAX);
    assert_eq!(UserData::unpack(user_data.pack()), user_data);
    assert_eq!(user_data.pack() & (HAS_MEMORY | OPENS | DATAGRAMS), 0);
}

#[test]
fn accepts_receives_and_sends_back_without_a_copy() {
    let Some(mut ring) = ring() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    ring.accept_multishot(listener.as_raw_fd(), true, user_data(ACCEPT, 0));
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap_or_else(|e| panic!("{e}"));
    let accepted = next(&mut ring);
    assert!(accepted.more);
    let descriptor = Descriptor::Direct(accepted.result.unwrap());
    ring.recv_multishot(descriptor, user_data(RECEIVE, 7));
    client.write_all(b"hello").unwrap();
    let received = next(&mut ring);
    assert_eq!(received.user_data, user_data(RECEIVE, 7));
    let lease = received.lease.unwrap();
    assert_eq!(ring.bytes(&lease), b"hello");
    ring.send(descriptor, SendBuffer::Received(lease), 1..5, user_data(SEND, 7));
    let sent = next(&mut ring);
    assert_eq!(sent.result, Ok(4));
    let Some(Segment { buffer: SendBuffer::Received(lease), .. }) = sent.segment else {
        panic!("the buffer comes back")
    };
    ring.release(lease);
    let mut answer = [0; 4];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"ello");
}

#[test]
fn runs_out_of_buffers_says_so_and_grows() {
    let Some(mut ring) = ring() else { return };
    let (mut client, server) = pair();
    client.write_all(&[7; 64 * 3]).unwrap();
    ring.recv_multishot(Descriptor::Fd(server.as_raw_fd()), user_data(RECEIVE, 0));
    let leases: Vec<_> = (0..2).map(|_| next(&mut ring).lease.unwrap()).collect();
    let starved = next(&mut ring);
    assert_eq!((starved.result, starved.more), (Err(Errno(libc::ENOBUFS)), false));
    assert!(ring.add_buffers(Group::Streams).unwrap());
    assert!(!ring.add_buffers(Group::Streams).unwrap());
    ring.recv_multishot(Descriptor::Fd(server.as_raw_fd()), user_data(RECEIVE, 0));
    let third = next(&mut ring).lease.unwrap();
    assert_eq!(ring.bytes(&third), [7; 64]);
    for lease in leases.into_iter().chain([third]) {
        ring.release(lease);
    }
}

#[test]
fn dropping_a_ring_ends_its_operations_and_leaves_no_memory_to_the_kernel() {
    let Some(mut ring) = ring() else { return };
    let (mut client, server) = pair();
    // A receive that waits, and a send that cannot finish: nobody reads.
    ring.recv_multishot(Descriptor::Fd(server.as_raw_fd()), user_data(RECEIVE, 0));
    let buffer = SendBuffer::Owned(vec![1; 32 << 20]);
    ring.send(Descriptor::Fd(server.as_raw_fd()), buffer, 0..32 << 20, user_data(SEND, 0));
    ring.enter(Wait::Poll).unwrap();
    assert!(ring.end_operations());
    assert_eq!((ring.outstanding(), ring.in_flight.len()), (0, 0));
    drop(ring);
    // The kernel holds no reference any more: closing the last descriptor reaches the peer.
    drop(server);
    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest);
    assert!(rest.len() < 32 << 20);
}

#[test]
fn more_operations_than_the_queue_holds_all_complete() {
    let Some(mut ring) = ring() else { return };
    let (mut client, server) = pair();
    for slot in 0..100 {
        ring.send(Descriptor::Fd(server.as_raw_fd()), SendBuffer::Static(b"x"), 0..1, user_data(SEND, slot));
    }
    let mut done: Vec<u32> = (0..100).map(|_| next(&mut ring).user_data.slot).collect();
    done.sort_unstable();
    assert_eq!(done, (0..100).collect::<Vec<_>>());
    let mut answer = [0; 100];
    client.read_exact(&mut answer).unwrap();
}
