//! Connections segment by segment: what gives a sample, which, and what does not.

use super::*;
use proptest::prelude::*;

const CLIENT: &str = "10.0.0.1:40000";
const SERVER: &str = "10.0.0.2:7007";

/// A connection that is played by hand; microseconds.
struct Play {
    watch: Watch,
    client: u32,
    server: u32,
}

fn flags(text: &str) -> Flags {
    let has = |c| text.contains(c);
    Flags { syn: has('S'), ack: has('.'), fin: has('F'), rst: has('R'), psh: has('P') }
}

impl Play {
    /// From the middle of a connection on.
    fn joined() -> Play {
        // Close to the end of the numbers, so that they wrap.
        Play { watch: Watch::new(7007, Limits::default()), client: u32::MAX - 5, server: u32::MAX - 50 }
    }

    /// After a handshake of 30 us on the server's side and 20 us on the client's.
    fn open() -> Play {
        let mut play = Play::joined();
        let syn = Segment { sequence: play.client.wrapping_sub(1), flags: flags("S"), ..Segment::default() };
        play.send(0, Toward::Server, syn);
        let answer = Segment {
            sequence: play.server.wrapping_sub(1),
            acknowledged: play.client,
            flags: flags("S."),
            payload: 0,
        };
        play.send(30, Toward::Client, answer);
        play.ack(50, Toward::Server);
        play
    }

    fn send(&mut self, micros: u64, toward: Toward, segment: Segment) {
        let (client, server) = (CLIENT.parse().unwrap(), SERVER.parse().unwrap());
        let (from, to) = if toward == Toward::Server { (client, server) } else { (server, client) };
        self.watch.tcp(Nanos(micros * 1000), from, to, segment);
    }

    fn segment(&self, toward: Toward, text: &str, payload: u32) -> Segment {
        let (sequence, acknowledged) =
            if toward == Toward::Server { (self.client, self.server) } else { (self.server, self.client) };
        Segment { sequence, acknowledged, flags: flags(text), payload }
    }

    fn ack(&mut self, micros: u64, toward: Toward) {
        self.send(micros, toward, self.segment(toward, ".", 0));
    }

    /// A segment that was sent and is not captured.
    fn miss(&mut self, toward: Toward, payload: u32) {
        let next = if toward == Toward::Server { &mut self.client } else { &mut self.server };
        *next = next.wrapping_add(payload);
    }

    fn ask(&mut self, micros: u64, payload: u32) -> Segment {
        self.data(micros, Toward::Server, payload)
    }

    fn answer(&mut self, micros: u64, payload: u32) -> Segment {
        self.data(micros, Toward::Client, payload)
    }

    fn data(&mut self, micros: u64, toward: Toward, payload: u32) -> Segment {
        let segment = self.segment(toward, "P.", payload);
        self.send(micros, toward, segment);
        self.miss(toward, payload);
        segment
    }

    fn end(mut self) -> Watch {
        self.watch.finish();
        self.watch
    }
}

#[track_caller]
fn micros(spread: &Spread) -> Vec<u64> {
    let histogram = spread.histogram();
    let values = histogram.iter_recorded();
    // Values are kept to a thousandth.
    values
        .flat_map(|v| std::iter::repeat_n((v.value_iterated_to() + 500) / 1000, v.count_at_value() as usize))
        .collect()
}

#[test]
fn an_exchange_is_from_the_first_of_the_request_to_the_last_of_the_answer() {
    let mut play = Play::open();
    for start in [100, 1000] {
        play.ask(start, 10);
        play.ask(start + 10, 10);
        play.ack(start + 15, Toward::Client);
        play.answer(start + 40, 1448);
        play.answer(start + 60, 100);
        play.ack(start + 70, Toward::Server);
    }
    let watch = play.end();
    assert_eq!(micros(&watch.total.service), [60, 60]);
    assert_eq!(micros(&watch.total.first_answer), [30, 30]);
    assert_eq!(micros(&watch.total.handshake_server), [30]);
    assert_eq!(micros(&watch.total.handshake_client), [20]);
    assert_eq!(watch.seen, SeenRecord { connections: 1, in_pieces: 2, ..SeenRecord::default() });
    let connections = watch.connections();
    assert_eq!(connections[0].0.client.to_string(), CLIENT);
    assert_eq!(connections[0].1.samples(), 2);
    assert!(connections[0].1.quantile(0.5).0.abs_diff(60_000) < 600, "two digits are kept");
}

#[test]
fn a_write_in_several_segments_is_one_piece() {
    let mut play = Play::open();
    let head = Segment { flags: flags("."), ..play.segment(Toward::Server, ".", 1448) };
    play.send(100, Toward::Server, head);
    play.miss(Toward::Server, 1448);
    play.ask(105, 10);
    play.answer(120, 5);
    let watch = play.end();
    assert_eq!((micros(&watch.total.service), watch.seen.in_pieces), (vec![20], 0));
}

#[test]
fn retransmissions_and_keep_alives_change_no_time() {
    let mut play = Play::open();
    let request = play.ask(100, 10);
    play.send(300, Toward::Server, request);
    let answer = play.answer(350, 10);
    play.send(900, Toward::Client, answer);
    // A keep-alive: the byte before the next.
    let probe = play.segment(Toward::Server, ".", 0);
    play.send(950, Toward::Server, Segment { sequence: probe.sequence.wrapping_sub(1), ..probe });
    play.ask(1000, 10);
    play.answer(1010, 10);
    let watch = play.end();
    assert_eq!(micros(&watch.total.service), [10, 250]);
    assert_eq!(watch.seen.retransmissions, 2);
}

#[test]
fn a_repeated_handshake_gives_no_time() {
    let mut play = Play::joined();
    let syn = Segment { sequence: play.client.wrapping_sub(1), flags: flags("S"), ..Segment::default() };
    play.send(0, Toward::Server, syn);
    play.send(1_000_000, Toward::Server, syn);
    let answer =
        Segment { sequence: play.server.wrapping_sub(1), acknowledged: play.client, flags: flags("S."), payload: 0 };
    play.send(1_000_030, Toward::Client, answer);
    play.send(2_000_030, Toward::Client, answer);
    play.ack(2_000_050, Toward::Server);
    let watch = play.end();
    assert!(micros(&watch.total.handshake_server).is_empty() && micros(&watch.total.handshake_client).is_empty());
    assert_eq!(watch.seen.retransmissions, 2);
}

#[test]
fn what_was_not_captured_tears_the_exchange_and_no_other() {
    // Of: the request's end, the answer's begin, the answer's end, the whole answer, request and answer.
    for missing in 0..5 {
        let mut play = Play::open();
        play.ask(100, 10);
        play.answer(120, 10);
        match missing {
            0 => {
                play.miss(Toward::Server, 10);
                play.ask(200, 10);
                play.answer(210, 10);
            }
            1 => {
                play.ask(200, 10);
                play.miss(Toward::Client, 10);
                play.answer(220, 10);
            }
            2 => {
                play.ask(200, 10);
                play.answer(210, 10);
                play.miss(Toward::Client, 10);
            }
            3 => {
                play.ask(200, 10);
                play.miss(Toward::Client, 10);
            }
            _ => {
                play.miss(Toward::Server, 10);
                play.miss(Toward::Client, 10);
            }
        }
        play.ask(300, 10);
        play.answer(330, 10);
        play.ask(400, 10);
        play.answer(440, 10);
        let watch = play.end();
        // The last case hides a whole exchange: its answer might be the end of the one before, its request the begin of
        // the one after.
        let expected: (&[u64], u64) = if missing == 4 { (&[40], 2) } else { (&[20, 30, 40], 1) };
        assert_eq!((missing, micros(&watch.total.service).as_slice()), (missing, expected.0));
        assert_eq!((missing, watch.seen.torn), (missing, expected.1));
    }
}

#[test]
fn a_client_that_does_not_wait_is_told() {
    let mut play = Play::open();
    play.ask(100, 10);
    let received = play.server;
    play.answer(120, 10);
    // Sent before the answer arrived: it acknowledges nothing of it.
    let early = Segment { acknowledged: received, ..play.segment(Toward::Server, "P.", 10) };
    play.send(125, Toward::Server, early);
    play.miss(Toward::Server, 10);
    play.answer(150, 10);
    play.answer(160, 10);
    play.ask(300, 10);
    play.answer(310, 10);
    let watch = play.end();
    assert_eq!(micros(&watch.total.service), [10]);
    assert_eq!(watch.seen.overlapping, 2);
}

#[test]
fn an_answer_that_begins_before_the_request_is_whole_has_no_first_answer_time() {
    let mut play = Play::open();
    let before = play.client.wrapping_add(10);
    play.ask(100, 10);
    play.ask(101, 10);
    let early = Segment { acknowledged: before, ..play.segment(Toward::Client, "P.", 10) };
    play.send(110, Toward::Client, early);
    play.miss(Toward::Client, 10);
    play.answer(120, 10);
    let watch = play.end();
    assert_eq!((micros(&watch.total.service), micros(&watch.total.first_answer)), (vec![20], vec![]));
}

#[test]
fn the_end_of_a_connection_ends_the_answer() {
    for end in ["F.", "R"] {
        let mut play = Play::open();
        play.ask(100, 10);
        play.answer(120, 10);
        play.send(5000, Toward::Client, play.segment(Toward::Client, end, 0));
        assert_eq!(micros(&play.watch.total.service), [20], "{end}");
        assert_eq!(play.end().seen.unanswered, 0);
    }
    let mut play = Play::open();
    play.ask(100, 10);
    play.send(5000, Toward::Client, play.segment(Toward::Client, "R", 0));
    assert_eq!(play.end().seen.unanswered, 1);
}

#[test]
fn an_exchange_under_way_when_the_packets_begin_gives_no_sample() {
    let mut play = Play::joined();
    play.ask(100, 10);
    play.answer(120, 10);
    play.ask(200, 10);
    play.answer(230, 10);
    let watch = play.end();
    assert_eq!(micros(&watch.total.service), [30]);
    let mut play = Play::joined();
    play.answer(120, 10);
    play.ask(200, 10);
    play.answer(230, 10);
    assert_eq!(micros(&play.end().total.service), [30]);
}

#[test]
fn an_answer_that_ends_within_a_write_when_the_packets_end_gives_no_sample() {
    let mut play = Play::open();
    play.ask(100, 10);
    play.send(120, Toward::Client, play.segment(Toward::Client, ".", 1448));
    assert!(micros(&play.end().total.service).is_empty());
}

#[test]
fn the_same_ends_may_connect_again() {
    let mut play = Play::open();
    play.ask(100, 10);
    play.answer(120, 10);
    let mut again = Play::open();
    again.watch = play.watch;
    again.client = again.client.wrapping_add(1 << 30);
    let syn = Segment { sequence: again.client.wrapping_sub(1), flags: flags("S"), ..Segment::default() };
    again.send(500, Toward::Server, syn);
    let answer = Segment { flags: flags("S."), ..again.segment(Toward::Client, "", 0) };
    again.server = answer.sequence.wrapping_add(1);
    again.send(510, Toward::Client, answer);
    again.ask(600, 10);
    again.answer(640, 10);
    let watch = again.end();
    assert_eq!((micros(&watch.total.service), watch.seen.torn), (vec![20, 40], 0));
    assert_eq!(micros(&watch.total.handshake_server), [10, 30]);
}

#[test]
fn memory_is_bounded_and_what_is_forgotten_is_told() {
    let limits = Limits { connections: NonZeroUsize::new(10).unwrap(), ..Limits::default() };
    let mut watch = Watch::new(7007, limits);
    for port in 0..100 {
        watch.udp(Nanos(1), SocketAddr::from(([10, 0, 0, 1], 40_000 + port)), SERVER.parse().unwrap());
    }
    assert_eq!((watch.connections().len(), watch.seen.connections, watch.seen.forgotten), (10, 100, 90));
}

#[test]
fn datagrams_are_matched_in_order_until_patience_ends() {
    let mut watch = Watch::new(53, Limits::default());
    let (client, server) = ("[::1]:4000".parse().unwrap(), "[::1]:53".parse().unwrap());
    let at = |micros: u64| Nanos(micros * 1000);
    watch.udp(at(0), client, server);
    watch.udp(at(10), client, server);
    watch.udp(at(30), server, client);
    watch.udp(at(50), server, client);
    watch.udp(at(60), server, client);
    // Its answer is lost; the one after is not taken for it.
    watch.udp(at(100), client, server);
    watch.udp(at(2_000_000), client, server);
    watch.udp(at(2_000_020), server, client);
    // Packets were dropped while one waited.
    watch.udp(at(3_000_000), client, server);
    watch.lost();
    watch.udp(at(3_000_500), server, client);
    watch.finish();
    assert_eq!(micros(&watch.total.service), [20, 30, 40]);
    let seen =
        SeenRecord { connections: 1, queued: 1, unsolicited: 2, unanswered: 1, torn: 1, ..SeenRecord::default() };
    assert_eq!(watch.seen, seen);
}

#[test]
fn waiting_datagrams_are_bounded() {
    let limits = Limits { datagrams: 4, ..Limits::default() };
    let mut watch = Watch::new(53, limits);
    for at in 0..10 {
        watch.udp(Nanos(at), "10.0.0.1:9".parse().unwrap(), "10.0.0.2:53".parse().unwrap());
    }
    watch.finish();
    assert_eq!(watch.seen.unanswered, 10);
}

#[test]
fn the_port_tells_the_server_and_the_first_word_where_both_have_it() {
    let mut watch = Watch::new(123, Limits::default());
    let (one, other) = ("10.0.0.1:123".parse().unwrap(), "10.0.0.2:123".parse().unwrap());
    watch.udp(Nanos(1000), one, other);
    watch.udp(Nanos(6000), other, one);
    watch.udp(Nanos(7000), "10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap());
    assert_eq!((micros(&watch.total.service), watch.seen.connections), (vec![5], 1));
    assert_eq!(watch.connections()[0].0.client, one);
}

fn any_segment() -> impl Strategy<Value = (bool, Segment)> {
    let number = prop_oneof![any::<u32>(), 0..200u32, (u32::MAX - 200)..];
    let flags = any::<[bool; 5]>().prop_map(|[syn, ack, fin, rst, psh]| Flags { syn, ack, fin, rst, psh });
    let payload = prop_oneof![Just(0), 1..100u32, any::<u32>()];
    (any::<bool>(), (number.clone(), number, flags, payload)).prop_map(|(toward, parts)| {
        let (sequence, acknowledged, flags, payload) = parts;
        (toward, Segment { sequence, acknowledged, flags, payload })
    })
}

/// One exchange of a model: pieces of request and answer, and which segments are sent again.
#[derive(Clone, Debug)]
struct Exchange {
    request: Vec<u32>,
    answer: Vec<u32>,
    repeat: Vec<bool>,
    think: u64,
}

fn any_exchange() -> impl Strategy<Value = Exchange> {
    let pieces = || prop::collection::vec(1..3000u32, 1..5);
    (pieces(), pieces(), prop::collection::vec(any::<bool>(), 10), 1..5000u64)
        .prop_map(|(request, answer, repeat, think)| Exchange { request, answer, repeat, think })
}

proptest! {
    /// Whatever is on the wire: no panic, and no more samples than answers.
    #[test]
    fn nonsense_is_survived(segments in prop::collection::vec(any_segment(), 0..200)) {
        let mut play = Play::joined();
        let mut answers = 0;
        for (at, (toward, segment)) in segments.into_iter().enumerate() {
            let toward = if toward { Toward::Server } else { Toward::Client };
            answers += u64::from(toward == Toward::Client && segment.payload > 0);
            play.send(at as u64, toward, segment);
        }
        let watch = play.end();
        prop_assert!(watch.total.service.histogram().len() <= answers);
    }

    /// However requests and answers are cut and repeated, each gives its time.
    #[test]
    fn every_exchange_is_measured(exchanges in prop::collection::vec(any_exchange(), 1..20)) {
        let mut play = Play::open();
        let (mut now, mut expected) = (100, Vec::new());
        for exchange in &exchanges {
            let mut repeat = exchange.repeat.iter();
            let first = now;
            for (toward, pieces) in [(Toward::Server, &exchange.request), (Toward::Client, &exchange.answer)] {
                for payload in pieces {
                    let sent = play.data(now, toward, *payload);
                    now += 7;
                    if *repeat.next().unwrap_or(&false) {
                        play.send(now - 3, toward, sent);
                    }
                }
                if toward == Toward::Server {
                    now += exchange.think;
                }
            }
            expected.push(now - 7 - first);
        }
        let watch = play.end();
        expected.sort_unstable();
        let measured = micros(&watch.total.service);
        prop_assert_eq!(measured.len(), expected.len());
        for (one, other) in measured.iter().zip(&expected) {
            prop_assert!(one.abs_diff(*other) <= 1 + other / 500, "{} instead of {}", one, other);
        }
        prop_assert_eq!((watch.seen.torn, watch.seen.overlapping, watch.seen.unanswered), (0, 0, 0));
    }
}
