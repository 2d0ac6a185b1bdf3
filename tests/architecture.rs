//! Holds the house: who imports whom, where `unsafe` may be, how long things may get. Reads the sources as text.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const MAX_FILE_LINES: usize = 600;
const MAX_FUNCTION_LINES: usize = 70;
/// Lines above an `unsafe` among which its reason must stand.
const SAFETY_WITHIN_LINES: usize = 8;

/// Module, the modules it may import (`module::item` for that item only), and the crates.
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

/// A source file, and its text without comments and the contents of literals.
struct Source {
    path: PathBuf,
    text: String,
    code: String,
}

impl Source {
    fn read(path: PathBuf) -> Source {
        let text = fs::read_to_string(root().join(&path)).expect("sources are text");
        let code = blank(&text);
        Source { path, text, code }
    }

    /// The first part of its path below src: `engine` for src/engine/uring/shard.rs, `clock` for src/clock.rs.
    fn module(&self) -> String {
        let below = self.path.strip_prefix("src").expect("below src");
        let first = below.components().next().expect("a file").as_os_str().to_string_lossy().into_owned();
        first.trim_end_matches(".rs").to_owned()
    }

    /// Modules above it: 1 for src/engine/mod.rs and src/clock.rs, 2 for src/engine/epoll.rs.
    fn depth(&self) -> usize {
        let below = self.path.strip_prefix("src").expect("below src");
        below.components().count() - usize::from(below.ends_with("mod.rs"))
    }

    fn at(&self, offset: usize) -> String {
        format!("{}:{}", self.path.display(), line_of(&self.code, offset))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folders: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> =
        folders.iter().map(PathBuf::from).filter(|folder| root().join(folder).exists()).collect();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(root().join(&folder)).expect("reading a folder").map(|entry| entry.expect("an entry"))
        {
            let path = folder.join(entry.file_name());
            match entry.file_type().expect("a type").is_dir() {
                true if entry.file_name() == "target" => {}
                true => open.push(path),
                false if path.extension().is_some_and(|extension| extension == "rs") => found.push(Source::read(path)),
                false => {}
            }
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    assert!(!found.is_empty(), "no sources in {folders:?}");
    found
}

/// Replaces comments and the contents of literals by spaces; lines keep their numbers, characters their places.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = at + opaque_length(&bytes[at..], at > 0 && is_word(bytes[at - 1]));
        code[at..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        at = end.max(at + 1);
    }
    String::from_utf8(code).expect("whole characters were replaced")
}

/// How long the comment or literal is that begins here; 0 when none does.
fn opaque_length(rest: &[u8], within_word: bool) -> usize {
    match rest {
        [b'/', b'/', ..] => rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => find(rest, b"*/").map_or(rest.len(), |end| end + 2),
        [b'"', ..] => quoted_length(rest),
        [b'r', b'"' | b'#', ..] if !within_word => raw_length(rest),
        [b'\'', b'\\', ..] => 3 + rest[3..].iter().position(|byte| *byte == b'\'').unwrap_or(0) + 1,
        // A character; otherwise it is a lifetime.
        [b'\'', rest @ ..] => {
            let width = std::str::from_utf8(&rest[..rest.len().min(4)])
                .map_or_else(|error| error.valid_up_to(), str::len)
                .min(rest.len());
            let first = std::str::from_utf8(&rest[..width]).ok().and_then(|text| text.chars().next());
            first.map(char::len_utf8).filter(|len| rest.get(*len) == Some(&b'\'')).map_or(0, |len| len + 2)
        }
        _ => 0,
    }
}

fn quoted_length(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != b'"' {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

fn raw_length(rest: &[u8]) -> usize {
    let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return 0;
    }
    let end = [&b"\""[..], &rest[1..1 + hashes]].concat();
    find(&rest[2 + hashes..], &end).map_or(rest.len(), |length| 2 + hashes + length + end.len())
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text[..offset].bytes().filter(|byte| *byte == b'\n').count()
}

/// Where this word stands as a word of its own.
fn places<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let bytes = code.as_bytes();
        let before = at.checked_sub(1).map(|at| bytes[at]);
        let after = bytes.get(at + word.len());
        !before.is_some_and(is_word) && !after.is_some_and(|byte| is_word(*byte))
    })
}

/// The paths that follow `prefix::`: one, or each of a `{group}` as far as its first two parts.
fn paths_after(rest: &str) -> Vec<String> {
    let Some(group) = rest.strip_prefix('{') else { return vec![path(rest)] };
    let mut depth = 0;
    let end = group.find(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        depth < 0
    });
    let group = &group[..end.unwrap_or(group.len())];
    let mut level = 0;
    let split = group.split(|c| {
        level += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && level == 0
    });
    split.map(str::trim).filter(|part| !part.is_empty()).flat_map(expand).collect()
}

/// `a::{b, c}` as `a::b` and `a::c`.
fn expand(text: &str) -> Vec<String> {
    match text.split_once("::{") {
        Some((module, rest)) => {
            let inner = paths_after(&format!("{{{rest}"));
            inner.iter().map(|item| path(&format!("{module}::{item}"))).collect()
        }
        None => vec![path(text)],
    }
}

/// The first two parts of a path.
fn path(text: &str) -> String {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(text.len());
    text[..end].split("::").filter(|part| !part.is_empty()).take(2).collect::<Vec<_>>().join("::")
}

/// The places and paths of what a file names through the crate's root.
fn imports(source: &Source) -> Vec<(usize, String)> {
    let code = &source.code;
    let mut found = Vec::new();
    let prefixes = ["crate", "ringmark"].into_iter().flat_map(|word| places(code, word));
    for at in prefixes {
        let Some((_, rest)) = code[at..].split_once("::").filter(|(word, _)| word.bytes().all(is_word)) else {
            continue;
        };
        found.extend(paths_after(rest).iter().flat_map(|path| expand_in_full(path, rest)).map(|path| (at, path)));
    }
    let up = "super::".repeat(source.depth());
    for (at, _) in code.match_indices(&up).filter(|(at, _)| !code[..*at].ends_with("::")) {
        let rest = code[at + up.len()..].trim_start_matches("super::");
        // Within an inline module one step less leaves the file: then what follows is no module of the root.
        let known = |path: &String| RULES.iter().any(|(module, ..)| path.split("::").next() == Some(module));
        found.extend(paths_after(rest).into_iter().filter(known).map(|path| (at, path)));
    }
    found
}

/// `module` as `module::a` and `module::b` where `{a, b}` follows it.
fn expand_in_full(path: &str, rest: &str) -> Vec<String> {
    match rest.strip_prefix(path).and_then(|rest| rest.strip_prefix("::{")) {
        Some(group) => expand(&format!("{path}::{{{group}")),
        None => vec![path.to_owned()],
    }
}

fn allowed(import: &str, may: &[&str]) -> bool {
    let module = import.split("::").next().unwrap_or(import);
    may.iter().any(|may| *may == "*" || *may == module || *may == import)
}

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
        for (at, import) in imports(&source) {
            let own = import.split("::").next() == Some(module);
            // A macro at the root belongs to the module that defines it.
            let shared = import.starts_with("for_each_");
            if !own && !shared && !allowed(&import, may) {
                problems.push(format!("{}: {module} may import {may:?}, not {import}", source.at(at)));
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
        for name in crates.iter().filter(|name| !allowed(name, may)) {
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
fn files_and_functions_are_short() {
    let mut problems = Vec::new();
    for source in sources(&["src", "tests", "bench"]) {
        let lines = source.text.lines().count();
        if lines > MAX_FILE_LINES {
            problems.push(format!("{}: {lines} lines, more than {MAX_FILE_LINES}", source.path.display()));
        }
        for at in places(&source.code, "fn") {
            let length = function_lines(&source.code[at..]);
            if length > MAX_FUNCTION_LINES {
                problems
                    .push(format!("{}: a function of {length} lines, more than {MAX_FUNCTION_LINES}", source.at(at)));
            }
        }
    }
    expect_none(problems);
}

/// Lines from `fn` to the end of the body; 0 for a declaration or a type.
fn function_lines(code: &str) -> usize {
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        match c {
            ';' if depth == 0 => return 0,
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => {
                depth -= 1;
                if depth < 0 || (depth == 0 && c == '}') {
                    return if c == '}' && depth == 0 { line_of(code, at) } else { 0 };
                }
            }
            _ => {}
        }
    }
    0
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

/// The reader of sources itself.
#[test]
fn comments_and_literals_are_not_code() {
    let text = "let a = \"unsafe \\\" fn\"; // unsafe\nlet b = r#\"x \" unsafe\"#; let c = '{'; let d: &'static str = f('\\'', 'é'); /* { */";
    let code = blank(text);
    assert_eq!(code.len(), text.len());
    assert!(!code.contains("unsafe") && !code.contains('{'), "{code}");
    assert!(code.contains("&'static str = f("), "{code}");
    assert_eq!(function_lines("fn f(a: [u8; 2]) {\n  if a { b }\n}\nfn g() {}"), 3);
    assert_eq!(function_lines("fn f(a: u8) -> u8;\nfn g() {\n\n}"), 0);
}

#[test]
fn imports_are_found_however_they_are_written() {
    let text = "use crate::units::{Bytes, Nanos};\nuse crate::{a::b, c::{d, e}};\nlet x = crate::f::g::h();\nsuper::protocol::y();";
    let source = Source { path: "src/engine/mod.rs".into(), text: text.into(), code: blank(text) };
    let found: Vec<String> = imports(&source).into_iter().map(|(_, path)| path).collect();
    let expected = ["units::Bytes", "units::Nanos", "a::b", "c::d", "c::e", "f::g", "protocol::y"];
    assert_eq!(found, expected);
}
