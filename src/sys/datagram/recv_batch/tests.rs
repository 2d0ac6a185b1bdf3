//! Batches on real sockets: loopback, unix, cut, with segments, towards who is gone.

use super::*;
use crate::sys::datagram::gso::refuse_segments;
use crate::sys::datagram::{RecvMsg, segments, set_gro};
use std::net::UdpSocket;
use std::ops::Range;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram};

const BUFFER: usize = 64 << 10;

fn udp(at: &str) -> (Socket, UdpSocket) {
    let (server, client) = (UdpSocket::bind(at).unwrap(), UdpSocket::bind(at).unwrap());
    client.connect(server.local_addr().unwrap()).unwrap();
    client.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
    (server.into(), client)
}

/// Answers each datagram with all of itself. Returns how many messages there were, and the outcome of the send.
fn echo(batch: &mut RecvBatch, server: &Socket) -> (usize, Sent) {
    let count = batch.receive(server).unwrap();
    let (received, answers) = batch.parts();
    for message in received.messages().filter(|message| !message.truncated) {
        let parts = segments(message.payload.len(), message.segment);
        parts.for_each(|part| answers.push_range(message.index, part, message.segment));
    }
    (count, batch.send(server))
}

fn sent(datagrams: u64, bytes: u64) -> Sent {
    Sent { datagrams, bytes, ..Sent::default() }
}

#[test]
fn every_datagram_of_a_batch_is_answered() {
    for at in crate::sys::loopbacks() {
        let (server, client) = udp(at);
        let mut batch = RecvBatch::new(BUFFER);
        for turn in 0..3 {
            (0..BATCH + 3).for_each(|len| assert_eq!(client.send(&vec![len as u8 + turn; len]).unwrap(), len));
            let bytes = |range: Range<usize>| range.sum::<usize>() as u64;
            assert_eq!(echo(&mut batch, &server), (BATCH, sent(64, bytes(0..BATCH))));
            assert_eq!(echo(&mut batch, &server), (3, sent(3, bytes(BATCH..BATCH + 3))));
            let mut buffer = [0; BUFFER];
            for len in 0..BATCH + 3 {
                assert_eq!(client.recv(&mut buffer).unwrap(), len);
                assert!(buffer[..len].iter().all(|byte| *byte == len as u8 + turn));
            }
        }
        assert_eq!(batch.receive(&server).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!((batch.parts().0.messages().count(), batch.waiting()), (0, 0));
    }
}

#[test]
fn sources_have_their_ports_and_names() {
    let (server, client) = udp("127.0.0.1:0");
    client.send(b"x").unwrap();
    let mut batch = RecvBatch::new(BUFFER);
    batch.receive(&server).unwrap();
    let port = client.local_addr().unwrap().port();
    assert_eq!(batch.parts().0.messages().next().unwrap().source_port, Some(port));

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("server");
    let server: Socket = UnixDatagram::bind(&path).unwrap().into();
    let hidden = UnixAddr::from_abstract_name(directory.path().to_string_lossy().as_bytes()).unwrap();
    let named = UnixDatagram::bind(directory.path().join("client")).unwrap();
    for client in [named, UnixDatagram::bind_addr(&hidden).unwrap()] {
        client.connect(&path).unwrap();
        client.send(b"abc").unwrap();
        assert_eq!(echo(&mut batch, &server), (1, sent(1, 3)));
        assert_eq!(batch.parts().0.messages().next().unwrap().source_port, None);
        assert_eq!(client.recv(&mut [0; 9]).unwrap(), 3);
    }
}

#[test]
fn the_largest_datagram_is_whole_and_a_longer_one_is_cut() {
    let (server, client) = udp("127.0.0.1:0");
    let mut batch = RecvBatch::new(BUFFER);
    client.send(&[7; 65_507]).unwrap();
    assert_eq!(echo(&mut batch, &server), (1, sent(1, 65_507)));
    assert_eq!(client.recv(&mut vec![0; BUFFER]).unwrap(), 65_507);

    let mut small = RecvBatch::new(100);
    client.send(&[7; 101]).unwrap();
    client.send(&[8; 100]).unwrap();
    assert_eq!(echo(&mut small, &server), (2, sent(1, 100)));
    let of = |message: RecvMsg<'_>| (message.payload[0], message.payload.len(), message.truncated);
    assert_eq!(small.parts().0.messages().map(of).collect::<Vec<_>>(), [(7, 100, true), (8, 100, false)]);
}

#[test]
fn what_came_as_one_leaves_as_one() {
    for at in crate::sys::loopbacks() {
        let (server, client) = udp(at);
        let mut batch = RecvBatch::new(BUFFER);
        set_gro(&server).unwrap();
        // The client sends with the same means: a batch of its own, at whose only message it answers.
        let client = Socket::from(client);
        let mut sender = RecvBatch::new(BUFFER);
        server.send_to(&[7; 1000], &client.local_addr().unwrap()).unwrap();
        set_gro(&client).unwrap();
        sender.receive(&client).unwrap();
        let (_, answers) = sender.parts();
        (0..10).for_each(|index| answers.push_range(0, index * 100..index * 100 + 100, Some(100)));
        assert_eq!(sender.send(&client), sent(10, 1000));

        assert_eq!(echo(&mut batch, &server), (1, sent(10, 1000)));
        assert_eq!(batch.parts().0.messages().next().unwrap().segment, Some(100));
        assert_eq!(sender.receive(&client).unwrap(), 1);
        let back = sender.parts().0.messages().next().unwrap();
        assert_eq!((back.payload, back.segment), (&[7; 1000][..], Some(100)));
    }
}

#[test]
fn segments_that_are_refused_go_one_by_one() {
    let (server, client) = udp("127.0.0.1:0");
    client.send(&[7; 60_000]).unwrap();
    let mut batch = RecvBatch::new(BUFFER);
    batch.receive(&server).unwrap();
    // Without checksums the kernel does no segments.
    refuse_segments(&server).unwrap();
    let (_, answers) = batch.parts();
    (0..3).for_each(|index| answers.push_range(0, index * 20_000..(index + 1) * 20_000, Some(20_000)));
    answers.push_range(0, 0..5, None);
    assert_eq!(batch.send(&server), sent(4, 60_005));
    let lengths = [(); 4].map(|()| client.recv(&mut vec![0; BUFFER]).unwrap());
    assert_eq!(lengths, [20_000, 20_000, 20_000, 5]);
}

#[test]
fn who_is_gone_is_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let server: Socket = UnixDatagram::bind(path("server")).unwrap().into();
    let stays = UnixDatagram::bind(path("stays")).unwrap();
    let goes = UnixDatagram::bind(path("goes")).unwrap();
    for client in [&stays, &goes, &stays, &goes, &goes, &stays] {
        client.send_to(b"abc", path("server")).unwrap();
    }
    drop(goes);
    let mut batch = RecvBatch::new(BUFFER);
    assert_eq!(echo(&mut batch, &server), (6, Sent { unsent: 3, ..sent(3, 9) }));
    (0..3).for_each(|_| assert_eq!(stays.recv(&mut [0; 9]).unwrap(), 3));
}

#[test]
fn an_answer_that_is_too_long_is_passed_over() {
    let (server, client) = udp("127.0.0.1:0");
    client.send(b"abc").unwrap();
    let mut batch = RecvBatch::new(BUFFER);
    batch.receive(&server).unwrap();
    let (_, answers) = batch.parts();
    answers.push_bytes(0, &[0; 65_508]);
    answers.push_bytes(0, b"short");
    assert_eq!(batch.send(&server), Sent { unsent: 1, ..sent(1, 5) });
}

#[test]
fn a_full_socket_keeps_the_rest_for_later() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let server: Socket = UnixDatagram::bind(path("server")).unwrap().into();
    let client = UnixDatagram::bind(path("client")).unwrap();
    client.connect(path("server")).unwrap();
    client.send(&[7; 10_000]).unwrap();
    let mut batch = RecvBatch::new(BUFFER);
    batch.receive(&server).unwrap();
    const ANSWERS: usize = 200;
    let (_, answers) = batch.parts();
    (0..ANSWERS).for_each(|_| answers.push_range(0, 0..10_000, None));
    let mut sent = batch.send(&server);
    assert!(sent.blocked && sent.unsent == 0, "{sent:?}");
    assert_eq!(batch.waiting(), ANSWERS as u64 - sent.datagrams);
    for _ in 0..ANSWERS {
        assert_eq!(client.recv(&mut [0; BUFFER]).unwrap(), 10_000);
        let more = batch.send(&server);
        sent.datagrams += more.datagrams;
        assert_eq!(more.unsent, 0);
    }
    assert_eq!((sent.datagrams, batch.waiting()), (ANSWERS as u64, 0));
}
