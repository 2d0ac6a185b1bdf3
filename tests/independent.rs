//! ringload against a client that shares nothing with it, on the same server: do they measure the same?

#[path = "load/peers.rs"]
mod peers;
#[path = "load/program.rs"]
mod program;

use peers::{Manner, Peer};
use program::{engines, report, ringload};
use ringmark::stats::median;
use ringmark::sys::affinity;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/load/client.py");
const ROUNDS: usize = 7;
const SIZE: &str = "64";
/// How far the medians may be apart on a quiet machine.
const AGREEMENT: f64 = 0.1;

/// The median round trip that the independent client measures; `None` without python3.
fn independent(address: &str, core: usize) -> Option<f64> {
    let (host, port) = address.split_once(':').unwrap();
    let output = Command::new("python3").args([CLIENT, host, port, SIZE, "0.2", &core.to_string()]).output().ok()?;
    assert!(output.status.success(), "{output:?}");
    Some(String::from_utf8(output.stdout).unwrap().trim().parse().unwrap())
}

/// The one that ringload measures.
fn ours(engine: &str, address: &str, core: usize) -> f64 {
    let cores = format!("{core}-{core}");
    let pinned = ["-c", "1", "-s", SIZE, "-d", "200ms", "--warmup", "20ms", "--cores", &cores];
    let mut command = program::command(&[&[address, "--engine", engine, "--format", "json"], &pinned[..]].concat());
    report(&command.output().unwrap()).latency_ns.p50 as f64
}

/// The quarter and the three-quarter value.
fn quartiles(values: &[f64]) -> (f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    (sorted[sorted.len() / 4], sorted[sorted.len() - 1 - sorted.len() / 4])
}

/// Runs both by turns, so that a machine that slows down slows both, and on one connection, so that both wait most of the
/// time for the same wake-ups. The median of the rounds' ratios must be within the share allowed, and on a machine that is
/// not quiet within that and as much as half of the rounds differ among themselves, up to a quarter.
fn agree(engine: &str, manner: Manner, allowed: f64) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let peer = Peer::tcp(manner);
    let core = *affinity::available().unwrap().as_slice().last().unwrap();
    if independent(&peer.address, core).is_none() {
        return eprintln!("skipped: there is no python3 to run the independent client");
    }
    let ratio = |_| ours(engine, &peer.address, core) / independent(&peer.address, core).unwrap();
    let ratios: Vec<f64> = (0..ROUNDS).map(ratio).collect();
    let (low, high) = quartiles(&ratios);
    let (ratio, spread) = (median(&ratios).unwrap(), high - low);
    println!("{engine}, {manner:?}: {ratio:.3} of the other's, half of the rounds in {low:.3} to {high:.3}");
    assert!((ratio - 1.0).abs() <= allowed + spread.min(0.25), "{engine}: {ratio:.3}, spread {spread:.3}: {ratios:?}");
}

/// Without optimisation ringload's own code takes some microseconds of each round trip of forty.
#[test]
fn an_independent_client_measures_the_same_median() {
    let allowed = if cfg!(debug_assertions) { 2.5 * AGREEMENT } else { AGREEMENT };
    engines().into_iter().for_each(|engine| agree(engine, Manner::Echo, allowed));
}

#[test]
fn an_independent_client_sees_the_same_of_a_server_that_works() {
    agree(engines()[0], Manner::Busy(Duration::from_micros(200)), AGREEMENT);
}

/// What is compared above is measured at all: the other client sees the time that a server takes.
#[test]
fn both_see_a_slow_server() {
    let peer = Peer::tcp(Manner::Slow(Duration::from_millis(3)));
    let core = affinity::available().unwrap().as_slice()[0];
    let Some(theirs) = independent(&peer.address, core) else {
        return eprintln!("skipped: there is no python3 to run the independent client");
    };
    let report = report(&ringload("epoll", &peer.address, &["-c", "1", "-d", "250ms"]));
    assert!(theirs > 3e6 && report.latency_ns.p50 as f64 > 3e6, "{theirs} {:?}", report.latency_ns);
}
