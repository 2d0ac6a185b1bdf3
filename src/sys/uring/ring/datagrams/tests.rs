//! Datagrams on a ring against the running kernel: every family, every size, batches, and what does not fit.

use super::super::tests::{next, ring_with, settings, user_data};
use super::super::{Completion, RingSettings};
use super::*;
use crate::sys::datagram::set_gro;
use std::io::Read;
use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::time::Duration;

const RECEIVE: u8 = 1;
const ANSWER: u8 = 2;

fn ring() -> Option<Ring> {
    ring_with(&RingSettings { datagrams: Some(BufferSettings { count: 4, size: 64 << 10, max: 8 }), ..settings() })
}

/// A server's socket and a client's that is connected to it.
fn pair(at: &str) -> (Socket, Socket) {
    let [server, client] = [(); 2].map(|()| match at {
        "unix" => {
            let socket = Socket::new(Domain::UNIX, Type::DGRAM, None).unwrap();
            socket.bind(&SockAddr::unix("").unwrap()).unwrap();
            socket
        }
        at => Socket::from(OwnedFd::from(UdpSocket::bind(at).unwrap())),
    });
    client.connect(&server.local_addr().unwrap()).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    (server, client)
}

fn receive(ring: &mut Ring, server: &Socket) {
    ring.recv_datagrams(server.as_raw_fd(), false, user_data(RECEIVE, 0));
}

fn received(client: &Socket) -> Vec<u8> {
    let mut room = vec![0; 70_000];
    let len = (&mut &*client).read(&mut room).unwrap();
    room.truncate(len);
    room
}

/// Takes one datagram, re-arming where the kernel asks for that.
fn take(ring: &mut Ring, server: &Socket) -> Lease {
    let completion = next(ring);
    assert_eq!(completion.user_data, user_data(RECEIVE, 0));
    if !completion.more {
        receive(ring, server);
    }
    completion.lease.unwrap_or_else(|| panic!("{:?}", completion.result))
}

#[test]
fn every_size_goes_back_from_its_buffer_over_every_family() {
    for at in [crate::sys::loopbacks(), vec!["unix"]].concat() {
        let Some(mut ring) = ring() else { return };
        let (server, client) = pair(at);
        receive(&mut ring, &server);
        for size in [0, 1, 64, 1472, 9000, 65_507] {
            let sent: Vec<u8> = (0..size).map(|i| (i * 7) as u8).collect();
            client.send(&sent).unwrap();
            let lease = take(&mut ring, &server);
            let datagram = ring.datagram(&lease);
            assert_eq!((datagram.payload.len(), datagram.segment, datagram.truncated), (size, None, false), "{at}");
            ring.answer(server.as_raw_fd(), lease, OnFull::Return, user_data(ANSWER, 0));
            // An empty one ended the receive, so that a completion of the new one may come first, but has no reason to.
            let Completion {
                user_data: whose,
                result,
                segment: Some(Segment { buffer: SendBuffer::Received(lease), .. }),
                ..
            } = next(&mut ring)
            else {
                panic!("the buffer comes back")
            };
            assert_eq!((whose, result), (user_data(ANSWER, 0), Ok(size as u32)), "{at}");
            ring.release(lease);
            assert!(received(&client) == sent, "{at} {size}");
        }
    }
}

#[test]
fn bytes_of_our_own_are_answers_too() {
    let Some(mut ring) = ring() else { return };
    let (server, client) = pair("127.0.0.1:0");
    receive(&mut ring, &server);
    client.send(b"question").unwrap();
    let lease = take(&mut ring, &server);
    ring.answer_also_with(server.as_raw_fd(), &lease, b"one".to_vec(), user_data(ANSWER, 1));
    ring.answer_with(server.as_raw_fd(), lease, b"two".to_vec(), OnFull::Return, user_data(ANSWER, 2));
    for (slot, kept) in [(1, false), (2, true)] {
        let completion = next(&mut ring);
        assert_eq!((completion.user_data.slot, completion.result), (slot, Ok(3)));
        assert_eq!(completion.lease.is_some(), kept);
        completion.lease.into_iter().for_each(|lease| ring.release(lease));
    }
    assert_eq!([(); 2].map(|()| received(&client)), [b"one", b"two"]);
}

#[test]
fn a_full_socket_returns_an_answer_or_keeps_it_until_there_is_room() {
    let Some(mut ring) = ring() else { return };
    let (server, client) = pair("unix");
    receive(&mut ring, &server);
    client.send(b"question").unwrap();
    let mut lease = take(&mut ring, &server);
    // The client's queue holds net.unix.max_dgram_qlen datagrams and one more.
    let mut waiting = 0;
    loop {
        ring.answer(server.as_raw_fd(), lease, OnFull::Return, user_data(ANSWER, 0));
        let completion = next(&mut ring);
        let Some(Segment { buffer: SendBuffer::Received(back), .. }) = completion.segment else {
            panic!("the buffer comes back")
        };
        lease = back;
        match completion.result {
            Ok(8) => waiting += 1,
            result => break assert_eq!(result, Err(Errno(libc::EAGAIN))),
        }
    }
    ring.answer(server.as_raw_fd(), lease, OnFull::Wait, user_data(ANSWER, 1));
    ring.enter(Wait::Poll).unwrap();
    assert!(ring.next_completion().is_none());
    (0..waiting).for_each(|_| assert_eq!(received(&client), b"question"));
    assert_eq!(next(&mut ring).result, Ok(8));
    assert_eq!(received(&client), b"question");
}

#[test]
fn a_batch_comes_and_goes_as_one() {
    for at in crate::sys::loopbacks() {
        let Some(mut ring) = ring() else { return };
        let (server, client) = pair(at);
        set_gro(&server).unwrap();
        receive(&mut ring, &server);
        let mut send_msg = SendMsg::new();
        let name = server.local_addr().unwrap();
        let sent: Vec<u8> = (0..6_001).map(|i| (i / 100) as u8).collect();
        // SAFETY: the address is as long as it says.
        let name = unsafe { std::slice::from_raw_parts(name.as_ptr().cast::<u8>(), name.len() as usize) };
        // SAFETY: what the message names lives until the call has returned.
        let outcome = unsafe {
            libc::sendmsg(client.as_raw_fd(), send_msg.set(name, &sent, PktInfo { segment: Some(100), local: None }), 0)
        };
        assert_eq!(outcome, 6_001);
        let lease = take(&mut ring, &server);
        assert_eq!((ring.datagram(&lease).segment, ring.datagram(&lease).payload), (Some(100), &sent[..]), "{at}");
        ring.answer(server.as_raw_fd(), lease, OnFull::Return, user_data(ANSWER, 0));
        let completion = next(&mut ring);
        assert_eq!((completion.user_data, completion.result), (user_data(ANSWER, 0), Ok(6_001)), "{at}");
        for expected in sent.chunks(100) {
            assert_eq!(received(&client), expected, "{at}");
        }
    }
}

#[test]
fn what_is_longer_than_a_buffer_says_so() {
    let datagrams = Some(BufferSettings { count: 4, size: 100, max: 4 });
    let Some(mut ring) = ring_with(&RingSettings { datagrams, ..settings() }) else { return };
    let (server, client) = pair("127.0.0.1:0");
    receive(&mut ring, &server);
    for (size, kept, truncated) in [(101, 100, true), (100, 100, false)] {
        client.send(&vec![1; size]).unwrap();
        let lease = take(&mut ring, &server);
        let datagram = ring.datagram(&lease);
        assert_eq!((datagram.payload.len(), datagram.truncated), (kept, truncated));
        ring.release(lease);
    }
}

#[test]
fn a_source_without_a_name_follows_one_with() {
    let Some(mut ring) = ring() else { return };
    let (server, client) = pair("unix");
    receive(&mut ring, &server);
    let nameless = Socket::new(Domain::UNIX, Type::DGRAM, None).unwrap();
    for (socket, named) in [(&client, true), (&nameless, false)] {
        socket.send_to(b"?", &server.local_addr().unwrap()).unwrap();
        let lease = take(&mut ring, &server);
        assert_eq!(!ring.datagram(&lease).name.is_empty(), named);
        ring.release(lease);
    }
}

#[test]
fn without_buffers_it_ends_and_goes_on_with_more() {
    let Some(mut ring) = ring() else { return };
    let (server, client) = pair("127.0.0.1:0");
    (0..5u8).for_each(|i| assert_eq!(client.send(&[i]).unwrap(), 1));
    receive(&mut ring, &server);
    let mut leases: Vec<_> = (0..4).map(|_| next(&mut ring).lease.unwrap()).collect();
    let starved = next(&mut ring);
    assert_eq!((starved.result, starved.more), (Err(Errno(libc::ENOBUFS)), false));
    assert!(ring.add_buffers(Group::Datagrams).unwrap());
    assert!(!ring.add_buffers(Group::Datagrams).unwrap());
    receive(&mut ring, &server);
    leases.push(take(&mut ring, &server));
    let contents: Vec<u8> = leases.iter().map(|lease| ring.datagram(lease).payload[0]).collect();
    assert_eq!(contents, [0, 1, 2, 3, 4]);
    assert!(leases.iter().all(|lease| lease.group == Group::Datagrams));
    leases.into_iter().for_each(|lease| ring.release(lease));
}

#[test]
fn a_receive_is_cancelled_and_the_rest_is_taken_at_once() {
    let Some(mut ring) = ring() else { return };
    let (server, client) = pair(crate::sys::loopbacks().last().unwrap());
    receive(&mut ring, &server);
    ring.cancel_datagrams(user_data(RECEIVE, 0), user_data(9, 0));
    let mut ended: Vec<_> = [(); 2].map(|()| next(&mut ring)).into();
    ended.sort_by_key(|completion| completion.user_data.kind);
    assert_eq!((ended[0].result, ended[0].more), (Err(Errno(libc::ECANCELED)), false));
    client.send(b"late").unwrap();
    ring.recv_datagrams(server.as_raw_fd(), true, user_data(RECEIVE, 1));
    let lease = next(&mut ring).lease.unwrap();
    assert_eq!(ring.datagram(&lease).payload, b"late");
    ring.release(lease);
    let end = next(&mut ring);
    assert_eq!((end.result, end.more), (Err(Errno(libc::EAGAIN)), false));
    assert_eq!(ring.outstanding(), 0);
}

#[test]
fn the_probe_leaves_nothing_behind() {
    let Some(mut ring) = ring() else { return };
    for _ in 0..10 {
        ring.datagram_probe().unwrap();
    }
    assert_eq!((ring.outstanding(), ring.in_flight.len()), (0, 0));
}
