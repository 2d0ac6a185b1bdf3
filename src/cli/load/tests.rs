//! What `ringload` accepts on its command line.

use super::*;
use crate::load::EngineKind;
use crate::units::{Bytes, Nanos};

fn config(words: &[&str]) -> Result<Config, String> {
    let words = ["ringload", "127.0.0.1:7"].iter().chain(words);
    let typed = Ringload::try_parse_from(words).map_err(|error| error.to_string())?;
    typed.args.config().map_err(|error| error.to_string())
}

#[test]
fn the_defaults_are_those_documented() {
    let config = config(&[]).unwrap();
    assert_eq!((config.connections, config.threads, config.size, config.depth), (64, 1, Bytes(64), 1));
    assert_eq!(
        (config.duration, config.warmup, config.timeout),
        (Nanos::from_secs(10), Nanos::from_secs(1), Nanos::from_secs(5))
    );
    assert_eq!((config.engine, config.requests, config.spin), (EngineKind::Uring, None, Nanos::ZERO));
}

#[test]
fn the_letters_of_wrk2_work() {
    let config = config(&["-c", "8", "-t", "2", "-d", "250ms", "-n", "5", "-s", "16k", "--no-pin"]).unwrap();
    assert_eq!((config.connections, config.threads, config.pin), (8, 2, None));
    assert_eq!((config.duration, config.requests, config.size), (Nanos::from_millis(250), Some(5), Bytes(16384)));
}

#[test]
fn what_makes_no_sense_is_refused_with_a_reason() {
    for (words, part) in [
        (&["-c", "0"][..], "1..=1000000"),
        (&["-s", "0"], "at least 1 byte"),
        (&["-s", "65M"], "at most 64M"),
        (&["-d", "0"], "longer than 0"),
        (&["-d", "10"], "with a unit"),
        (&["--depth", "0"], "1..=4096"),
        (&["-s", "64,128"], "has no weight"),
        (&["-s", "64:1,65M:1"], "at most 64M"),
        (&["--idle", "3", "--connect-per-request"], "cannot be used with"),
        (&["--arrival", "poisson"], "add -R"),
        (&["--arrival", "ramp:1k..2k", "-R", "5k"], "leave out -R"),
        (&["--arrival", "sometimes"], "burst:N"),
        (&["-R", "0"], "from 1 to"),
        (&["--timer", "sundial"], "hybrid"),
        (&["-c", "2", "-t", "3", "--no-pin"], "at least one connection per thread"),
        (&["--connect-per-request", "--depth", "2"], "cannot be used with"),
        (&["--cores", "8000-8001"], "not one this process may use"),
        (&["--cores", "1", "-t", "2"], "--no-pin"),
        (&["--engine", "magic"], "epoll"),
        (&["--server-pid", "0"], "0 is not in"),
    ] {
        let message = config(words).unwrap_err();
        assert!(message.contains(part), "{words:?}: {message}");
    }
}

#[test]
fn a_rate_opens_the_loop_and_pipelines() {
    let paced = config(&["-R", "20k"]).unwrap();
    assert_eq!((paced.pace.unwrap().to_string(), paced.depth), ("constant at 20k/s".into(), 4096));
    assert_eq!(config(&["-R", "20k", "--depth", "1", "--arrival", "poisson"]).unwrap().depth, 1);
    assert_eq!(config(&["-R", "20k", "--connect-per-request"]).unwrap().depth, 1);
    let ramp = config(&["--arrival", "ramp:1k..2k"]).unwrap().pace.unwrap();
    assert_eq!((ramp.rate.per_second(), ramp.to_string()), (1500, "ramp:1000..2000".into()));
    assert_eq!(config(&[]).unwrap().pace, None);
}

#[test]
fn sizes_may_be_mixed_and_a_crowd_may_idle() {
    let mixed = config(&["-s", "64:90,1400:9,16k:1", "--idle", "100"]).unwrap();
    assert_eq!(
        (mixed.size, mixed.mix.unwrap().to_string(), mixed.idle),
        (Bytes(347), "64:90,1400:9,16k:1".into(), 100)
    );
    assert_eq!(config(&["-s", "1k"]).unwrap().mix, None);
}

#[test]
fn a_warm_up_has_a_floor_and_a_cap() {
    let config = |words| config(words).map(|config| (config.warmup.0 / 1_000_000, config.warmup_max.0 / 1_000_000));
    assert_eq!(config(&[]).unwrap(), (1000, 5000));
    assert_eq!(config(&["--warmup", "200ms"]).unwrap(), (200, 1000));
    assert_eq!(config(&["--warmup", "200ms", "--warmup-max", "300ms"]).unwrap(), (200, 300));
    assert_eq!(config(&["--warmup", "0"]).unwrap(), (0, 0));
}

#[test]
fn named_cores_bring_their_threads() {
    let first = affinity::available().unwrap().as_slice()[0];
    let list = format!("{first}-{first}");
    let pinned = config(&["--cores", &list]).unwrap();
    assert_eq!((pinned.threads, pinned.pin.map(|cores| cores.to_string())), (1, Some(list)));
    assert_eq!(config(&["--cores", "1", "--no-pin"]).unwrap().pin, None);
}

#[test]
fn the_help_is_consistent() {
    use clap::CommandFactory;
    Ringload::command().debug_assert();
}
