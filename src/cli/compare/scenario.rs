//! A comparison that is written down: a TOML file whose keys are the options of `ringmark compare`, with lists where cells
//! are to be made of several values.
//!
//! It is turned into words of a command line, one line for each combination of a cell's values, and those go the way of
//! all that is typed: nothing is interpreted twice. What is typed beside it wins, so those keys are left out.

use super::CompareArgs;
use crate::cli::contestant::first_paragraphs;
use crate::cli::workload::WorkloadArgs;
use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::iter;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// The command whose words these are, and where in the line it stands.
const COMMAND: &str = "compare";
const COMMAND_AT: usize = 1;
/// No comparison of more would end.
const MAX_CELLS: usize = 1000;
/// Scenarios to start from, in this program's repository.
const EXAMPLES: &str = "bench/scenarios";
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Options that are no keys: some have no place in a scenario, some are values of [`TRANSPORT`].
const ELSEWHERE: [&str; 5] = ["scenario", "variant", "aa", "udp", "unix"];
const CONTESTANTS: &str = "contestants";
const CELLS: &str = "cells";
const VARIANT: &str = "variant";
const VARIANTS: &str = "variants";
const TRANSPORT: &str = "transport";
const TRANSPORTS: [(&str, &[&str]); 4] =
    [("tcp", &[]), ("udp", &["--udp"]), ("unix", &["--unix"]), ("unixgram", &["--udp", "--unix"])];

/// Which scenario.
#[derive(Clone, Debug, Default, Args)]
pub struct ScenarioArgs {
    /// A comparison in a file, as those in bench/scenarios; what is typed beside it wins, further contestants join its own
    ///
    /// TOML. Its keys are the options of this command by their long names (rounds = 12, precision = "2%", fail-if =
    /// ["slower"]), `contestants` with a list of texts as they are typed, `[[cells]]` with options of the load and
    /// `transport` (tcp, udp, unix, unixgram), where lists make a cell of every combination (connections = [1, 64]), and
    /// `[variants.NAME]` with what is different in that variant; `variant` names the usual one. Paths in it are relative
    /// to the current folder.
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// A variant of the scenario, such as quick or full [default: the one it names, if any]
    #[arg(long, value_name = "NAME", requires = "scenario")]
    variant: Option<String>,
}

/// The command lines that `words`, a whole command line, stands for where it names a scenario: the same but for their
/// cells, of which each has its part, at least one. `None` where it names none.
///
/// # Errors
/// The scenario cannot be read, or what is in it is not what it should be.
pub fn expand(words: &[OsString]) -> Result<Option<Vec<Vec<OsString>>>> {
    if words.get(COMMAND_AT).is_none_or(|word| word != COMMAND) {
        return Ok(None);
    }
    let (before, after) = words.split_at(COMMAND_AT + 1);
    let Some((asked, typed)) = typed(&words[COMMAND_AT..]) else { return Ok(None) };
    let Some(file) = &asked.scenario else { return Ok(None) };
    let scenario = || format!("scenario {}", file.display());
    let lines = read(file).and_then(|text| lines(&text, asked.variant.as_deref(), &typed)).with_context(scenario)?;
    let line = |line: Vec<String>| [before, &line.into_iter().map(OsString::from).collect::<Vec<_>>(), after].concat();
    Ok(Some(lines.into_iter().map(line).collect()))
}

fn read(file: &Path) -> Result<String> {
    let mut text = String::new();
    open(file)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    ensure!(text.len() as u64 <= MAX_FILE_BYTES, "it is larger than a scenario may be ({MAX_FILE_BYTES} bytes)");
    Ok(text)
}

/// Opens a file, of which an error says what to name instead.
fn open(file: &Path) -> Result<File> {
    ensure!(!file.is_dir(), "it is a folder; name a TOML file in it, such as those in {EXAMPLES}");
    File::open(file).with_context(|| format!("cannot open it; name a TOML file such as those in {EXAMPLES}"))
}

/// The command as it is typed, for its options.
fn command() -> Command {
    CompareArgs::augment_args(Command::new(COMMAND))
}

/// What was typed of a scenario, and the long names of all options that were or that exclude one that was; `None` where
/// help was asked for. Whether the line makes sense is seen later, together with the scenario.
fn typed(words: &[OsString]) -> Option<(ScenarioArgs, Vec<String>)> {
    let mut command = command().ignore_errors(true);
    command.build();
    let matches = command.clone().try_get_matches_from(words).ok()?;
    let asked = ScenarioArgs::from_arg_matches(&matches).ok()?;
    let typed: Vec<&Arg> = command.get_arguments().filter(|arg| is_typed(&matches, arg)).collect();
    let stands_for =
        |arg: &&Arg| typed.iter().any(|typed| arg.get_id() == typed.get_id() || exclude(&command, arg, typed));
    let names = command.get_arguments().filter(stands_for).filter_map(Arg::get_long).map(str::to_owned);
    Some((asked, names.collect()))
}

fn is_typed(matches: &ArgMatches, arg: &Arg) -> bool {
    matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine)
}

fn exclude(command: &Command, one: &Arg, other: &Arg) -> bool {
    let excludes = |one: &Arg, other: &Arg| {
        command.get_arg_conflicts_with(one).iter().any(|excluded| excluded.get_id() == other.get_id())
    };
    excludes(one, other) || excludes(other, one)
}

/// The words that a scenario stands for, in each line those of some cells; `typed` are long names that are left out.
fn lines(text: &str, variant: Option<&str>, typed: &[String]) -> Result<Vec<Vec<String>>> {
    let scenario = Scenario::new(text, variant)?;
    for line in scenario.lines(&[])? {
        check(&line)?;
    }
    scenario.lines(typed)
}

/// Whether the command takes this, as if it had been typed.
fn check(line: &[String]) -> Result<()> {
    let matches = command().try_get_matches_from([COMMAND].into_iter().chain(line.iter().map(String::as_str)));
    match matches.and_then(|matches| CompareArgs::from_arg_matches(&matches)) {
        Ok(_) => Ok(()),
        Err(error) => bail!("{}", first_paragraphs(&error.render().to_string())),
    }
}

/// What a file says once its variant is chosen.
struct Scenario {
    contestants: Vec<String>,
    /// Keys that all cells share.
    options: Table,
    /// What is different in each group of cells; at least one.
    cells: Vec<Table>,
}

impl Scenario {
    fn new(text: &str, variant: Option<&str>) -> Result<Scenario> {
        let mut options: Table = toml::from_str(text).map_err(|error| anyhow!("{}", error.to_string().trim_end()))?;
        choose(&mut options, variant)?;
        let contestants = table_list(options.remove(CONTESTANTS));
        let contestants = contestants.into_iter().map(contestant).collect::<Result<_>>()?;
        let cells = groups(options.remove(CELLS))?;
        check_keys(&options, &keys(), "")?;
        cells.iter().try_for_each(|group| check_keys(group, &keys_of_cells(), " of [[cells]]"))?;
        Ok(Scenario { contestants, options, cells })
    }

    /// Words for the cells of each combination of values, without the options of these names.
    fn lines(&self, without: &[String]) -> Result<Vec<Vec<String>>> {
        let mut lines = Vec::new();
        for group in &self.cells {
            lines.extend(self.lines_of(group, without)?);
            ensure!(lines.len() <= MAX_CELLS, "it has more than {MAX_CELLS} cells; leave some out");
        }
        Ok(lines)
    }

    fn lines_of(&self, group: &Table, without: &[String]) -> Result<Vec<Vec<String>>> {
        let value = |key: &str| group.get(key).or_else(|| self.options.get(key));
        let mut lines = vec![Vec::new()];
        if let Some(transport) =
            value(TRANSPORT).filter(|_| !without.iter().any(|name| name == "udp" || name == "unix"))
        {
            lines = combined(&lines, &list(transport, TRANSPORT, transport_words)?)?;
        }
        for argument in command().get_arguments() {
            let name = argument.get_long().unwrap_or_default();
            let Some(value) = value(name).filter(|_| !without.iter().any(|typed| typed == name)) else { continue };
            let words = list(value, name, |value| words(argument, name, value))?;
            // Of an option that is not of the load, a list is for one that is given several times.
            let choices = if is_of_load(name) { words } else { vec![words.concat()] };
            lines = combined(&lines, &choices)?;
        }
        combined(&lines, std::slice::from_ref(&self.contestants))
    }
}

/// Puts the variant's keys over the others: the one that was asked for, else the one that the scenario names, if any.
fn choose(options: &mut Table, asked: Option<&str>) -> Result<()> {
    let variants = match options.remove(VARIANTS) {
        None => Table::new(),
        Some(Value::Table(variants)) => variants,
        Some(_) => bail!("'{VARIANTS}' is no table; write [{VARIANTS}.quick] and what is different in it below"),
    };
    let usual = options.remove(VARIANT).map(|name| plain(&name, VARIANT)).transpose()?;
    let Some(name) = asked.map(str::to_owned).or(usual) else { return Ok(()) };
    let known = || {
        if variants.is_empty() { "none".to_owned() } else { variants.keys().cloned().collect::<Vec<_>>().join(", ") }
    };
    match variants.get(&name) {
        Some(Value::Table(keys)) => options.extend(keys.clone()),
        Some(_) => bail!("variant '{name}' is no table; write [{VARIANTS}.{name}]"),
        None => bail!("it has no variant '{name}'; there are: {}", known()),
    }
    Ok(())
}

/// The keys at the top of a scenario, or of a variant.
fn keys() -> Vec<String> {
    let command = command();
    let options = command.get_arguments().filter_map(Arg::get_long).filter(|name| !ELSEWHERE.contains(name));
    [CONTESTANTS, CELLS, TRANSPORT, VARIANT, VARIANTS].into_iter().chain(options).map(str::to_owned).collect()
}

fn keys_of_cells() -> Vec<String> {
    let load = WorkloadArgs::<true>::augment_args(Command::new(COMMAND));
    let options = load.get_arguments().filter_map(Arg::get_long);
    iter::once(TRANSPORT).chain(options).map(str::to_owned).collect()
}

fn is_of_load(name: &str) -> bool {
    keys_of_cells().iter().any(|key| key == name)
}

fn check_keys(table: &Table, known: &[String], place: &str) -> Result<()> {
    match table.keys().find(|key| !known.contains(key)) {
        Some(key) => bail!("unknown key '{key}'{place}; there are: {}", known.join(", ")),
        None => Ok(()),
    }
}

/// Groups of cells; without any, one in which nothing is different.
fn groups(cells: Option<Value>) -> Result<Vec<Table>> {
    let group = |group| match group {
        Value::Table(group) => Ok(group),
        _ => bail!("'{CELLS}' is no list of tables; write [[{CELLS}]] above what each group of cells has"),
    };
    match table_list(cells) {
        none if none.is_empty() => Ok(vec![Table::new()]),
        groups => groups.into_iter().map(group).collect(),
    }
}

/// The elements of a list; anything else is one itself.
fn table_list(value: Option<Value>) -> Vec<Value> {
    match value {
        None => Vec::new(),
        Some(Value::Array(all)) => all,
        Some(one) => vec![one],
    }
}

/// A contestant goes among the words as it is, so it must not look like an option.
fn contestant(value: Value) -> Result<String> {
    let text = plain(&value, CONTESTANTS)?;
    ensure!(!text.starts_with('-'), "contestant '{text}' starts with no engine, exec or name");
    Ok(text)
}

fn transport_words(value: &Value) -> Result<Vec<String>> {
    let name = plain(value, TRANSPORT)?;
    let found = TRANSPORTS.iter().find(|(known, _)| *known == name);
    let (_, words) = found.with_context(|| {
        let known: Vec<&str> = TRANSPORTS.iter().map(|(name, _)| *name).collect();
        format!("there is no {TRANSPORT} '{name}'; there are: {}", known.join(", "))
    })?;
    Ok(words.iter().map(|word| word.to_string()).collect())
}

/// An option with one value.
fn words(argument: &Arg, name: &str, value: &Value) -> Result<Vec<String>> {
    let may_be_alone = argument.get_num_args().is_some_and(|range| range.min_values() == 0);
    match (value, argument.get_action().takes_values()) {
        (Value::Boolean(false), false) => Ok(Vec::new()),
        (Value::Boolean(true), takes) if !takes || may_be_alone => Ok(vec![format!("--{name}")]),
        (_, false) => bail!("'{name}' is true or false, no {}", value.type_str()),
        (value, true) => Ok(vec![format!("--{name}={}", plain(value, name)?)]),
    }
}

/// A value as it would be typed.
fn plain(value: &Value, key: &str) -> Result<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        _ => bail!("'{key}' takes a number or a text in quotes, no {}", value.type_str()),
    }
}

/// What `each` makes of every value of a list, or of the one value that stands for itself.
fn list(value: &Value, key: &str, each: impl Fn(&Value) -> Result<Vec<String>>) -> Result<Vec<Vec<String>>> {
    let values = match value {
        Value::Array(values) => values.as_slice(),
        one => std::slice::from_ref(one),
    };
    ensure!(!values.is_empty(), "'{key}' is a list without values");
    values.iter().map(each).collect()
}

/// Each line with each choice after it.
fn combined(lines: &[Vec<String>], choices: &[Vec<String>]) -> Result<Vec<Vec<String>>> {
    ensure!(
        lines.len().saturating_mul(choices.len()) <= MAX_CELLS,
        "it has more than {MAX_CELLS} cells; leave some out"
    );
    Ok(lines.iter().flat_map(|line| choices.iter().map(move |choice| [&line[..], choice].concat())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn typed_as(text: &str, variant: Option<&str>, typed: &[&str]) -> Result<Vec<String>> {
        let typed: Vec<String> = typed.iter().map(|name| (*name).to_owned()).collect();
        Ok(lines(text, variant, &typed)?.iter().map(|line| line.join(" ")).collect())
    }

    const TWO_GROUPS: &str = r#"
        contestants = ["uring", "mine=exec ./a {port}"]
        rounds = 12
        precision = "2%"
        fail-if = ["errors>0", "ratio<0.5"]
        size = [64, "1k"]
        [[cells]]
        connections = [1, 64]
        [[cells]]
        transport = ["udp", "unixgram"]
        connections = 1
        size = "64:9,1k:1"
        [variants.quick]
        rounds = 6
        [[variants.quick.cells]]
        rate = ["1k", 2000]
        connect-per-request = true
    "#;

    #[test]
    fn every_combination_of_a_groups_values_is_a_line() {
        let options = "--rounds=12 --precision=2% --fail-if=errors>0 --fail-if=ratio<0.5 uring mine=exec ./a {port}";
        let expected = [
            "--connections=1 --size=64",
            "--connections=1 --size=1k",
            "--connections=64 --size=64",
            "--connections=64 --size=1k",
            "--udp --connections=1 --size=64:9,1k:1",
            "--udp --unix --connections=1 --size=64:9,1k:1",
        ];
        let expected: Vec<String> = expected.iter().map(|cell| format!("{cell} {options}")).collect();
        assert_eq!(typed_as(TWO_GROUPS, None, &[]).unwrap(), expected);
    }

    #[test]
    fn a_variant_puts_its_keys_over_the_others() {
        let lines = typed_as(TWO_GROUPS, Some("quick"), &["size", "fail-if"]).unwrap();
        let options = "--rounds=6 --precision=2% uring mine=exec ./a {port}";
        assert_eq!(lines, ["1k", "2000"].map(|rate| format!("--connect-per-request --rate={rate} {options}")));
        let usual = "variant = 'b'\nrounds = 1\n[variants.a]\nrounds = 2\n[variants.b]\nrounds = 3";
        for (asked, expected) in [(None, "--rounds=3"), (Some("a"), "--rounds=2")] {
            assert_eq!(typed_as(usual, asked, &[]).unwrap(), [expected]);
        }
    }

    #[test]
    fn what_was_typed_is_left_out() {
        for (typed, expected) in [
            (&["rounds", "udp"][..], &["--size=64", "--size=1k"][..]),
            (&["size", "unix"], &["--rounds=3"]),
            (&["size"], &["--udp --rounds=3"]),
        ] {
            let text = "rounds = 3\ntransport = 'udp'\n[[cells]]\nsize = [64, '1k']";
            assert_eq!(typed_as(text, None, typed).unwrap(), expected, "{typed:?}");
        }
    }

    #[test]
    fn what_excludes_something_typed_is_left_out_too() {
        let words = ["compare", "--scenario", "a.toml", "-d", "1s", "mine=epoll", "--connect-per-request"];
        let (asked, typed) = typed(&words.map(OsString::from)).unwrap();
        assert_eq!(asked.scenario, Some(PathBuf::from("a.toml")));
        for name in ["scenario", "duration", "blocks", "connect-per-request", "depth", "idle"] {
            assert!(typed.iter().any(|typed| typed == name), "{name}: {typed:?}");
        }
        assert!(!typed.iter().any(|typed| typed == "size" || typed == "rounds"), "{typed:?}");
    }

    #[test]
    fn what_is_wrong_is_named_with_what_there_is() {
        for (text, parts) in [
            ("round = 1", &["unknown key 'round'; there are: contestants, ", ", rounds, "][..]),
            (
                "[[cells]]\nconections = 1",
                &["unknown key 'conections' of [[cells]]; there are: transport, connections"],
            ),
            ("[[cells]]\nrounds = 1", &["unknown key 'rounds' of [[cells]]"]),
            ("aa = 3", &["unknown key 'aa'"]),
            ("rounds = [", &["line 1"]),
            ("rounds = 0", &["'0' for '--rounds", "0 is not in"]),
            ("rounds = [1, 2]", &["--rounds"]),
            ("rounds = true", &["'rounds' takes a number or a text in quotes, no boolean"]),
            ("quiet = 3", &["'quiet' is true or false, no integer"]),
            ("size = '64x'", &["64x", "--size"]),
            ("size = []", &["'size' is a list without values"]),
            ("transport = 'sctp'", &["no transport 'sctp'; there are: tcp, udp, unix, unixgram"]),
            ("contestants = ['-x']", &["'-x' starts with no engine"]),
            ("cells = 3", &["write [[cells]]"]),
            ("variants = 3", &["write [variants.quick]"]),
            ("variant = 'x'\n[variants.y]", &["no variant 'x'; there are: y"]),
            ("max-rounds = 3", &["--precision"]),
        ] {
            let problem = format!("{:#}", typed_as(text, None, &[]).unwrap_err());
            parts.iter().for_each(|part| assert!(problem.contains(part), "{text}: {problem}"));
        }
        let many = format!("connections = {0:?}\nsize = {0:?}", (1..100).collect::<Vec<_>>());
        assert!(typed_as(&many, None, &[]).unwrap_err().to_string().contains("more than 1000 cells"));
    }

    #[test]
    fn the_scenarios_of_this_repository_are_accepted() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/scenarios");
        let cells = |name: &str, variant| lines(&read(&folder.join(name)).unwrap(), variant, &[]).unwrap().len();
        for variant in [None, Some("quick"), Some("full")] {
            assert_eq!(cells("matrix.toml", variant), 4 * 5 + 4 * 3);
        }
        assert_eq!(cells("peers.toml", None), 1);
        let all = folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name());
        all.for_each(|name| assert!(cells(name.to_str().unwrap(), None) > 0));
    }

    fn piece() -> impl Strategy<Value = String> {
        let known = prop::sample::select(vec![
            "contestants",
            "cells",
            "[[cells]]\n",
            "[variants.quick]\n",
            "variant",
            "transport",
            "connections",
            "size",
            "rounds",
            "quiet",
            "fail-if",
            "\"",
            "'",
            " = ",
            "=",
            "[",
            "]",
            "{",
            "}",
            ",",
            "\n",
            "1",
            "true",
            "1e9",
            "\"64\"",
            "[1, 2]",
            "'udp'",
            "1979-05-27",
            "-",
            ".",
        ]);
        prop_oneof![8 => known.prop_map(str::to_owned), 1 => "\\PC{0,8}"]
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(pieces in prop::collection::vec(piece(), 0..24), variant in prop::option::of("quick|x")) {
            let _ = lines(&pieces.concat(), variant.as_deref(), &[]);
        }
    }
}
