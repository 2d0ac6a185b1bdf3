//! The verdict on a ratio, in a word, and a contestant's name as it is shown.

use crate::record::{RatioRecord, Verdict};
use crate::stats::MIN_PAIRS;

/// Faster or slower only where the whole interval is on that side of 1.
pub fn verdict(ratio: Option<&RatioRecord>, is_baseline: bool) -> Verdict {
    match ratio {
        _ if is_baseline => Verdict::Baseline,
        Some(ratio) if ratio.pairs >= MIN_PAIRS as u64 => match ratio {
            RatioRecord { low, .. } if *low > 1.0 => Verdict::Faster,
            RatioRecord { high, .. } if *high < 1.0 => Verdict::Slower,
            _ => Verdict::NoDifferenceShown,
        },
        _ => Verdict::TooFewRounds,
    }
}

impl Verdict {
    pub fn text(self) -> &'static str {
        match self {
            Verdict::Faster => "faster",
            Verdict::Slower => "slower",
            Verdict::Less => "less",
            Verdict::More => "more",
            Verdict::Broken => "broken",
            Verdict::NoDifferenceShown => "no difference shown",
            Verdict::Baseline => "baseline",
            Verdict::TooFewRounds => "too few rounds",
        }
    }
}

/// A name as it is shown: of an `exec` command the program without its folder, and nothing that only says where to listen:
/// `{ip}:{port}`, with the option whose value it is.
pub fn short_name(name: &str) -> String {
    let Some(command) = name.strip_prefix("exec ") else { return name.to_owned() };
    // A shell would take the number of one that comes again for a comment.
    let (command, number) =
        command.rsplit_once(" #").map_or((command, None), |(command, number)| (command, Some(number)));
    let words = shell_words::split(command).unwrap_or_else(|_| vec![command.to_owned()]);
    let mut shown: Vec<&str> = Vec::new();
    for word in &words {
        match only_says_where(word) {
            true if shown.len() > 1 && !word.starts_with('-') => drop(shown.pop_if(|last| last.starts_with('-'))),
            true => {}
            false => shown.push(word),
        }
    }
    if let Some(program) = shown.first_mut() {
        *program = program.rsplit('/').next().unwrap_or(program);
    }
    let quoted = |word: &&str| match word.contains(|c: char| c.is_whitespace() || "'\"\\".contains(c)) {
        true => shell_words::quote(word).into_owned(),
        false => (*word).to_owned(),
    };
    let number = number.map(|number| format!("#{number}"));
    ["exec".to_owned()].into_iter().chain(shown.iter().map(quoted)).chain(number).collect::<Vec<_>>().join(" ")
}

/// `{port}`, `{ip}:{port}`, `--port={port}`: a word that has a placeholder for a value.
fn only_says_where(word: &str) -> bool {
    let value = word.split_once('=').filter(|_| word.starts_with('-')).map_or(word, |(_, value)| value);
    value.contains('{') && value.replace("{ip}", "").replace("{port}", "").trim_matches([':', '[', ']', '/']).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_enough_for_a_table() {
        for (name, short) in [
            ("uring --recv oneshot", "uring --recv oneshot"),
            ("exec target/release/peer-monoio {ip}:{port}", "exec peer-monoio"),
            ("exec ./server --port {port} --fast", "exec server --fast"),
            ("exec sockperf server -i {ip} -p {port}", "exec sockperf server"),
            ("exec /bin/server --listen=tcp://{ip}:{port}", "exec server --listen=tcp://{ip}:{port}"),
            ("exec server -v --port={port}", "exec server -v"),
            ("exec sh -c 'a {port} & b'", "exec sh -c 'a {port} & b'"),
            ("exec - {port}", "exec -"),
            ("exec ./server --port {port} #2", "exec server #2"),
        ] {
            assert_eq!(short_name(name), short);
        }
    }

    #[test]
    fn the_interval_and_the_number_of_pairs_decide() {
        let ratio = |low, high, pairs| RatioRecord { median: (low + high) / 2.0, low, high, pairs };
        for (ratio, expected) in [
            (ratio(1.01, 1.2, 7), Verdict::Faster),
            (ratio(0.8, 0.99, 6), Verdict::Slower),
            (ratio(0.9, 1.1, 7), Verdict::NoDifferenceShown),
            (ratio(1.0, 1.1, 7), Verdict::NoDifferenceShown),
            (ratio(1.5, 1.6, 5), Verdict::TooFewRounds),
        ] {
            assert_eq!(verdict(Some(&ratio), false), expected, "{ratio:?}");
            assert_eq!(verdict(Some(&ratio), true), Verdict::Baseline);
        }
        assert_eq!(verdict(None, false), Verdict::TooFewRounds);
    }
}
