//! What a message costs in user space: the pieces that run once per request on either side. The kernel's part is a few
//! microseconds, so anything here that takes more than some tens of nanoseconds shows in the comparison.

use criterion::{Criterion, criterion_group, criterion_main};
use ringmark::clock::Clock;
use ringmark::engine::arena::Arena;
use ringmark::engine::buffers::{ShardContext, VectorBuffers};
use ringmark::engine::conversation::Conversation;
use ringmark::engine::datagram::{ReceivedMeta, ReflectionGuard, handle_datagram};
use ringmark::engine::stats::Stats;
use ringmark::protocol::{Cx, Kind, Peer, Service, Services};
use ringmark::sys::datagram::segments;
use ringmark::sys::send_buffer::Filled;
use std::hint::black_box;

/// An echo of 64 bytes: the session answers, that is queued, sent whole, and its buffer given back.
fn conversation(c: &mut Criterion) {
    let mut context = ShardContext::new(VectorBuffers::new(1, 64), Clock::start());
    let session = Services::new([Kind::Echo]).open(Peer { endpoint: 0 }, &mut context.cx);
    let mut conversation = Conversation::new(session);
    c.bench_function("conversation: receive, echo, send, give back", |bench| {
        bench.iter(|| {
            let vector = context.buffers.buffer();
            conversation.received(black_box(Filled { vector, len: 64 }), &mut context);
            let segment = conversation.next_send().expect("one is queued");
            conversation.sent(segment, 64, &mut context);
            black_box((conversation.wants_receive(), conversation.finished()))
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

/// What a datagram costs between recvmmsg and sendmmsg.
fn datagram(c: &mut Criterion) {
    let mut services = Services::new([Kind::Echo]);
    let guard = ReflectionGuard::new(true, [7007].into());
    let (mut stats, mut written, mut cx) = (Stats::default(), Vec::new(), Cx::default());
    c.bench_function("datagram: admit, echo 64 bytes", |bench| {
        bench.iter(|| {
            let input = black_box(&[7; 64]);
            let datagrams = segments(input.len(), None).len();
            let meta = ReceivedMeta { datagrams, bytes: input.len(), truncated: false, source_port: Some(40_000) };
            let admitted = guard.admits(meta, &mut stats);
            black_box(admitted.then(|| handle_datagram(&mut services, 0, &guard, input, &mut written, &mut cx)))
        });
    });
}

fn clock(c: &mut Criterion) {
    let clock = Clock::start();
    c.bench_function("clock: read", |bench| bench.iter(|| black_box(clock.now())));
}

criterion_group!(hot, conversation, arena, datagram, clock);
criterion_main!(hot);
