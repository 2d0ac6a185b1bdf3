//! `ringmark sniff` beside the programs that it must agree with: tcpdump and tshark read its files, tcpdump's lines for
//! the same packets are its lines. Traffic is the test's own: an address of 127.0.0.0/8 or a port that nobody else has.

use pcap_file::pcapng::blocks::interface_statistics::InterfaceStatisticsOption;
use pcap_file::pcapng::{Block, PcapNgReader};
use signal_hook::consts::{SIGCONT, SIGINT, SIGSTOP};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread;
use std::time::Duration;
use support::net::can_capture;
use support::netns::Chain;
use support::programs;
use support::server::{Ended, Process, ringmark, run};
use support::skip::skip;
use support::wait_until;
use tempfile::TempDir;

/// An address of the loopback network that no other test uses.
fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [high, low] = (std::process::id() as u16).to_be_bytes();
    Ipv4Addr::new(127, 1 | high, low, NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A directory that the user who is left when rights are given up may write to.
fn directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// `ringmark sniff` with these words, once it captures: then it has given up its rights.
fn sniff(words: &[&str]) -> Process {
    let process = Process::start(ringmark(["sniff"].into_iter().chain(words.iter().copied())));
    let status = format!("/proc/{}/status", process.pid());
    wait_until("it has given up its rights", || {
        fs::read_to_string(&status).expect("it runs").contains("NoNewPrivs:\t1")
    });
    process
}

/// Ctrl-C, and what it said.
#[track_caller]
fn finish(process: Process) -> Ended {
    process.signal(SIGINT);
    let ended = process.end();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    ended
}

/// A number that it said at the end.
#[track_caller]
fn said(ended: &Ended, what: &str) -> u64 {
    let line = ended.stderr.lines().find(|line| line.ends_with(what)).unwrap_or_else(|| panic!("{what}: {ended:?}"));
    line.split(' ').next().expect("a word").parse().expect("a number")
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of text")
}

/// tcpdump's lines for a file.
fn tcpdump(path: &Path) -> Vec<String> {
    output("tcpdump", &["-n", "-r", text(path)]).lines().map(str::to_owned).collect()
}

fn send_datagrams(from: Ipv4Addr, count: usize, size: usize) {
    let receiver = UdpSocket::bind((from, 0)).expect("binding");
    let sender = UdpSocket::bind((from, 0)).expect("binding");
    let to = receiver.local_addr().expect("an address");
    (0..count).for_each(|_| assert_eq!(sender.send_to(&vec![7; size], to).expect("sending"), size));
}

/// A connection that asks three times and is answered at length.
fn converse(address: IpAddr) {
    let listener = TcpListener::bind((address, 0)).expect("listening");
    let server = listener.local_addr().expect("an address");
    let answering = thread::spawn(move || {
        let mut stream = listener.accept().expect("accepting").0;
        let mut room = [0; 64];
        while let Ok(1..) = stream.read(&mut room) {
            stream.write_all(&[1; 3000]).expect("answering");
        }
    });
    let mut client = TcpStream::connect(server).expect("connecting");
    for _ in 0..3 {
        client.write_all(b"question").expect("asking");
        client.read_exact(&mut [0; 3000]).expect("an answer");
    }
    client.shutdown(Shutdown::Write).expect("ending");
    assert_eq!(client.read(&mut [0; 9]).expect("the end"), 0);
    answering.join().expect("the server");
    // Refused, which is answered with a reset.
    assert!(TcpStream::connect(server).is_err());
}

/// Nobody is there: ICMP tells.
fn knock(address: IpAddr) {
    let socket = UdpSocket::bind((address, 0)).expect("binding");
    let closed = UdpSocket::bind((address, 0)).expect("binding").local_addr().expect("an address");
    socket.send_to(b"knock", closed).expect("sending");
}

#[test]
fn lines_are_those_of_tcpdump() {
    if !can_capture(&["tcpdump"]) {
        return;
    }
    for address in [IpAddr::V4(own_address()), "::1".parse().expect("an address")] {
        if TcpListener::bind((address, 0)).is_err() {
            skip(format_args!("for {address}: not an address of this machine"));
            continue;
        }
        let directory = directory();
        let file = directory.path().join("a.pcapng");
        let process = sniff(&["--host", &address.to_string(), "-w", text(&file), "--print"]);
        converse(address);
        knock(address);
        if address.is_ipv4() {
            let _ = Command::new("ping").args(["-c", "1", &address.to_string()]).output();
        }
        let ended = finish(process);
        let theirs = tcpdump(&file);
        assert!(theirs.len() > 15, "{theirs:?}");
        assert!(theirs.iter().any(|line| line.contains("port") && line.contains("unreachable")), "{theirs:?}");
        for (own, theirs) in ended.stdout.iter().zip(&theirs) {
            assert_eq!(own, theirs);
        }
        assert_eq!(ended.stdout.len(), theirs.len());
        assert_eq!(said(&ended, "packets captured"), theirs.len() as u64);
        assert_eq!(said(&ended, "packets dropped by kernel"), 0);
    }
}

#[test]
fn tshark_reads_nanoseconds_and_the_device() {
    if !can_capture(&["tshark"]) {
        return;
    }
    let (directory, address) = (directory(), own_address());
    let file = directory.path().join("a.pcapng");
    let process = sniff(&["--host", &address.to_string(), "--proto", "udp", "-w", text(&file)]);
    send_datagrams(address, 20, 100);
    finish(process);
    let fields = ["-T", "fields", "-e", "frame.interface_name", "-e", "udp.length", "-e", "frame.time_epoch"];
    let told = output("tshark", &[&["-r", text(&file)], &fields[..]].concat());
    let lines: Vec<Vec<&str>> = told.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(lines.len(), 20, "{told}");
    assert!(lines.iter().all(|line| line[..2] == ["lo", "108"]), "{told}");
    let fine = lines.iter().filter(|line| !line[2].ends_with("000")).count();
    assert!(fine > 10, "stamps of whole microseconds are chance: {told}");
}

/// What a file holds.
#[derive(Debug, Default)]
struct Stored {
    /// Of each packet the bytes captured, and on the wire.
    packets: Vec<(usize, u32)>,
    /// Accepted by the filter, and dropped.
    statistics: Vec<(u64, u64)>,
}

fn read_file(path: &Path) -> Stored {
    let mut reader = PcapNgReader::new(File::open(path).expect("the file")).expect("a pcapng file");
    let mut stored = Stored::default();
    while let Some(block) = reader.next_block() {
        match block.expect("a whole block") {
            Block::EnhancedPacket(packet) => stored.packets.push((packet.data.len(), packet.original_len)),
            Block::InterfaceStatistics(block) => stored.statistics.push(counts(&block.options)),
            _ => {}
        }
    }
    stored
}

fn counts(options: &[InterfaceStatisticsOption]) -> (u64, u64) {
    let mut counts = (0, 0);
    for option in options {
        match option {
            InterfaceStatisticsOption::IsbFilterAccept(count) => counts.0 = *count,
            InterfaceStatisticsOption::IsbOsDrop(count) => counts.1 = *count,
            _ => {}
        }
    }
    counts
}

#[test]
fn count_and_snap_length_are_kept() {
    if !can_capture(&[]) {
        return;
    }
    for mode in [&[][..], &["--immediate"]] {
        let (directory, address) = (directory(), own_address());
        let file = directory.path().join("a.pcapng");
        let host = address.to_string();
        let words = ["--host", &host, "--proto", "udp", "-w", text(&file), "-c", "7", "-s", "60"];
        let process = sniff(&[&words[..], mode].concat());
        send_datagrams(address, 20, 1000);
        let ended = process.end();
        assert_eq!((ended.status.code(), said(&ended, "packets captured")), (Some(0), 7), "{ended:?}");
        let Stored { packets, statistics } = read_file(&file);
        assert_eq!(packets, [(60, 1042); 7]);
        assert_eq!(statistics.len(), 1);
    }
}

#[test]
fn nothing_shows_twice_on_any_device_and_in_any_mode() {
    if !can_capture(&[]) {
        return;
    }
    for device in ["lo", "any"] {
        for mode in [&[][..], &["--immediate"]] {
            let address = own_address();
            let host = address.to_string();
            let process = sniff(&[&["-i", device, "--host", &host, "--proto", "udp"][..], mode].concat());
            send_datagrams(address, 9, 10);
            let ended = finish(process);
            assert_eq!((device, mode, ended.stdout.len()), (device, mode, 9), "{ended:?}");
            let begin = if device == "any" { "lo    In  IP 127." } else { "IP 127." };
            assert!(ended.stdout.iter().all(|line| line[16..].starts_with(begin)), "{ended:?}");
        }
    }
}

#[test]
fn a_file_of_any_device_is_read_by_tcpdump_however_short_the_packets_are_cut() {
    if !can_capture(&["tcpdump"]) {
        return;
    }
    let (directory, address) = (directory(), own_address());
    let file = directory.path().join("a.pcapng");
    let host = address.to_string();
    let process = sniff(&["-i", "any", "--host", &host, "--proto", "udp", "-s", "40", "-w", text(&file), "--print"]);
    send_datagrams(address, 5, 100);
    let ended = finish(process);
    assert_eq!((ended.stdout.len(), ended.stdout.clone()), (5, tcpdump(&file)));
}

#[test]
fn files_rotate_and_old_ones_go() {
    if !can_capture(&["tcpdump"]) {
        return;
    }
    let (directory, address) = (directory(), own_address());
    let (file, host) = (directory.path().join("a.pcapng"), address.to_string());
    let words = ["--host", &host, "--proto", "udp", "-w", text(&file), "--rotate-packets", "10", "--files", "3"];
    let process = sniff(&words);
    send_datagrams(address, 47, 10);
    finish(process);
    let mut names: Vec<_> = fs::read_dir(directory.path()).expect("files").map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    let shown: Vec<_> = names.iter().map(|path| (name(path), tcpdump(path).len())).collect();
    let expected = [("a.00002.pcapng", 10), ("a.00003.pcapng", 10), ("a.00004.pcapng", 7)];
    assert_eq!(shown, expected.map(|(name, packets)| (name.to_owned(), packets)));
    assert!(names.iter().all(|path| read_file(path).statistics.len() == 1), "each has its statistics");
}

#[test]
fn files_rotate_by_size() {
    if !can_capture(&[]) {
        return;
    }
    let (directory, address) = (directory(), own_address());
    let (file, host) = (directory.path().join("a.pcapng"), address.to_string());
    let process = sniff(&["--host", &host, "--proto", "udp", "-w", text(&file), "--rotate-size", "4k"]);
    send_datagrams(address, 20, 1000);
    finish(process);
    let mut packets = 0;
    for entry in fs::read_dir(directory.path()).expect("files") {
        let path = entry.unwrap().path();
        packets += read_file(&path).packets.len();
        // The statistics come on top.
        assert!(fs::metadata(&path).unwrap().len() <= 4096 + 128, "{path:?}");
    }
    assert_eq!(packets, 20);
}

#[test]
fn what_the_kernel_dropped_is_said_and_written() {
    if !can_capture(&[]) {
        return;
    }
    let (directory, address) = (directory(), own_address());
    let (file, host) = (directory.path().join("a.pcapng"), address.to_string());
    let process = sniff(&["--host", &host, "--proto", "udp", "-B", "512k", "-w", text(&file)]);
    process.signal(SIGSTOP);
    send_datagrams(address, 3000, 1000);
    process.signal(SIGCONT);
    let ended = finish(process);
    let [captured, received, dropped] =
        ["packets captured", "packets received by filter", "packets dropped by kernel"].map(|what| said(&ended, what));
    assert_eq!((received, captured + dropped), (3000, 3000), "{ended:?}");
    assert!(dropped > 1000, "3 MB do not fit in 512 kB: {ended:?}");
    let Stored { packets, statistics } = read_file(&file);
    assert_eq!((packets.len() as u64, statistics), (captured, vec![(received, dropped)]));
}

#[test]
fn rights_are_given_up() {
    if !can_capture(&[]) {
        return;
    }
    let host = own_address().to_string();
    let directory = directory();
    let file = directory.path().join("a.pcapng");
    let series = ["--host", &host, "-w", text(&file), "--rotate-packets", "5"];
    for (words, user) in [(&["--host", &host][..], "65534"), (&["--host", &host, "-Z", "daemon"], "1"), (&series, "0")]
    {
        let process = sniff(words);
        let status = fs::read_to_string(format!("/proc/{}/status", process.pid())).expect("its status");
        for line in ["CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000"] {
            assert!(status.contains(line), "{words:?}: {status}");
        }
        if ringmark::sys::privileges::is_root() {
            assert!(status.contains(&format!("Uid:\t{user}\t{user}\t{user}\t{user}")), "{words:?}: {status}");
        }
        finish(process);
    }
}

#[test]
fn without_the_right_it_says_how_to_get_it() {
    let mut command = Command::new("setpriv");
    command.args([
        "--bounding-set",
        "-net_raw",
        "--inh-caps",
        "-all",
        "--ambient-caps",
        "-all",
        programs::ringmark(),
        "sniff",
        "-c",
        "1",
    ]);
    let Ok(output) = command.output() else { return skip("setpriv is not installed") };
    let stderr = String::from_utf8_lossy(&output.stderr);
    if stderr.contains("setpriv:") {
        return skip(stderr);
    }
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    for part in ["CAP_NET_RAW", "setcap cap_net_raw=ep /", "root"] {
        assert!(stderr.contains(part), "{part}: {stderr}");
    }
}

#[test]
fn what_cannot_be_is_said_with_what_can() {
    let unknown = run(["sniff", "-i", "nosuch0"]);
    assert!(unknown.status.code() == Some(1) && unknown.stderr.contains("there are: any, "), "{unknown:?}");
    if !can_capture(&[]) {
        return;
    }
    let nowhere = run(["sniff", "-w", "/nonexistent/a.pcapng", "-c", "1"]);
    assert!(nowhere.status.code() == Some(1) && nowhere.stderr.contains("/nonexistent/a.pcapng"), "{nowhere:?}");
    let nobody = run(["sniff", "-Z", "no-such-user", "-c", "1"]);
    assert!(nobody.status.code() == Some(1) && nobody.stderr.contains("no user 'no-such-user'"), "{nobody:?}");
    let ports: Vec<String> = (1..4000).flat_map(|port| ["--port".to_owned(), port.to_string()]).collect();
    let long = run(["sniff"].into_iter().chain(ports.iter().map(String::as_str)));
    assert!(long.status.code() == Some(1) && long.stderr.contains("fewer hosts and ports"), "{long:?}");
}

#[test]
fn a_reader_who_has_seen_enough_is_no_failure() {
    if !can_capture(&[]) {
        return;
    }
    let address = own_address();
    let program = programs::ringmark();
    let script = format!("{program} sniff --host {address} --proto udp | head -n 1");
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]);
    let process = Process::start(shell);
    let ended = AtomicBool::new(false);
    // Until it listens, nobody sees them; once its reader is gone, the next one ends it.
    let ended = thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                send_datagrams(address, 1, 10);
                thread::sleep(Duration::from_millis(10));
            }
        });
        let outcome = process.end();
        ended.store(true, Ordering::Relaxed);
        outcome
    });
    assert_eq!(ended.stdout.len(), 1, "{ended:?}");
    assert!(!ended.stderr.contains("ringmark:"), "{ended:?}");
}

/// A frame with a tag of IEEE 802.1Q that python3 sends on a device: 127.0.0.1 could carry none.
const SEND_TAGGED: &str = r#"
import socket, struct
udp = struct.pack('!HHHH', 1000, 2000, 8 + 4, 0) + b'tag!'
ip = struct.pack('!BBHHHBBH4s4s', 0x45, 0, 20 + len(udp), 1, 0, 9, 17, 0, bytes([10, 5, 0, 1]), bytes([10, 5, 0, 2]))
frame = b'\xff' * 6 + b'\2' * 6 + struct.pack('!HHH', 0x8100, 5, 0x0800) + ip + udp
device = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
device.bind(('next', 0))
for _ in range(3): device.send(frame)
"#;

/// The receiving kernel takes the tag out of the frame; the filter looks behind it, and the file has it back.
#[test]
fn vlan_tags_are_looked_behind_and_written() {
    if !can_capture(&["tcpdump", "python3"]) {
        return;
    }
    let Some(chain) = Chain::new(2) else { return };
    for (number, mode) in [&[][..], &["--immediate"]].into_iter().enumerate() {
        let directory = directory();
        let file = directory.path().join("a.pcapng");
        let words = ["sniff", "-i", "back", "--port", "2000", "--host", "10.5.0.0/16", "-w", text(&file), "-c", "3"];
        let mut command = chain.command(1, programs::ringmark());
        command.args(words).args(mode);
        let process = Process::start(command);
        let ended = AtomicBool::new(false);
        let outcome = thread::scope(|scope| {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    let sent = chain.command(0, "python3").args(["-c", SEND_TAGGED]).output().expect("python3 runs");
                    assert!(sent.status.success(), "{sent:?}");
                }
            });
            let outcome = process.end();
            ended.store(true, Ordering::Relaxed);
            outcome
        });
        assert_eq!(outcome.status.code(), Some(0), "{outcome:?}");
        let lines = output("tcpdump", &["-n", "-e", "-r", text(&file)]);
        let tagged = lines.lines().filter(|line| line.contains("vlan 5, p 0, ethertype IPv4")).count();
        assert_eq!((number, tagged), (number, 3), "{lines}");
        assert!(read_file(&file).packets.iter().all(|packet| *packet == (50, 50)), "whole frames: {lines}");
    }
}
