//! `ringmark trace` from outside: chains of network namespaces with hops that lose, keep silent, and refuse.

use serde_json::Value;
use std::net::IpAddr;
use support::netns::{Chain, Unprivileged};
use support::server::{Ended, run};

#[track_caller]
fn json(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout.join("\n")).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

#[track_caller]
fn expect_code(ended: &Ended, code: i32) {
    assert_eq!(ended.status.code(), Some(code), "{ended:?}");
    assert!(!ended.stderr.contains("panicked"), "{ended:?}");
}

fn number(record: &Value, name: &str) -> u64 {
    record[name].as_u64().unwrap_or_else(|| panic!("no {name} in {record}"))
}

/// The one address that answered as this hop; none where it was silent.
#[track_caller]
fn address(hop: &Value) -> Option<IpAddr> {
    let addresses = hop["addresses"].as_array().unwrap();
    assert!(addresses.len() <= 1, "the flow takes one way: {hop}");
    addresses.first().map(|record| record["address"].as_str().unwrap().parse().unwrap())
}

/// Traces from the first namespace, five rounds.
fn trace(chain: &Chain, words: &[&str]) -> Ended {
    let common = ["trace", "-c", "5", "-i", "100ms", "--timeout", "1500ms", "--format", "json"];
    chain.ringmark(0, &[&common, words].concat())
}

/// The hops of a way: who answers, and how many of the probes.
#[track_caller]
fn hops(record: &Value) -> Vec<(Option<IpAddr>, u64, u64)> {
    let hops = record["hops"].as_array().unwrap();
    hops.iter().map(|hop| (address(hop), number(hop, "sent"), number(hop, "answered"))).collect()
}

fn at(text: &str) -> Option<IpAddr> {
    Some(text.parse().unwrap())
}

/// All the ways of probing; nobody listens on the port, so that the target refuses.
const WAYS: [&[&str]; 3] = [&["--udp"], &["--icmp"], &["--tcp", "9"]];

#[test]
fn every_hop_of_a_chain_answers() {
    let Some(chain) = Chain::new(4) else { return };
    for way in WAYS {
        let ended = trace(&chain, &[way, &["10.77.2.2"]].concat());
        expect_code(&ended, 0);
        let record = json(&ended);
        let expected = ["10.77.0.2", "10.77.1.2", "10.77.2.2"].map(|hop| (at(hop), 5, 5));
        assert_eq!(hops(&record), expected, "{way:?}");
        assert_eq!((&record["reached"], record["losing_only_answers"].as_array().unwrap().len()), (&true.into(), 0));
        let ended = trace(&chain, &[way, &["fd77:2::2"]].concat());
        expect_code(&ended, 0);
        let expected = ["fd77:0::2", "fd77:1::2", "fd77:2::2"].map(|hop| (at(hop), 5, 5));
        assert_eq!(hops(&json(&ended)), expected, "{way:?}");
    }
}

#[test]
fn an_open_port_is_reached_and_no_connection_stays() {
    let Some(chain) = Chain::new(3) else { return };
    let script = "import socket\ns = socket.create_server(('10.77.1.2', 77))\nprint('ready', flush=True)\n\
                  s.settimeout(4)\ntry: s.accept(); print('accepted')\nexcept TimeoutError: print('nobody')";
    let mut server = chain.command(2, "python3");
    server.args(["-c", script]);
    let server = support::server::Process::start(server);
    assert_eq!(server.line().as_deref(), Some("ready"));
    let ended = trace(&chain, &["--tcp", "77", "10.77.1.2"]);
    expect_code(&ended, 0);
    let record = json(&ended);
    let found = hops(&record);
    assert_eq!(found.iter().map(|hop| hop.0).collect::<Vec<_>>(), [at("10.77.0.2"), at("10.77.1.2")]);
    assert!(found[1].2 > 0, "{record}");
    assert_eq!(server.line().as_deref(), Some("nobody"));
}

#[test]
fn a_hop_that_keeps_silent_is_no_loss() {
    let Some(chain) = Chain::new(4) else { return };
    let table = "table inet silence { chain output { type filter hook output priority 0
            icmp type time-exceeded drop
            icmpv6 type time-exceeded drop
        }; }";
    if !chain.filter(1, table) {
        return;
    }
    for target in ["10.77.2.2", "fd77:2::2"] {
        let ended = trace(&chain, &[target]);
        expect_code(&ended, 0);
        let record = json(&ended);
        let found = hops(&record);
        assert_eq!((found[0], found[1].2, found[2].2), ((None, 5, 0), 5, 5), "{record}");
        assert_eq!(record["losing_only_answers"], serde_json::json!([1]));
    }
    let text = chain.ringmark(0, &["trace", "-c", "2", "-i", "100ms", "--timeout", "1500ms", "10.77.2.2"]);
    let lines = text.stdout.join("\n");
    for part in ["no answer", "Loss at hop 1 alone is usually rate limiting"] {
        assert!(lines.contains(part), "{part}: {lines}");
    }
}

#[test]
fn a_hop_that_drops_shows_in_all_that_follow() {
    let Some(chain) = Chain::new(4) else { return };
    // Every second packet that would pass through the first router; its own answers are not touched.
    let table = "table inet loss { chain forward { type filter hook forward priority 0
            ip daddr 10.77.2.2 numgen inc mod 2 0 drop
        }; }";
    if !chain.filter(1, table) {
        return;
    }
    let ended = chain
        .ringmark(0, &["trace", "-c", "20", "-i", "100ms", "--timeout", "1500ms", "--format", "json", "10.77.2.2"]);
    expect_code(&ended, 0);
    let record = json(&ended);
    let found = hops(&record);
    assert_eq!(found[0], (at("10.77.0.2"), 20, 20), "{record}");
    // Which probe of a round is dropped depends on their order; together it is half of them.
    let [sent, answered] = [found[1].1 + found[2].1, found[1].2 + found[2].2];
    assert!(sent == 40 && (16..=24).contains(&answered), "{record}");
}

#[test]
fn where_the_way_is_refused_it_ends() {
    let Some(chain) = Chain::new(3) else { return };
    let table = "table inet filter { chain forward { type filter hook forward priority 0
            ip daddr 10.99.0.1 reject with icmp type admin-prohibited
        }; }";
    if !chain.filter(1, table) {
        return;
    }
    for way in WAYS {
        let ended = trace(&chain, &[way, &["10.99.0.1"]].concat());
        expect_code(&ended, 1);
        let record = json(&ended);
        // The router answers twice: as the first hop, and as the one that does not let on what has a hop left.
        assert_eq!(hops(&record), [(at("10.77.0.2"), 5, 5); 2], "{way:?}: {record}");
        assert!(record["hops"][0]["errors"].as_array().unwrap().is_empty());
        let error = &record["hops"][1]["errors"][0];
        assert_eq!((number(error, "icmp_type"), number(error, "icmp_code")), (3, 13), "{record}");
    }
    let nowhere = trace(&chain, &["-m", "9", "10.77.1.99"]);
    expect_code(&nowhere, 1);
    assert_eq!(json(&nowhere)["reached"], false);
}

#[test]
fn without_rights_echo_requests_do_and_the_rest_names_its_remedy() {
    let Some(chain) = Chain::new(3) else { return };
    let program = Unprivileged::install();
    chain.run(0, "echo 0 2147483647 >/proc/sys/net/ipv4/ping_group_range");
    for target in ["10.77.1.2", "fd77:1::2"] {
        let ended = program.run(&chain, 0, &["trace", "--icmp", "-c", "5", "-i", "100ms", "--format", "json", target]);
        expect_code(&ended, 0);
        let record = json(&ended);
        assert_eq!(record["icmp_socket"], "ping");
        let [hop, end] = if target == "10.77.1.2" { ["10.77.0.2", target] } else { ["fd77::2", target] };
        assert_eq!(hops(&record), [(at(hop), 5, 5), (at(end), 5, 5)], "{record}");
    }
    for way in [&["--udp"][..], &["--tcp", "80"]] {
        let refused = program.run(&chain, 0, &[&["trace", "10.77.1.2"], way].concat());
        expect_code(&refused, 4);
        for part in ["setcap cap_net_raw+ep", "--icmp"] {
            assert!(refused.stderr.contains(part), "{refused:?}");
        }
    }
    let doctor = program.run(&chain, 0, &["doctor"]).stdout.join("\n");
    for part in ["NO   raw sockets", "yes  ping sockets", "NO   packet sockets", "setcap cap_net_raw+ep"] {
        assert!(doctor.contains(part), "{part}: {doctor}");
    }
}

#[test]
fn exit_codes_are_those_of_ping() {
    let bad: [&[&str]; 4] = [
        &["trace"],
        &["trace", "--udp", "--icmp", "127.0.0.1"],
        &["trace", "-m", "65", "127.0.0.1"],
        &["trace", "-i", "10ms", "192.0.2.1"],
    ];
    for words in bad {
        expect_code(&run(words.iter().copied()), 3);
    }
    expect_code(&run(["trace", "host.invalid"]), 2);
}
