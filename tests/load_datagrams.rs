//! ringload with datagrams, from outside: what the network does to them is counted exactly, nothing else is, and foreign
//! servers are loaded as well as ours.

use ringmark::record::{DatagramRecord, LoadReport, Reason};
use ringmark::sys::{datagram, process};
use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use support::load::faults::{self, Fault, Peer};
use support::load::{self, engines, report};
use support::net;
use support::programs;
use support::retry;
use support::skip::skip;

/// A short run with JSON, its figures those of all requests; more words may follow and override.
fn ringload(engine: &str, address: &str, words: &[&str]) -> Output {
    load::ringload(engine, address, &[&["--warmup", "0"], words].concat())
}

fn is_without_gso(warning: &Reason) -> bool {
    matches!(warning, Reason::GsoRefused { .. } | Reason::GsoTooLarge { .. })
}

fn datagrams(report: &LoadReport) -> DatagramRecord {
    let record = report.datagrams.expect("the target is one of datagrams");
    assert_eq!(record.sent, record.answered + record.late + record.lost, "{record:?}");
    record
}

/// A run of which nothing gets lost but what a kernel says that it dropped: how much its sockets hold is the machine's
/// matter. Nothing is late unless the machine stands still for as long.
#[track_caller]
fn whole(engine: &str, address: &str, words: &[&str]) -> (LoadReport, DatagramRecord) {
    let patient = ["--timeout", "5s", "--max-loss", "100%", "-d", "1m"];
    let output = ringload(engine, address, &[&patient, words].concat());
    let report = report(&output);
    assert_eq!(output.status.code(), Some(0), "{}", retry::brief(&report));
    let record = datagrams(&report);
    let DatagramRecord { lost, late, duplicated, reordered, corrupt, .. } = record;
    let dropped = record.dropped_by_server.unwrap_or(0) + record.dropped_by_generator.unwrap_or(0);
    assert!(lost <= dropped, "{record:?}");
    assert_eq!([late, duplicated, corrupt], [0; 3], "{record:?}");
    // A thread that moves to another core may overtake what it sent on the one before.
    assert!(reordered * 100 <= record.sent, "{record:?}");
    assert!(record.sent > 0, "{record:?}");
    load::expect_silence(&output);
    (report, record)
}

/// `times` each of the faults.
fn repeat(faults: &[(Fault, usize)]) -> Vec<Fault> {
    faults.iter().flat_map(|(fault, times)| vec![*fault; *times]).collect()
}

#[test]
fn what_the_network_does_is_counted_exactly() {
    let faults = repeat(&[
        (Fault::Drop, 7),
        (Fault::Duplicate, 5),
        (Fault::Overtaken(3), 6),
        (Fault::Overtaken(9), 2),
        (Fault::Delay(Duration::from_millis(1500)), 4),
    ]);
    let words = ["-c", "2", "--depth", "32", "-d", "3s", "--timeout", "1s", "--max-loss", "100%"];
    for engine in engines() {
        let run = || {
            let peer = Peer::udp("127.0.0.1:0", &faults);
            let report = report(&ringload(engine, &peer.address, &words));
            let record = datagrams(&report);
            // What arrived at the peer is what was sent: the requests for admission and those after the window included.
            assert_eq!(record.traffic.requests, *peer.requests.lock().unwrap());
            assert_eq!(record.corrupt, 0);
            assert!(report.errors.values().all(|count| *count == 0), "{report:?}");
            // What the network does is no reason against it here; what this machine does may be one.
            let of_the_network = |reason: &Reason| matches!(reason, Reason::Loss { .. });
            assert!(!report.invalid.iter().any(of_the_network), "{:?}", report.invalid);
            report
        };
        // A machine that stands still for a second is one more thing that the network does.
        retry::if_disturbed(run, |report| {
            let record = datagrams(report);
            let counted = [record.lost, record.late, record.duplicated, record.reordered, record.reorder_extent_max];
            let losses = |warning: &Reason| matches!(warning, Reason::LossAllowed { .. });
            let strays = [Reason::Duplicates { count: 5 }, Reason::Reordered { count: 8 }];
            let warnings = &report.warnings;
            counted == [7, 4, 5, 8, 9]
                && [record.dropped_by_server, record.dropped_by_generator] == [Some(0); 2]
                && warnings.iter().any(losses)
                && strays.iter().all(|stray| warnings.contains(stray))
        });
    }
}

#[test]
fn every_kind_of_wrong_answer_is_corrupt_and_its_request_lost() {
    let kinds = [Fault::Flip(3), Fault::Flip(40), Fault::Cut, Fault::Extend, Fault::Empty, Fault::Invent];
    for engine in engines() {
        // Nothing is late unless the machine stands still for as long.
        let words = ["-c", "2", "--depth", "32", "-d", "1500ms", "--timeout", "3s", "--max-loss", "100%"];
        let run = || {
            let peer = Peer::udp("127.0.0.1:0", &repeat(&kinds.map(|kind| (kind, 2))));
            let output = ringload(engine, &peer.address, &words);
            assert_eq!(output.status.code(), Some(3));
            report(&output)
        };
        retry::if_disturbed(run, |report| {
            let record = datagrams(report);
            [record.corrupt, record.lost, record.late, record.duplicated] == [12, 12, 0, 0]
                && report.errors["corrupt"] == 12
                && report.invalid.contains(&Reason::Errors { kinds: [("corrupt".to_owned(), 12)].into() })
        });
    }
}

#[test]
fn all_sizes_come_back_whole_with_super_packets_and_without() {
    for engine in engines() {
        for (at, largest) in [("127.0.0.1:0", "65507"), ("[::1]:0", "65527")] {
            if at.starts_with('[') && !net::has_ipv6() {
                continue;
            }
            let peer = Peer::udp(at, &[]);
            for size in ["16", "1472", "9000", largest] {
                let words = ["-c", "2", "-n", "300", "-s", size];
                assert_eq!(whole(engine, &peer.address, &words).0.requests, 300);
                let (report, record) = whole(engine, &peer.address, &[&words[..], &["--gso", "7"]].concat());
                assert_eq!((report.workload.generator.gso, report.workload.shape.depth), (7, 7));
                assert!(record.traffic.sends <= record.traffic.requests, "{record:?}");
                let told = report.warnings.iter().any(is_without_gso);
                assert_eq!(told, size == largest, "{:?}", report.warnings);
            }
        }
    }
}

#[test]
fn super_packets_leave_whole_and_answers_are_split() {
    for engine in engines() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = format!("udp://{}", server.local_addr().unwrap());
        let socket = socket2::Socket::from(server);
        datagram::set_gro(&socket).unwrap();
        // Answers each super-packet with one, of segments of the size that the test uses.
        datagram::gso::set_gso(&socket, 100).unwrap();
        thread::spawn(move || {
            let socket = UdpSocket::from(socket);
            let mut buffer = vec![0; 1 << 16];
            while let Ok((len, from)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(&buffer[..len], from);
            }
        });
        let (_, record) = whole(engine, &address, &["-c", "2", "-n", "20000", "-s", "100", "--gso", "64"]);
        let each = [record.traffic.requests / record.traffic.sends, record.traffic.answers / record.traffic.receives];
        assert!(each.iter().all(|each| *each > 30), "{engine}: {record:?}");
    }
}

/// The last size of which two datagrams fit a super-packet, and the first of which they do not.
#[test]
fn where_not_even_two_datagrams_fit_a_super_packet_the_report_says_so() {
    for engine in engines() {
        for (at, most) in [("127.0.0.1:0", 65_507), ("[::1]:0", 65_527)] {
            if at.starts_with('[') && !net::has_ipv6() {
                continue;
            }
            let peer = Peer::udp(at, &[]);
            for (size, fits) in [(most / 2, true), (most / 2 + 1, false)] {
                let words = ["-c", "1", "-n", "50", "--gso", "2", "--no-counts", "-s", &size.to_string()];
                let (report, record) = whole(engine, &peer.address, &words);
                // Two leave together where there are two: not at the admission.
                assert_eq!(record.traffic.sends < record.traffic.requests, fits, "{engine}: {record:?}");
                let told: Vec<_> = report.warnings.iter().filter(|warning| is_without_gso(warning)).collect();
                match fits {
                    true => assert!(told.is_empty(), "{told:?}"),
                    false => assert_eq!(told, [&Reason::GsoTooLarge { size, most }]),
                }
            }
        }
    }
}

/// Echoes, and counts the datagrams of each length.
fn echo_by_length() -> (String, Arc<Mutex<BTreeMap<usize, u64>>>) {
    let socket = faults::roomy("127.0.0.1:0");
    let address = format!("udp://{}", socket.local_addr().unwrap());
    let lengths = Arc::new(Mutex::new(BTreeMap::new()));
    let counted = lengths.clone();
    thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok((len, from)) = socket.recv_from(&mut buffer) {
            *counted.lock().unwrap().entry(len).or_default() += 1;
            // The generator may be gone.
            let _ = socket.send_to(&buffer[..len], from);
        }
    });
    (address, lengths)
}

#[test]
fn a_mix_of_sizes_arrives_in_its_shares_and_comes_back_whole() {
    let words = ["-c", "8", "-t", "2", "-n", "4000", "--depth", "4", "--no-counts", "-s", "64:6,1400:3,4k:1"];
    for engine in engines() {
        let (address, lengths) = echo_by_length();
        let (report, record) = whole(engine, &address, &words);
        assert_eq!((report.requests, report.workload.shape.size_mix.as_deref()), (4000, Some("64:6,1400:3,4k:1")));
        let lengths = lengths.lock().unwrap().clone();
        assert_eq!(lengths.keys().copied().collect::<Vec<_>>(), [64, 1400, 4096]);
        assert_eq!(lengths.values().sum::<u64>(), record.traffic.requests);
        for (len, share) in [(64, 0.6), (1400, 0.3), (4096, 0.1)] {
            let is = lengths[&len] as f64 / record.traffic.requests as f64;
            assert!((is - share).abs() < 0.05, "{engine}: {len} bytes: {is}");
        }
    }
}

#[test]
fn a_mix_may_have_the_largest_size_and_go_anywhere() {
    let directory = tempfile::tempdir().unwrap();
    let unix = Peer::unix(&directory.path().join("echo"));
    for engine in engines() {
        let six = if net::has_ipv6() { ("[::1]:0", 65_527) } else { ("127.0.0.2:0", 65_507) };
        let [four, six] = [("127.0.0.1:0", 65_507), six].map(|(at, largest)| (Peer::udp(at, &[]), largest));
        for (peer, largest) in [(&four.0, four.1), (&six.0, six.1), (&unix, 65_536)] {
            for speak in ["echo", "sockperf"] {
                let mix = format!("24:2,1472:1,{largest}:1");
                let words = ["-c", "2", "-n", "300", "--no-counts", "-s", &mix, "--speak", speak];
                assert_eq!(whole(engine, &peer.address, &words).0.requests, 300);
            }
        }
    }
}

#[test]
fn unix_datagrams_find_back() {
    let directory = tempfile::tempdir().unwrap();
    let peer = Peer::unix(&directory.path().join("echo"));
    for engine in engines() {
        for size in ["16", "65536"] {
            let words = ["-c", "5", "-t", "2", "-n", "500", "--depth", "16", "-s", size];
            let (report, record) = whole(engine, &peer.address, &words);
            assert_eq!((report.requests, report.workload.generator.protocol.as_str()), (500, "unixgram"));
            assert_eq!(record.dropped_by_server, None);
        }
    }
}

#[test]
fn an_open_loop_sends_by_its_schedule() {
    let peer = Peer::udp("127.0.0.1:0", &[]);
    for engine in engines() {
        let words = ["-c", "4", "-t", "2", "-R", "2k", "-d", "500ms"];
        let words = [&words[..], &["--timeout", "5s"]].concat();
        // Never ahead of its schedule; whether it keeps up is this machine's matter too.
        let run = || {
            let report = report(&ringload(engine, &peer.address, &words));
            let record = datagrams(&report);
            let dropped = record.dropped_by_server.unwrap_or(0) + record.dropped_by_generator.unwrap_or(0);
            assert!(report.response_ns.is_some() && record.sent <= 1001, "{report:?}");
            assert!(record.sent - record.answered <= dropped, "{record:?}");
            report
        };
        // A request that is due at the window's very end may be sent after it.
        retry::if_disturbed(run, |report| datagrams(report).sent >= 990);
    }
}

#[test]
fn a_loss_is_laid_at_the_servers_door() {
    for engine in engines() {
        let peer = Peer::slow(Duration::from_millis(2));
        let words = ["-c", "1", "--depth", "64", "-d", "1s", "--timeout", "100ms"];
        let output = ringload(engine, &peer.address, &words);
        let report = report(&output);
        let record = datagrams(&report);
        assert!(record.lost > 50 && record.answered > 0, "{record:?}");
        // After the window the load goes on for a moment where more can be counted, and loses more.
        assert!(record.dropped_by_server.is_some_and(|dropped| dropped >= record.lost), "{record:?}");
        assert_eq!((record.dropped_by_generator, output.status.code()), (Some(0), Some(3)));
        let losses = report.invalid.iter().find_map(|reason| match reason {
            Reason::Loss { allowed: 0.01, losses, .. } => Some(losses),
            _ => None,
        });
        assert_eq!(losses.unwrap().dropped_by_server, record.dropped_by_server);
    }
}

#[test]
fn where_nobody_is_bound_the_refusal_is_explained() {
    // An address of loopback that nobody uses: a port that was free a moment ago may be another test's by now.
    let nobody = String::from("udp://127.77.77.77:9");
    for engine in engines() {
        for (address, cause) in [(nobody.as_str(), "refused"), ("unixgram:/nonexistent/echo", "No such file")] {
            let output = ringload(engine, address, &[]);
            let message = String::from_utf8(output.stderr).unwrap();
            assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
            for part in [address, cause, "start the server"] {
                assert!(message.contains(part), "{part}: {message}");
            }
        }
    }
}

#[test]
fn a_socket_of_the_other_kind_is_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("stream");
    let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    for engine in engines() {
        let output = ringload(engine, &format!("unixgram:{}", path.display()), &[]);
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && message.contains("of the other kind"), "{message}");
    }
}

#[test]
fn where_nobody_answers_the_run_says_so() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = format!("udp://{}", silent.local_addr().unwrap());
    for engine in engines() {
        let output = ringload(engine, &address, &["-c", "3", "--timeout", "20ms"]);
        let report = report(&output);
        assert_eq!((report.requests, output.status.code()), (0, Some(3)));
        let silent = |reason: &Reason| matches!(reason, Reason::NobodyAnswered { target, .. } if *target == address);
        assert!(report.invalid.iter().any(silent), "{:?}", report.invalid);
    }
}

#[test]
fn a_server_that_goes_away_is_told_and_not_besieged() {
    for engine in engines() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = format!("udp://{}", server.local_addr().unwrap());
        let words = [&address, "--engine", engine, "--format", "json", "--warmup", "0", "--no-pin"];
        let load = [&words[..], &["-c", "2", "--depth", "4", "-d", "10m", "--timeout", "10ms"]].concat();
        let mut command = Command::new(programs::ringload());
        command.args(load).stdin(Stdio::null()).stdout(Stdio::piped());
        process::contain(&mut command, None);
        let child = command.spawn().unwrap();
        let (received, gone) = serve_for_a_while(server);
        // It is left alone with nobody for a while, and then told to end.
        thread::sleep(Duration::from_millis(1000));
        process::signal_group(child.id(), signal_hook::consts::SIGINT).unwrap();
        let output = child.wait_with_output().unwrap();
        let report = report(&output);
        let record = datagrams(&report);
        assert_eq!(output.status.code(), Some(3), "{report:?}");
        assert!(report.errors["reset"] > 0 && record.lost > 0 && record.answered > 0, "{engine}: {report:?}");
        // Two sockets of four requests each: those in flight, and as many again after every pause of 100 ms; twice that, to
        // be safe. With a pause as long as the timeout only it would be ten times as many.
        let (for_nobody, pauses) = (record.traffic.requests - received, gone.elapsed().as_millis() as u64 / 100);
        assert!(for_nobody <= 2 * 2 * 4 * (2 + pauses), "{engine}: {for_nobody} in {pauses} pauses, {report:?}");
    }
}

/// Echoes until much has come, and for some time since the first: then the counting has begun. How much has come, and when
/// nobody is there any more.
fn serve_for_a_while(server: UdpSocket) -> (u64, Instant) {
    let mut buffer = [0; 100];
    let (mut begun, mut received) = (None, 0);
    while received < 500 || begun.is_some_and(|begun: Instant| begun.elapsed() < Duration::from_millis(300)) {
        let (len, from) = server.recv_from(&mut buffer).unwrap();
        let _ = server.send_to(&buffer[..len], from);
        begun.get_or_insert_with(Instant::now);
        received += 1;
    }
    server.set_nonblocking(true).unwrap();
    while server.recv_from(&mut buffer).is_ok() {
        received += 1;
    }
    drop(server);
    (received, Instant::now())
}

#[test]
fn what_datagrams_cannot_have_is_refused() {
    for (words, part) in [
        (&["udp://127.0.0.1:1", "-s", "15"][..], "from 16 to 65507 bytes, not 15"),
        (&["udp://127.0.0.1:1", "-s", "65508"], "from 16 to 65507"),
        (&["udp://[::1]:1", "-s", "65528"], "from 16 to 65527"),
        (&["udp://127.0.0.1:1", "-s", "20", "--speak", "sockperf"], "from 24 to"),
        (&["udp://127.0.0.1:1", "-s", "64:9,15:1"], "from 16 to 65507 bytes, not 15"),
        (&["udp://127.0.0.1:1", "-s", "64:9,65508:1"], "from 16 to 65507 bytes, not 65508"),
        (&["udp://127.0.0.1:1", "-s", "64:9,1400:1", "--gso", "2"], "choose one --size, or leave out --gso"),
        (&["udp://127.0.0.1:1", "--connect-per-request"], "is for streams"),
        (&["127.0.0.1:1", "--gso", "2"], "is for datagrams"),
        (&["127.0.0.1:1", "--max-loss", "2%"], "is for datagrams"),
        (&["unixgram:/x", "--gso", "2"], "is for UDP"),
        (&["udp://127.0.0.1:1", "--gso", "65"], "1..=64"),
        (&["udp://127.0.0.1:1", "--max-loss", "101%"], "from 0 to 100%"),
    ] {
        let output = Command::new(programs::ringload()).args(words).output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && message.contains(part), "{words:?}: {message}");
    }
}

#[test]
fn text_has_a_line_for_datagrams() {
    let peer = Peer::udp("127.0.0.1:0", &[]);
    let words = [&peer.address, "--engine", "epoll", "-n", "100", "-c", "2", "--warmup", "0", "--gso", "4"];
    let output = Command::new(programs::ringload()).args(words).args(["--timeout", "5s"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.starts_with("datagrams ")).unwrap();
    assert!(line.contains(" 0 lost, 0 late, 0 duplicated, 0 reordered, 0 corrupt; "), "{line}");
    assert!(text.contains("2 sockets, 64 bytes per request, 4 in flight each, up to 4 per send"), "{text}");
}

/// A foreign server; killed when dropped.
struct Foreign(Child);

impl Foreign {
    /// `None`, with the reason printed, where the program is missing; with RINGMARK_REQUIRE_PEERS set that is a failure.
    fn start(program: &str, words: &[&str], port: u16) -> Option<Foreign> {
        let mut command = Command::new(program);
        command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        process::contain(&mut command, None);
        match command.spawn() {
            Ok(child) => {
                let server = Foreign(child);
                wait_for(|| datagram::is_bound(port));
                Some(server)
            }
            Err(error) => {
                assert!(std::env::var_os("RINGMARK_REQUIRE_PEERS").is_none(), "{program}: {error}");
                skip(format_args!("{program}: {error}"));
                None
            }
        }
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = process::signal_group(self.0.id(), signal_hook::consts::SIGKILL);
        let _ = self.0.wait();
    }
}

fn wait_for(condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(30), "waited in vain");
        thread::sleep(Duration::from_millis(5));
    }
}

fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn sockperf_is_a_server_like_any_other() {
    let port = free_port();
    let text = port.to_string();
    let Some(_server) = Foreign::start("sockperf", &["server", "-i", "127.0.0.1", "-p", &text], port) else { return };
    let address = format!("udp://127.0.0.1:{port}");
    // It tries itself out on start and answers only then.
    wait_for(|| {
        let words = ["--speak", "sockperf", "-c", "1", "-n", "1", "--timeout", "50ms"];
        report(&ringload("epoll", &address, &words)).requests > 0
    });
    for engine in engines() {
        // Its receive buffer is the system's default, which holds few large ones.
        for (size, sockets) in [("24", "8"), ("1472", "8"), ("65507", "1")] {
            let words = ["--speak", "sockperf", "-c", sockets, "-n", "2000", "-s", size];
            let (report, _) = whole(engine, &address, &words);
            assert_eq!((report.requests, report.workload.generator.dialect.as_str()), (2000, "sockperf"));
        }
        let words = ["--speak", "sockperf", "-c", "4", "--gso", "16", "-n", "2000"];
        whole(engine, &address, &words);
    }
}

#[test]
fn socat_is_a_server_like_any_other() {
    let port = free_port();
    let listen = format!("UDP4-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr");
    let Some(_server) = Foreign::start("socat", &["-b", "65536", &listen, "PIPE"], port) else { return };
    let address = format!("udp://127.0.0.1:{port}");
    for engine in engines() {
        // A process for every socket that asks; while it is made a datagram may be lost.
        let words = ["-c", "1", "-n", "500", "-s", "1472", "--timeout", "2s", "--max-loss", "100%", "-d", "2m"];
        let output = ringload(engine, &address, &words);
        let report = report(&output);
        let record = datagrams(&report);
        assert_eq!((report.requests, record.corrupt, record.duplicated), (500, 0, 0), "{report:?}");
        assert_eq!(output.status.code(), Some(0), "{report:?}");
    }
}
