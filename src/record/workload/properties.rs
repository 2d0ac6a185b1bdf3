//! The one description of each property of a workload.

use super::Workload;
use super::property::{Column, InCompare, PLAIN, Preset, Property, Value};
use crate::units::{Arrival, Bytes, Fraction, Nanos, Rate, SizeMix, Transport};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Most requests in flight per connection.
const MAX_DEPTH: u64 = 4096;
const MAX_CONNECTIONS: u64 = 1_000_000;
const MAX_THREADS: u64 = 1024;
const MAX_SIZE: Bytes = Bytes(64 << 20);
/// Datagrams of a super-packet that the kernel splits (UDP_MAX_SEGMENTS).
const MAX_GSO: u64 = 64;
/// Lost and late datagrams that do not make a run invalid, as a share of all requests, unless asked for otherwise.
const USUAL_MAX_LOSS: f64 = 0.01;

/// All of them. The columns are in this order; those that are added come last.
pub const PROPERTIES: &[Property] = &[
    Property {
        option: Some("connections"),
        short: Some('c'),
        help: "Connections over all threads, with datagrams sockets; at most 1000000",
        compare: InCompare::Several("several make several cells: 1,64,1000"),
        defaults: [Preset::Is("64"); 2],
        column: Some(Column { name: "connections", value: |load| load.shape.connections.to_string() }),
        get: |load| Some(load.shape.connections.to_string()),
        set: |load, typed| put(&mut load.shape.connections, whole(typed, 1..=MAX_CONNECTIONS)),
        ..PLAIN
    },
    Property {
        option: Some("size"),
        short: Some('s'),
        value: Value::Text("BYTES"),
        help: "Bytes of a request, 1 to 64M; the answer must be the same bytes. A mix by weight: 64:90,1400:9,16k:1",
        details: "A datagram has at least 16, and at most 65507 over IPv4 (IPv6 65527, unix 65536). Its size follows from its \
            number, so that each answer's length is checked too.",
        compare: InCompare::Several("several make several cells (64,4k), a mix makes one"),
        defaults: [Preset::Is("64"); 2],
        column: Some(Column { name: "size", value: |load| load.shape.size.to_string() }),
        get: |load| Some(load.shape.sizes()),
        set: set_size,
        ..PLAIN
    },
    Property {
        option: Some("depth"),
        help: "Requests in flight per connection, at most 4096",
        details: "Slots that are free at the same time are filled with one send, as a client that batches would do.",
        excludes: &["connect-per-request"],
        defaults: [Preset::Follows("1, with --gso as many, with a rate 4096", usual_depth); 2],
        column: Some(Column { name: "depth", value: |load| load.shape.depth.to_string() }),
        get: |load| (!load.shape.connect_per_request).then(|| load.shape.depth.to_string()),
        set: |load, typed| put(&mut load.shape.depth, whole(typed, 1..=MAX_DEPTH)),
        ..PLAIN
    },
    Property {
        option: Some("connect-per-request"),
        value: Value::Flag,
        help: "Make a new connection for every request",
        details: "Latency then counts from before the connection is made. Thousands of connections per second use up local \
            ports; the generator says so if that happens.",
        excludes: &["depth", "idle"],
        only: Some(Transport::Stream),
        column: Some(Column {
            name: "connect_per_request",
            value: |load| u8::from(load.shape.connect_per_request).to_string(),
        }),
        get: |load| load.shape.connect_per_request.then(String::new),
        set: |load, _| put(&mut load.shape.connect_per_request, Ok(true)),
        ..PLAIN
    },
    Property {
        column: Some(Column {
            name: "loop",
            value: |load| if load.generator.is_open_loop() { "open" } else { "closed" }.to_owned(),
        }),
        ..PLAIN
    },
    Property {
        option: Some("rate"),
        short: Some('R'),
        value: Value::Text("RATE"),
        help: "Send so many requests per second over all connections, whether or not answers come (open loop): 500, 20k, \
            1.5M; 1 to 100M",
        details: "Latency is then response time as well: from the instant at which a request was meant to be sent, so that \
            what waits behind a slow answer counts. A connection whose answer is late sends its next request all the same.",
        defaults: [Preset::Follows("", rate_of_ramp); 2],
        column: Some(Column { name: "rate_per_s", value: |load| text(load.generator.rate_per_s) }),
        get: |load| load.generator.rate_per_s.filter(|_| ramp(load).is_none()).map(|rate| rate.to_string()),
        set: |load, typed| put(&mut load.generator.rate_per_s, parsed(typed).map(|rate: Rate| Some(rate.per_second()))),
        ..PLAIN
    },
    Property {
        option: Some("arrival"),
        value: Value::Text("HOW"),
        help: "How requests follow each other: constant, poisson, burst:N or ramp:FROM..TO",
        details: "`poisson` is what many independent users do, and meets queues that a constant rate does not. `burst:N` \
            sends N at once and keeps the rate over time. A ramp goes from one rate to the other within the counted time and \
            needs no -R.",
        defaults: [Preset::Follows("constant, with -R", |load| {
            load.generator.arrival = load.generator.rate_per_s.map(|_| Arrival::Constant.to_string());
        }); 2],
        column: Some(Column { name: "arrival", value: |load| text(load.generator.arrival.as_ref()) }),
        get: |load| load.generator.arrival.clone(),
        set: |load, typed| put(&mut load.generator.arrival, parsed(typed).map(|how: Arrival| Some(how.to_string()))),
        ..PLAIN
    },
    Property {
        option: Some("timer"),
        value: Value::OneOf(
            "TIMER",
            &[
                ("hybrid", "Sleep until shortly before, then look at the clock: exact, and idle at low rates"),
                ("sleep", "Sleep: the core is free meanwhile, but wake-ups come late"),
                ("spin", "Look at the clock all the time: the most exact, on a core of its own"),
            ],
        ),
        help: "How to wait for a request's instant: its error is in the report",
        defaults: [Preset::Is("hybrid"); 2],
        column: Some(Column { name: "timer", value: |load| text(load.generator.timer.as_ref()) }),
        get: |load| load.generator.timer.clone(),
        set: |load, typed| put(&mut load.generator.timer, Ok(Some(typed.to_owned()))),
        ..PLAIN
    },
    Property { column: Some(Column { name: "size_mix", value: |load| text(load.shape.size_mix.as_ref()) }), ..PLAIN },
    Property {
        option: Some("idle"),
        help: "Connections beside --connections that stay open and idle: what do they cost the others?",
        details: "Each is answered once before the measuring and once after it, so that all are known to be alive.",
        excludes: &["connect-per-request"],
        only: Some(Transport::Stream),
        defaults: [Preset::Is("0"); 2],
        column: Some(Column { name: "idle", value: |load| load.generator.idle.to_string() }),
        get: |load| (load.generator.idle > 0).then(|| load.generator.idle.to_string()),
        set: |load, typed| put(&mut load.generator.idle, whole(typed, 0..=MAX_CONNECTIONS)),
        ..PLAIN
    },
    Property { column: Some(Column { name: "protocol", value: |load| load.generator.protocol.clone() }), ..PLAIN },
    Property {
        option: Some("gso"),
        help: "Up to N datagrams of a socket leave with one send (UDP_SEGMENT, Linux 4.18), fewer where N exceed 65507 bytes",
        details: "Datagrams that are to go out on a socket at the same time are handed to the kernel as one super-packet, \
            which stays whole as far as it can: on this machine to a server that has UDP_GRO (ringmark serve --gro), otherwise \
            to the network device. Answers that come back whole are split again, and each is checked. All have one --size, of \
            which two must fit (IPv6: 65527 bytes). --depth is then N by default.",
        only: Some(Transport::Datagram),
        column: Some(Column { name: "gso", value: |load| load.generator.gso.to_string() }),
        get: |load| (load.generator.gso > 0).then(|| load.generator.gso.to_string()),
        // One datagram per send is what there is without it.
        set: |load, typed| {
            put(&mut load.generator.gso, whole(typed, 1..=MAX_GSO).map(|gso| if gso > 1 { gso } else { 0 }))
        },
        ..PLAIN
    },
    Property {
        option: Some("speak"),
        value: Value::DatagramProtocol("SERVER"),
        help: "What the server is; a plain echo answers either",
        only: Some(Transport::Datagram),
        defaults: [Preset::Follows("echo", |load| {
            if load.generator.transport() == Transport::Datagram {
                load.generator.dialect = "echo".to_owned();
            }
        }); 2],
        column: Some(Column { name: "dialect", value: |load| load.generator.dialect.clone() }),
        get: |load| Some(load.generator.dialect.clone()).filter(|dialect| !dialect.is_empty()),
        set: |load, typed| put(&mut load.generator.dialect, Ok(typed.to_owned())),
        ..PLAIN
    },
    Property {
        option: Some("duration"),
        short: Some('d'),
        value: Value::Text("TIME"),
        help: "How long to measure, warm-up not included",
        defaults: [
            Preset::Is("10s"),
            Preset::Follows("700ms of slices in a round, with --trials 1s", |load| {
                load.generator.duration_ns = 700_000_000
            }),
        ],
        get: |load| Some(nanos(load.generator.duration_ns)),
        set: |load, typed| put(&mut load.generator.duration_ns, positive(typed)),
        ..PLAIN
    },
    Property {
        option: Some("requests"),
        short: Some('n'),
        help: "Stop after exactly N counted requests, should that come before --duration",
        compare: InCompare::Not,
        get: |load| load.generator.max_requests.map(|most| most.to_string()),
        set: |load, typed| put(&mut load.generator.max_requests, whole(typed, 1..=u64::MAX).map(Some)),
        ..PLAIN
    },
    Property {
        option: Some("warmup"),
        value: Value::Text("TIME"),
        help: "Load without counting, before measuring: at least this long, and until throughput is steady",
        details: "Steady is a slope of less than 0.1 % of the mean per tenth of this time, over as much time. 0 is no warm-up.",
        defaults: [
            Preset::Is("1s"),
            Preset::Follows("one slice, with --trials 300ms", |load| load.generator.warmup_ns = 50_000_000),
        ],
        get: |load| Some(nanos(load.generator.warmup_ns)),
        set: |load, typed| put(&mut load.generator.warmup_ns, parsed(typed).map(|time: Nanos| time.0)),
        ..PLAIN
    },
    Property {
        option: Some("warmup-max"),
        value: Value::Text("TIME"),
        help: "Longest warm-up, where throughput is not steady before",
        defaults: [
            Preset::Follows("5 times --warmup", |load| longest_warmup(load, 5)),
            Preset::Follows("twice --warmup", |load| longest_warmup(load, 2)),
        ],
        get: |load| Some(nanos(load.generator.warmup_max_ns)),
        set: |load, typed| put(&mut load.generator.warmup_max_ns, parsed(typed).map(|time: Nanos| time.0)),
        ..PLAIN
    },
    Property {
        option: Some("timeout"),
        value: Value::Text("TIME"),
        help: "An answer that takes longer is an error and its connection is made anew; a datagram's is late or lost",
        defaults: [
            Preset::Follows("5s, with datagrams 250ms", |load| usual_timeout(load, Nanos::from_secs(5))),
            Preset::Follows("2s, with --udp 250ms", |load| usual_timeout(load, Nanos::from_secs(2))),
        ],
        get: |load| Some(nanos(load.generator.timeout_ns)),
        set: |load, typed| put(&mut load.generator.timeout_ns, positive(typed)),
        ..PLAIN
    },
    Property {
        option: Some("allow-errors"),
        value: Value::Text("SHARE"),
        help: "Errors that do not make a run invalid, as a share of all requests: 0.1%. A wrong byte always does",
        defaults: [Preset::Follows("none", |_| ()); 2],
        get: |load| share(load.generator.allow_errors),
        set: |load, typed| {
            put(&mut load.generator.allow_errors, parsed(typed).map(|most: Fraction| Some(most.value())))
        },
        ..PLAIN
    },
    Property {
        option: Some("max-loss"),
        value: Value::Text("SHARE"),
        help: "Lost and late datagrams that do not make a run invalid, as a share of all requests: 5%",
        only: Some(Transport::Datagram),
        defaults: [Preset::Follows("1%", |_| ()); 2],
        get: |load| share(load.generator.max_loss),
        set: |load, typed| {
            let most = parsed(typed).map(|most: Fraction| Some(most.value()).filter(|most| *most != USUAL_MAX_LOSS));
            put(&mut load.generator.max_loss, most)
        },
        ..PLAIN
    },
    Property {
        option: Some("threads"),
        short: Some('t'),
        help: "Threads of the generator, each with its share of the connections; at most 1024",
        defaults: [
            Preset::Follows("one per core of --cores, else 1", |_| ()),
            Preset::Follows("one per core of --load-cores", |_| ()),
        ],
        get: |load| {
            Some(load.generator.threads.min(load.shape.connections).to_string()).filter(|_| load.generator.threads > 0)
        },
        set: |load, typed| put(&mut load.generator.threads, whole(typed, 1..=MAX_THREADS)),
        ..PLAIN
    },
    Property {
        option: Some("spin"),
        value: Value::Text("TIME"),
        help: "Look for answers this long before sleeping",
        details: "Saves the wake-up, which is most of an idle machine's latency, at the price of a busy core.",
        defaults: [Preset::Is("0"); 2],
        get: |load| Some(nanos(load.generator.spin_ns)),
        set: |load, typed| put(&mut load.generator.spin_ns, parsed(typed).map(|time: Nanos| time.0)),
        ..PLAIN
    },
    Property {
        option: Some("engine"),
        value: Value::OneOf(
            "ENGINE",
            &[
                ("uring", "io_uring: one system call sends, receives and waits for all connections"),
                ("epoll", "epoll: works everywhere, one system call per send and receive"),
            ],
        ),
        help: "How the generator does its I/O",
        compare: InCompare::Named("load-engine"),
        defaults: [Preset::Is("uring"), Preset::Follows("uring where the kernel allows it", |_| ())],
        get: |load| Some(load.generator.engine.clone()).filter(|engine| !engine.is_empty()),
        set: |load, typed| put(&mut load.generator.engine, Ok(typed.to_owned())),
        ..PLAIN
    },
    Property {
        option: Some("seed"),
        help: "Seed of the bytes that are sent; the same seed sends the same bytes",
        compare: InCompare::Not,
        defaults: [Preset::Is("1"); 2],
        get: |load| Some(load.seed.to_string()),
        set: |load, typed| put(&mut load.seed, whole(typed, 0..=u64::MAX)),
        ..PLAIN
    },
];

fn set_size(load: &mut Workload, typed: &str) -> Result<(), String> {
    let sizes: SizeMix = parsed(typed)?;
    if sizes.largest() > MAX_SIZE {
        return Err(format!("a request has at most {MAX_SIZE} bytes"));
    }
    load.shape.size = sizes.mean().0;
    load.shape.size_mix = sizes.is_mixed().then(|| sizes.to_string());
    Ok(())
}

/// An open loop pipelines as deep as it may, so that no late answer delays a request.
fn usual_depth(load: &mut Workload) {
    let is_paced = load.generator.is_open_loop() || load.generator.arrival.is_some();
    load.shape.depth = match is_paced {
        _ if load.shape.connect_per_request => 1,
        true => MAX_DEPTH,
        false => load.generator.gso.max(1),
    };
}

fn ramp(load: &Workload) -> Option<Rate> {
    match load.generator.arrival.as_deref()?.parse() {
        Ok(Arrival::Ramp { from, to }) => Some(from.midpoint(to)),
        _ => None,
    }
}

fn rate_of_ramp(load: &mut Workload) {
    load.generator.rate_per_s = ramp(load).map(Rate::per_second);
}

fn longest_warmup(load: &mut Workload, shortest: u64) {
    load.generator.warmup_max_ns = load.generator.warmup_ns.saturating_mul(shortest);
}

/// TCP sends again by itself what was lost; a lost datagram's slot is to be used again soon, though not before any echo
/// on this continent would have been back.
fn usual_timeout(load: &mut Workload, of_streams: Nanos) {
    let time = match load.generator.transport() {
        Transport::Stream => of_streams,
        Transport::Datagram => Nanos::from_millis(250),
    };
    load.generator.timeout_ns = time.0;
}

fn put<T>(place: &mut T, value: Result<T, String>) -> Result<(), String> {
    *place = value?;
    Ok(())
}

fn parsed<T: FromStr<Err: Display>>(typed: &str) -> Result<T, String> {
    typed.parse().map_err(|error: T::Err| error.to_string())
}

fn whole(typed: &str, range: RangeInclusive<u64>) -> Result<u64, String> {
    let number: u64 = typed.trim().parse().map_err(|_| format!("'{typed}' is not a whole number"))?;
    match range.contains(&number) {
        true => Ok(number),
        false => Err(format!("{number} is not in {}..={}", range.start(), range.end())),
    }
}

fn positive(typed: &str) -> Result<u64, String> {
    Nanos::parse_positive(typed).map(|time| time.0).map_err(|error| error.to_string())
}

/// Exact; `Nanos` rounds when it is printed.
fn nanos(time: u64) -> String {
    format!("{time}ns")
}

fn share(share: Option<f64>) -> Option<String> {
    share.and_then(Fraction::new).map(Fraction::typed)
}

fn text(value: Option<impl Display>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}
