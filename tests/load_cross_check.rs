//! ringload against a client that shares nothing with it, on the same server: do they measure the same?

use ringmark::stats::median;
use ringmark::sys::affinity;
use ringmark::units::CoreList;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use support::load::peers::{Manner, Peer};
use support::load::{self, engines, report, ringload};
use support::skip::skip;

const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/load/client.py");
const ROUNDS: usize = 7;
const ATTEMPTS: usize = 4;
const SIZE: &str = "64";
/// How far the medians may be apart on a quiet machine …
const AGREEMENT: f64 = 0.1;
/// … beyond what a client's own code takes of each round trip: the interpreter of the one, the unoptimised code of the
/// other. The faster the machine, the larger a part it is.
const OWN_CODE_NS: f64 = if cfg!(debug_assertions) { 8_000.0 } else { 3_000.0 };
/// No further attempt after that.
const PATIENCE: Duration = Duration::from_secs(60);

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
    let mut command = load::command(&[&[address, "--engine", engine, "--format", "json"], &pinned[..]].concat());
    report(&command.output().unwrap()).latency_ns.p50 as f64
}

/// The quarter and the three-quarter value.
fn quartiles(values: &[f64]) -> (f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    (sorted[sorted.len() / 4], sorted[sorted.len() - 1 - sorted.len() / 4])
}

/// What one attempt says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Agreed,
    /// The other client did not even agree with itself.
    Disturbed,
    Disagreed,
}

/// Runs both by turns, the other client before and after ours, so that a machine that slows down slows both, and on one
/// connection, so that both wait most of the time for the same wake-ups. The median of the rounds' ratios must be within
/// the share allowed and what a client's own code may take; on a machine that is not quiet as much as half of the rounds
/// differ among themselves is added, up to a quarter.
fn attempt(engine: &str, manner: Manner, address: &str, allowed: f64) -> Outcome {
    let core = *affinity::available().unwrap().as_slice().last().unwrap();
    let theirs = || independent(address, core).unwrap();
    let rounds: Vec<[f64; 3]> = (0..ROUNDS).map(|_| [theirs(), ours(engine, address, core), theirs()]).collect();
    let ratios: Vec<f64> = rounds.iter().map(|[before, ours, after]| 2.0 * ours / (before + after)).collect();
    let control: Vec<f64> = rounds.iter().map(|[before, _, after]| after / before).collect();
    let (low, high) = quartiles(&ratios);
    let (ratio, spread) = (median(&ratios).unwrap(), high - low);
    let own_code = OWN_CODE_NS / median(&rounds.concat()).unwrap();
    let (self_low, self_high) = quartiles(&control);
    println!(
        "{engine}, {manner:?}: {ratio:.3} of the other's, half of the rounds in {low:.3} to {high:.3}; the other's of its \
         own in {self_low:.3} to {self_high:.3}; own code {own_code:.3}"
    );
    if (ratio - 1.0).abs() <= allowed + own_code + spread.min(0.25) {
        Outcome::Agreed
    } else if self_low < 1.0 - AGREEMENT || self_high > 1.0 + AGREEMENT {
        Outcome::Disturbed
    } else {
        Outcome::Disagreed
    }
}

/// Other programs may disturb both for a while, so it is tried again some times: what disagrees by itself does so always.
fn agree(engine: &str, manner: Manner, allowed: f64) {
    let _turn = turn();
    let cores = affinity::available().unwrap();
    let peer = pinned_peer(manner, cores.as_slice()[0]);
    if independent(&peer.address, cores.as_slice()[0]).is_none() {
        return skip("there is no python3 to run the independent client");
    }
    let (begun, mut outcomes) = (Instant::now(), Vec::new());
    while outcomes.len() < ATTEMPTS && begun.elapsed() < PATIENCE {
        outcomes.push(attempt(engine, manner, &peer.address, allowed));
        if outcomes.ends_with(&[Outcome::Agreed]) {
            return;
        }
    }
    assert!(
        !outcomes.contains(&Outcome::Disagreed),
        "{engine}: the medians are further apart than {allowed}: {outcomes:?}"
    );
    skip("the machine is too busy for the independent client to agree with itself");
}

fn turn() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A peer whose threads stay on a core: whether it shares the client's decides how long a wake-up takes.
fn pinned_peer(manner: Manner, core: usize) -> Peer {
    let start = move || {
        affinity::restrict_current_thread(&CoreList::new(vec![core]).unwrap()).unwrap();
        Peer::tcp(manner)
    };
    thread::spawn(start).join().unwrap()
}

#[test]
fn an_independent_client_measures_the_same_median() {
    engines().into_iter().for_each(|engine| agree(engine, Manner::Echo, AGREEMENT));
}

#[test]
fn an_independent_client_sees_the_same_of_a_server_that_works() {
    agree(engines()[0], Manner::Busy(Duration::from_micros(200)), AGREEMENT);
}

/// What is compared above is measured at all: the other client sees the time that a server takes.
#[test]
fn both_see_a_slow_server() {
    let _turn = turn();
    let peer = Peer::tcp(Manner::Slow(Duration::from_millis(3)));
    let core = affinity::available().unwrap().as_slice()[0];
    let Some(theirs) = independent(&peer.address, core) else {
        return skip("there is no python3 to run the independent client");
    };
    let report = report(&ringload("epoll", &peer.address, &["-c", "1", "-d", "250ms"]));
    assert!(theirs > 3e6 && report.latency_ns.p50 as f64 > 3e6, "{theirs} {:?}", report.latency_ns);
}
