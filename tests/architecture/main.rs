//! Holds the house: who imports whom, that no files need each other in a circle, where `unsafe` may be, how long things
//! may get. Reads the sources as text.

mod graph;
mod imports;
mod source;

use graph::Graph;
use imports::imports;
use source::{Source, function_lines, line_of, places, root, sources};
use std::fs;
use std::process::Command;

/// Of the library and the programs, in lines with code, their tests left out.
const MAX_CODE_LINES: usize = 500;
const MAX_FUNCTION_LINES: usize = 60;
/// So many of a hundred functions have at most …
const MOST_PERCENT: usize = 95;
/// … so many lines.
const MOST_FUNCTION_LINES: usize = 25;
const MEDIAN_FUNCTION_LINES: usize = 8;
/// Of tests and benchmarks, in all lines.
const MAX_TEST_FILE_LINES: usize = 600;
const MAX_TEST_FUNCTION_LINES: usize = 70;
/// Lines above an `unsafe` among which its reason must stand.
const SAFETY_WITHIN_LINES: usize = 8;

/// Module, the modules it may import, and the crates.
type Rule = (&'static str, &'static [&'static str], &'static [&'static str]);

/// Derives of values that are stored or shown; they bring no behaviour.
const DERIVES: &[&str] = &["thiserror", "serde"];
const ANY: &[&str] = &["*"];

const RULES: &[Rule] = &[
    ("units", &[], DERIVES),
    ("clock", &["units"], &[]),
    ("stats", &["units", "clock"], DERIVES),
    ("protocol", &["units", "stats"], DERIVES),
    ("sys", &["units"], ANY),
    ("engine", &["sys", "clock", "units", "protocol"], ANY),
    ("server", &["engine", "protocol", "sys", "clock", "units"], ANY),
    ("load", &["protocol", "sys", "clock", "units", "stats", "record"], ANY),
    ("trial", &["sys", "clock", "units", "stats", "record"], ANY),
    ("record", &["stats", "units"], ANY),
    ("report", &["record", "stats", "units"], ANY),
    ("diag", &["sys", "clock", "units", "stats", "record"], ANY),
    ("cli", ANY, ANY),
    // The programs know the library only by what its command line offers.
    ("main", &["cli"], &["ringmark"]),
    ("bin", &["cli"], &["ringmark"]),
    ("lib", &[], &[]),
];

const TOP_LEVEL: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "LICENSE",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    "rustfmt.toml",
    ".gitignore",
    ".ci",
    "src",
    "tests",
    "bench",
    "scripts",
    "results",
];

fn rule_of(source: &Source) -> Result<&'static Rule, String> {
    let module = source.module();
    let rule = RULES.iter().find(|(name, ..)| *name == module);
    rule.ok_or_else(|| {
        format!("{}: module '{module}' is not in the table of who may import whom", source.path.display())
    })
}

#[track_caller]
fn expect_none(problems: Vec<String>) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn modules_import_only_what_they_may() {
    let mut problems = Vec::new();
    for source in sources(&["src"]) {
        let (module, may, _) = match rule_of(&source) {
            Ok(rule) => rule,
            Err(problem) => return expect_none(vec![problem]),
        };
        for import in imports(&source) {
            // Anything else at the root is a macro.
            let Some(other) = import.path.first().filter(|first| RULES.iter().any(|(name, ..)| first == name)) else {
                continue;
            };
            if other != module && !may.contains(&"*") && !may.contains(&other.as_str()) {
                problems.push(format!("{}: {module} may import {may:?}, not {other}", source.at(import.offset)));
            }
        }
    }
    expect_none(problems);
}

#[test]
fn modules_use_only_the_crates_they_may() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let section =
        manifest.split("[dependencies]").nth(1).expect("dependencies").split("\n[").next().expect("a section");
    let names = section.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name.trim().replace('-', "_"));
    let crates: Vec<String> = names.chain(["ringmark".into()]).collect();
    let mut problems = Vec::new();
    for source in sources(&["src"]) {
        let Ok((module, _, may)) = rule_of(&source) else { continue };
        for name in crates.iter().filter(|name| !may.contains(&"*") && !may.contains(&name.as_str())) {
            let named = places(&source.code, name).filter(|at| source.code[at + name.len()..].starts_with("::"));
            let named = named.filter(|at| !source.code[..*at].ends_with("::"));
            problems
                .extend(named.map(|at| format!("{}: {module} may use the crates {may:?}, not {name}", source.at(at))));
        }
    }
    expect_none(problems);
}

#[test]
fn unsafe_stays_in_sys_and_says_why() {
    let mut problems = Vec::new();
    for source in sources(&["src", "tests"]) {
        for at in places(&source.code, "unsafe") {
            let line = line_of(&source.code, at);
            let above =
                source.text.lines().skip(line.saturating_sub(1 + SAFETY_WITHIN_LINES)).take(SAFETY_WITHIN_LINES + 1);
            if !source.path.starts_with("src/sys") {
                problems.push(format!("{}: unsafe outside src/sys", source.at(at)));
            } else if !above.into_iter().any(|line| line.contains("// SAFETY:")) {
                problems.push(format!("{}: unsafe without a // SAFETY: comment above", source.at(at)));
            }
        }
    }
    expect_none(problems);
}

#[test]
fn nothing_is_left_undone() {
    // Written so that this file does not find itself.
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME")];
    let mut problems = Vec::new();
    for source in sources(&["src", "tests", "bench"]) {
        for word in ["todo", "unimplemented", "dbg"] {
            let calls = places(&source.code, word).filter(|at| source.code[at + word.len()..].starts_with('!'));
            problems.extend(calls.map(|at| format!("{}: {word}!", source.at(at))));
        }
        for mark in marks {
            problems.extend(places(&source.text, mark).map(|at| format!("{}: {mark}", source.at(at))));
        }
    }
    expect_none(problems);
}

#[test]
fn no_files_need_each_other_in_a_circle() {
    expect_none(Graph::new(&sources(&["src"])).circles());
}

#[test]
fn files_and_functions_are_short() {
    let mut problems = Vec::new();
    for source in sources(&["src"]).iter().filter(|source| !source.is_of_tests()) {
        let lines = source.lines_of_code();
        if lines > MAX_CODE_LINES {
            problems.push(format!("{}: {lines} lines of code, more than {MAX_CODE_LINES}", source.path.display()));
        }
        problems.extend(too_long(source, &source.tested, MAX_FUNCTION_LINES));
    }
    for source in sources(&["src", "tests", "bench"]) {
        let lines = source.text.lines().count();
        if !source.path.starts_with("src") && lines > MAX_TEST_FILE_LINES {
            problems.push(format!("{}: {lines} lines, more than {MAX_TEST_FILE_LINES}", source.path.display()));
        }
        problems.extend(too_long(&source, &source.code, MAX_TEST_FUNCTION_LINES));
    }
    expect_none(problems);
}

fn too_long(source: &Source, code: &str, most: usize) -> Vec<String> {
    let lengths = places(code, "fn").map(|at| (at, function_lines(&code[at..])));
    let long = lengths.filter(|(_, lines)| *lines > most);
    long.map(|(at, lines)| format!("{}: a function of {lines} lines, more than {most}", source.at(at))).collect()
}

#[test]
fn most_functions_are_very_short() {
    let sources = sources(&["src"]);
    let tested = sources.iter().filter(|source| !source.is_of_tests());
    let mut lengths: Vec<usize> = tested.flat_map(Source::functions).map(|(_, lines)| lines).collect();
    lengths.sort_unstable();
    let (median, most) = (lengths[lengths.len() / 2], lengths[lengths.len() * MOST_PERCENT / 100]);
    println!("{} functions: median {median} lines, {MOST_PERCENT} % at most {most}", lengths.len());
    assert!(median <= MEDIAN_FUNCTION_LINES, "half of the functions have {median} lines or more");
    assert!(most <= MOST_FUNCTION_LINES, "{MOST_PERCENT} % of the functions have up to {most} lines");
}

#[test]
fn every_file_says_what_it_is_for() {
    let files = sources(&["src", "tests", "bench"]);
    let silent = files.iter().filter(|source| !source.text.starts_with("//!"));
    expect_none(silent.map(|source| format!("{}:1: no //! comment at the top", source.path.display())).collect());
}

#[test]
fn the_top_level_is_tidy() {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output();
    let Some(listed) = listed.ok().filter(|listed| listed.status.success()) else {
        return println!("skipped: not a git repository");
    };
    let files = String::from_utf8_lossy(&listed.stdout).into_owned();
    let strange = files.lines().filter_map(|file| file.split('/').next()).filter(|name| !TOP_LEVEL.contains(name));
    expect_none(strange.map(|name| format!("{name}: the top level holds only {TOP_LEVEL:?}")).collect());
}
