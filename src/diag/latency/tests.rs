//! Connections segment by segment: what gives a sample, which, and what does not.

use super::*;
use proptest::prelude::*;

const CLIENT: &str = "10.0.0.1:40000";
const SERVER: &str = "10.0.0.2:7007";

/// A connection that is played by hand; microseconds.
struct Play {
    table: FlowTable,
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
        Play { table: FlowTable::new(7007, Limits::default()), client: u32::MAX - 5, server: u32::MAX - 50 }
    }

    /// After a handshake of 30 us on the server's side and 20 us on the client's.
    fn open() -> Play {
        let mut play = Play::joined();
        let syn = Segment { sequence: play.client.wrapping_sub(1), flags: flags("S"), ..Segment::default() };
        play.send(0, Direction::Server, syn);
        let answer = Segment {
            sequence: play.server.wrapping_sub(1),
            acknowledged: play.client,
            flags: flags("S."),
            payload: 0,
        };
        play.send(30, Direction::Client, answer);
        play.ack(50, Direction::Server);
        play
    }

    fn send(&mut self, micros: u64, direction: Direction, segment: Segment) {
        let (client, server) = (CLIENT.parse().unwrap(), SERVER.parse().unwrap());
        let (from, to) = if direction == Direction::Server { (client, server) } else { (server, client) };
        self.table.tcp(Nanos(micros * 1000), from, to, segment);
    }

    fn segment(&self, direction: Direction, text: &str, payload: u32) -> Segment {
        let (sequence, acknowledged) =
            if direction == Direction::Server { (self.client, self.server) } else { (self.server, self.client) };
        Segment { sequence, acknowledged, flags: flags(text), payload }
    }

    fn ack(&mut self, micros: u64, direction: Direction) {
        self.send(micros, direction, self.segment(direction, ".", 0));
    }

    /// A segment that was sent and is not captured.
    fn miss(&mut self, direction: Direction, payload: u32) {
        let next = if direction == Direction::Server { &mut self.client } else { &mut self.server };
        *next = next.wrapping_add(payload);
    }

    fn ask(&mut self, micros: u64, payload: u32) -> Segment {
        self.data(micros, Direction::Server, payload)
    }

    fn answer(&mut self, micros: u64, payload: u32) -> Segment {
        self.data(micros, Direction::Client, payload)
    }

    fn data(&mut self, micros: u64, direction: Direction, payload: u32) -> Segment {
        let segment = self.segment(direction, "P.", payload);
        self.send(micros, direction, segment);
        self.miss(direction, payload);
        segment
    }

    fn end(mut self) -> FlowTable {
        self.table.finish();
        self.table
    }
}

#[track_caller]
fn micros(histogram: &TimeHistogram) -> Vec<u64> {
    let histogram = histogram.histogram();
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
        play.ack(start + 15, Direction::Client);
        play.answer(start + 40, 1448);
        play.answer(start + 60, 100);
        play.ack(start + 70, Direction::Server);
    }
    let table = play.end();
    assert_eq!(micros(&table.total.service), [60, 60]);
    assert_eq!(micros(&table.total.first_answer), [30, 30]);
    assert_eq!(micros(&table.total.handshake_server), [30]);
    assert_eq!(micros(&table.total.handshake_client), [20]);
    assert_eq!(table.seen, SeenRecord { connections: 1, in_pieces: 2, ..SeenRecord::default() });
    let connections = table.connections();
    assert_eq!(connections[0].0.client.to_string(), CLIENT);
    assert_eq!(connections[0].1.samples(), 2);
    assert!(connections[0].1.quantile(0.5).0.abs_diff(60_000) < 600, "two digits are kept");
}

#[test]
fn a_write_in_several_segments_is_one_piece() {
    let mut play = Play::open();
    let head = Segment { flags: flags("."), ..play.segment(Direction::Server, ".", 1448) };
    play.send(100, Direction::Server, head);
    play.miss(Direction::Server, 1448);
    play.ask(105, 10);
    play.answer(120, 5);
    let table = play.end();
    assert_eq!((micros(&table.total.service), table.seen.in_pieces), (vec![20], 0));
}

#[test]
fn retransmissions_and_keep_alives_change_no_time() {
    let mut play = Play::open();
    let request = play.ask(100, 10);
    play.send(300, Direction::Server, request);
    let answer = play.answer(350, 10);
    play.send(900, Direction::Client, answer);
    // A keep-alive: the byte before the next.
    let probe = play.segment(Direction::Server, ".", 0);
    play.send(950, Direction::Server, Segment { sequence: probe.sequence.wrapping_sub(1), ..probe });
    play.ask(1000, 10);
    play.answer(1010, 10);
    let table = play.end();
    assert_eq!(micros(&table.total.service), [10, 250]);
    assert_eq!(table.seen.retransmissions, 2);
}

#[test]
fn a_repeated_handshake_gives_no_time() {
    let mut play = Play::joined();
    let syn = Segment { sequence: play.client.wrapping_sub(1), flags: flags("S"), ..Segment::default() };
    play.send(0, Direction::Server, syn);
    play.send(1_000_000, Direction::Server, syn);
    let answer =
        Segment { sequence: play.server.wrapping_sub(1), acknowledged: play.client, flags: flags("S."), payload: 0 };
    play.send(1_000_030, Direction::Client, answer);
    play.send(2_000_030, Direction::Client, answer);
    play.ack(2_000_050, Direction::Server);
    let table = play.end();
    assert!(micros(&table.total.handshake_server).is_empty() && micros(&table.total.handshake_client).is_empty());
    assert_eq!(table.seen.retransmissions, 2);
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
                play.miss(Direction::Server, 10);
                play.ask(200, 10);
                play.answer(210, 10);
            }
            1 => {
                play.ask(200, 10);
                play.miss(Direction::Client, 10);
                play.answer(220, 10);
            }
            2 => {
                play.ask(200, 10);
                play.answer(210, 10);
                play.miss(Direction::Client, 10);
            }
            3 => {
                play.ask(200, 10);
                play.miss(Direction::Client, 10);
            }
            _ => {
                play.miss(Direction::Server, 10);
                play.miss(Direction::Client, 10);
            }
        }
        play.ask(300, 10);
        play.answer(330, 10);
        play.ask(400, 10);
        play.answer(440, 10);
        let table = play.end();
        // The last case hides a whole exchange: its answer might be the end of the one before, its request the begin of
        // the one after.
        let expected: (&[u64], u64) = if missing == 4 { (&[40], 2) } else { (&[20, 30, 40], 1) };
        assert_eq!((missing, micros(&table.total.service).as_slice()), (missing, expected.0));
        assert_eq!((missing, table.seen.torn), (missing, expected.1));
    }
}

#[test]
fn a_client_that_does_not_wait_is_told() {
    let mut play = Play::open();
    play.ask(100, 10);
    let received = play.server;
    play.answer(120, 10);
    // Sent before the answer arrived: it acknowledges nothing of it.
    let early = Segment { acknowledged: received, ..play.segment(Direction::Server, "P.", 10) };
    play.send(125, Direction::Server, early);
    play.miss(Direction::Server, 10);
    play.answer(150, 10);
    play.answer(160, 10);
    play.ask(300, 10);
    play.answer(310, 10);
    let table = play.end();
    assert_eq!(micros(&table.total.service), [10]);
    assert_eq!(table.seen.overlapping, 2);
}

#[test]
fn an_answer_that_begins_before_the_request_is_whole_has_no_first_answer_time() {
    let mut play = Play::open();
    let before = play.client.wrapping_add(10);
    play.ask(100, 10);
    play.ask(101, 10);
    let early = Segment { acknowledged: before, ..play.segment(Direction::Client, "P.", 10) };
    play.send(110, Direction::Client, early);
    play.miss(Direction::Client, 10);
    play.answer(120, 10);
    let table = play.end();
    assert_eq!((micros(&table.total.service), micros(&table.total.first_answer)), (vec![20], vec![]));
}

#[test]
fn the_end_of_a_connection_ends_the_answer() {
    for end in ["F.", "R"] {
        let mut play = Play::open();
        play.ask(100, 10);
        play.answer(120, 10);
        play.send(5000, Direction::Client, play.segment(Direction::Client, end, 0));
        assert_eq!(micros(&play.table.total.service), [20], "{end}");
        assert_eq!(play.end().seen.unanswered, 0);
    }
    let mut play = Play::open();
    play.ask(100, 10);
    play.send(5000, Direction::Client, play.segment(Direction::Client, "R", 0));
    assert_eq!(play.end().seen.unanswered, 1);
}

#[test]
fn an_exchange_under_way_when_the_packets_begin_gives_no_sample() {
    let mut play = Play::joined();
    play.ask(100, 10);
    play.answer(120, 10);
    play.ask(200, 10);
    play.answer(230, 10);
    let table = play.end();
    assert_eq!(micros(&table.total.service), [30]);
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
    play.send(120, Direction::Client, play.segment(Direction::Client, ".", 1448));
    assert!(micros(&play.end().total.service).is_empty());
}

#[test]
fn the_same_ends_may_connect_again() {
    let mut play = Play::open();
    play.ask(100, 10);
    play.answer(120, 10);
    let mut again = Play::open();
    again.table = play.table;
    again.client = again.client.wrapping_add(1 << 30);
    let syn = Segment { sequence: again.client.wrapping_sub(1), flags: flags("S"), ..Segment::default() };
    again.send(500, Direction::Server, syn);
    let answer = Segment { flags: flags("S."), ..again.segment(Direction::Client, "", 0) };
    again.server = answer.sequence.wrapping_add(1);
    again.send(510, Direction::Client, answer);
    again.ask(600, 10);
    again.answer(640, 10);
    let table = again.end();
    assert_eq!((micros(&table.total.service), table.seen.torn), (vec![20, 40], 0));
    assert_eq!(micros(&table.total.handshake_server), [10, 30]);
}

#[test]
fn memory_is_bounded_and_what_is_forgotten_is_told() {
    let limits = Limits { connections: NonZeroUsize::new(10).unwrap(), ..Limits::default() };
    let mut table = FlowTable::new(7007, limits);
    for port in 0..100 {
        table.udp(Nanos(1), SocketAddr::from(([10, 0, 0, 1], 40_000 + port)), SERVER.parse().unwrap());
    }
    assert_eq!((table.connections().len(), table.seen.connections, table.seen.forgotten), (10, 100, 90));
}

#[test]
fn datagrams_are_matched_in_order_until_patience_ends() {
    let mut table = FlowTable::new(53, Limits::default());
    let (client, server) = ("[::1]:4000".parse().unwrap(), "[::1]:53".parse().unwrap());
    let at = |micros: u64| Nanos(micros * 1000);
    table.udp(at(0), client, server);
    table.udp(at(10), client, server);
    table.udp(at(30), server, client);
    table.udp(at(50), server, client);
    table.udp(at(60), server, client);
    // Its answer is lost; the one after is not taken for it.
    table.udp(at(100), client, server);
    table.udp(at(2_000_000), client, server);
    table.udp(at(2_000_020), server, client);
    // Packets were dropped while one waited.
    table.udp(at(3_000_000), client, server);
    table.lost();
    table.udp(at(3_000_500), server, client);
    table.finish();
    assert_eq!(micros(&table.total.service), [20, 30, 40]);
    let seen =
        SeenRecord { connections: 1, queued: 1, unsolicited: 2, unanswered: 1, torn: 1, ..SeenRecord::default() };
    assert_eq!(table.seen, seen);
}

#[test]
fn waiting_datagrams_are_bounded() {
    let limits = Limits { datagrams: 4, ..Limits::default() };
    let mut table = FlowTable::new(53, limits);
    for at in 0..10 {
        table.udp(Nanos(at), "10.0.0.1:9".parse().unwrap(), "10.0.0.2:53".parse().unwrap());
    }
    table.finish();
    assert_eq!(table.seen.unanswered, 10);
}

#[test]
fn the_port_tells_the_server_and_the_first_word_where_both_have_it() {
    let mut table = FlowTable::new(123, Limits::default());
    let (one, other) = ("10.0.0.1:123".parse().unwrap(), "10.0.0.2:123".parse().unwrap());
    table.udp(Nanos(1000), one, other);
    table.udp(Nanos(6000), other, one);
    table.udp(Nanos(7000), "10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap());
    assert_eq!((micros(&table.total.service), table.seen.connections), (vec![5], 1));
    assert_eq!(table.connections()[0].0.client, one);
}

fn any_segment() -> impl Strategy<Value = (bool, Segment)> {
    let number = prop_oneof![any::<u32>(), 0..200u32, (u32::MAX - 200)..];
    let flags = any::<[bool; 5]>().prop_map(|[syn, ack, fin, rst, psh]| Flags { syn, ack, fin, rst, psh });
    let payload = prop_oneof![Just(0), 1..100u32, any::<u32>()];
    (any::<bool>(), (number.clone(), number, flags, payload)).prop_map(|(direction, parts)| {
        let (sequence, acknowledged, flags, payload) = parts;
        (direction, Segment { sequence, acknowledged, flags, payload })
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
        for (at, (direction, segment)) in segments.into_iter().enumerate() {
            let direction = if direction { Direction::Server } else { Direction::Client };
            answers += u64::from(direction == Direction::Client && segment.payload > 0);
            play.send(at as u64, direction, segment);
        }
        let table = play.end();
        prop_assert!(table.total.service.histogram().len() <= answers);
    }

    /// However requests and answers are cut and repeated, each gives its time.
    #[test]
    fn every_exchange_is_measured(exchanges in prop::collection::vec(any_exchange(), 1..20)) {
        let mut play = Play::open();
        let (mut now, mut expected) = (100, Vec::new());
        for exchange in &exchanges {
            let mut repeat = exchange.repeat.iter();
            let first = now;
            for (direction, pieces) in [(Direction::Server, &exchange.request), (Direction::Client, &exchange.answer)] {
                for payload in pieces {
                    let sent = play.data(now, direction, *payload);
                    now += 7;
                    if *repeat.next().unwrap_or(&false) {
                        play.send(now - 3, direction, sent);
                    }
                }
                if direction == Direction::Server {
                    now += exchange.think;
                }
            }
            expected.push(now - 7 - first);
        }
        let table = play.end();
        expected.sort_unstable();
        let measured = micros(&table.total.service);
        prop_assert_eq!(measured.len(), expected.len());
        for (one, other) in measured.iter().zip(&expected) {
            prop_assert!(one.abs_diff(*other) <= 1 + other / 500, "{} instead of {}", one, other);
        }
        prop_assert_eq!((table.seen.torn, table.seen.overlapping, table.seen.unanswered), (0, 0, 0));
    }
}
