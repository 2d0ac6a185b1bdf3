//! What a message costs in user space: the pieces that run once per request on either side. The kernel's part is a few
//! microseconds, so anything here that takes more than some tens of nanoseconds shows in the comparison.

use criterion::{Criterion, criterion_group, criterion_main};
use ringmark::clock::Clock;
use ringmark::engine::arena::Arena;
use ringmark::engine::connection::Connection;
use ringmark::engine::datagram::{ReceivedMeta, ReflectionGuard, handle_datagram};
use ringmark::engine::stats::Stats;
use ringmark::protocol::{Kind, Service, Services};
use ringmark::sys::datagram::segments;
use std::hint::black_box;

/// An answer is queued, sent whole, and its payload given back.
fn connection(c: &mut Criterion) {
    let mut connection = Connection::default();
    c.bench_function("connection: receive, send, give back", |bench| {
        bench.iter(|| {
            connection.received(black_box(1u32), 0..64);
            let segment = connection.next_send().expect("one is queued");
            black_box(connection.sent(segment, 64));
            black_box((connection.wants_receive(), connection.finished()))
        });
    });
}

fn arena(c: &mut Criterion) {
    let mut arena = Arena::default();
    let keys: Vec<_> = (0..1000).map(|value| arena.insert_with(|_| value)).collect();
    let mut next = 0;
    c.bench_function("arena: look up one of 1000", |bench| {
        bench.iter(|| {
            next = (next + 397) % keys.len();
            black_box(arena.get_mut(keys[next]));
        });
    });
}

fn service(c: &mut Criterion) {
    let mut services = Services::new(vec![Kind::Echo]);
    let mut session = services.open(0);
    let mut output = Vec::new();
    c.bench_function("service: echo 64 bytes", |bench| {
        bench.iter(|| black_box(services.received(&mut session, black_box(&[7; 64]), &mut output)));
    });
}

/// What a datagram costs between recvmmsg and sendmmsg.
fn datagram(c: &mut Criterion) {
    let mut services = Services::new(vec![Kind::Echo]);
    let guard = ReflectionGuard::new(true, [7007].into());
    let (mut stats, mut output) = (Stats::default(), Vec::new());
    c.bench_function("datagram: admit, echo 64 bytes", |bench| {
        bench.iter(|| {
            let input = black_box(&[7; 64]);
            let datagrams = segments(input.len(), None).len();
            let meta = ReceivedMeta { datagrams, bytes: input.len(), truncated: false, source_port: Some(40_000) };
            let admitted = guard.admits(meta, &mut stats);
            black_box(admitted.then(|| handle_datagram(&mut services, 0, &guard, input, &mut output)))
        });
    });
}

fn clock(c: &mut Criterion) {
    let clock = Clock::start();
    c.bench_function("clock: read", |bench| bench.iter(|| black_box(clock.now())));
}

criterion_group!(hot, connection, arena, service, datagram, clock);
criterion_main!(hot);
