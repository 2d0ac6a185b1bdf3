//! Source files as text: what of them is code, where their functions are and how long.

use std::fs;
use std::path::{Path, PathBuf};

/// A source file; its text without comments and the contents of literals; and that without what only tests need.
pub struct Source {
    pub path: PathBuf,
    pub text: String,
    pub code: String,
    pub tested: String,
}

impl Source {
    pub fn read(path: PathBuf) -> Source {
        let text = fs::read_to_string(root().join(&path)).expect("sources are text");
        Source::new(path, text)
    }

    pub fn new(path: impl Into<PathBuf>, text: String) -> Source {
        let code = blank(&text);
        Source { path: path.into(), tested: without_tests(&code), text, code }
    }

    /// The path below src as modules: `engine`, `uring`, `shard` for src/engine/uring/shard.rs, `engine` for
    /// src/engine/mod.rs, none for src/lib.rs.
    pub fn modules(&self) -> Vec<String> {
        let below = self.path.strip_prefix("src").expect("below src").with_extension("");
        let mut modules: Vec<String> = below.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if modules.last().is_some_and(|last| last == "mod") || modules == ["lib"] {
            modules.pop();
        }
        modules
    }

    /// The first of them; the file's name where there is none.
    pub fn module(&self) -> String {
        self.modules().into_iter().next().unwrap_or_else(|| "lib".into())
    }

    /// Whether all of it is for tests.
    pub fn is_of_tests(&self) -> bool {
        self.path.iter().any(|part| part == "tests" || part == "tests.rs")
    }

    pub fn at(&self, offset: usize) -> String {
        format!("{}:{}", self.path.display(), line_of(&self.code, offset))
    }

    /// Lines with code that is not for tests.
    pub fn lines_of_code(&self) -> usize {
        self.tested.lines().filter(|line| !line.trim().is_empty()).count()
    }

    /// Where functions with a body begin, and how many lines they have; those of tests left out.
    pub fn functions(&self) -> Vec<(usize, usize)> {
        let functions = places(&self.tested, "fn").map(|at| (at, function_lines(&self.tested[at..])));
        functions.filter(|(_, lines)| *lines > 0).collect()
    }
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn sources(folders: &[&str]) -> Vec<Source> {
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
pub fn blank(text: &str) -> String {
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

/// Replaces the items that are built for tests only by spaces.
pub fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut left = code.as_bytes().to_vec();
    for (at, _) in code.match_indices(MARK) {
        let end = at + item_length(&code[at + MARK.len()..]) + MARK.len();
        left[at..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
    }
    String::from_utf8(left).expect("whole items were replaced")
}

/// To the semicolon or the closing brace of the item that begins here; of a field or a variant, to its comma.
fn item_length(code: &str) -> usize {
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        match c {
            ';' | ',' if depth == 0 => return at + 1,
            '{' | '(' | '[' => depth += 1,
            '}' if depth == 1 => return at + 1,
            // The end of what holds the last field.
            '}' | ')' | ']' if depth == 0 => return at,
            '}' | ')' | ']' => depth -= 1,
            _ => {}
        }
    }
    code.len()
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

pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

pub fn line_of(text: &str, offset: usize) -> usize {
    1 + text[..offset].bytes().filter(|byte| *byte == b'\n').count()
}

/// Where this word stands as a word of its own.
pub fn places<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let bytes = code.as_bytes();
        let before = at.checked_sub(1).map(|at| bytes[at]);
        let after = bytes.get(at + word.len());
        !before.is_some_and(is_word) && !after.is_some_and(|byte| is_word(*byte))
    })
}

/// Lines from `fn` to the end of the body; 0 for a declaration or a type.
pub fn function_lines(code: &str) -> usize {
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
fn comments_and_literals_are_not_code() {
    let text = "let a = \"unsafe \\\" fn\"; // unsafe\nlet b = r#\"x \" unsafe\"#; let c = '{'; let d: &'static str = f('\\'', 'é'); /* { */";
    let code = blank(text);
    assert_eq!(code.len(), text.len());
    assert!(!code.contains("unsafe") && !code.contains('{'), "{code}");
    assert!(code.contains("&'static str = f("), "{code}");
}

#[test]
fn the_length_of_a_function_is_known() {
    assert_eq!(function_lines("fn f(a: [u8; 2]) {\n  if a { b }\n}\nfn g() {}"), 3);
    assert_eq!(function_lines("fn f(a: u8) -> u8;\nfn g() {\n\n}"), 0);
}

#[test]
fn what_is_built_for_tests_is_left_out() {
    let text = "fn a() {\n}\n#[cfg(test)]\nfn b() {\n  c();\n}\nstruct S { d: u8, #[cfg(test)] e: u8 }\n#[cfg(test)]\nmod tests;\nfn f() {}";
    let source = Source::new("src/x.rs", text.into());
    assert_eq!(source.functions().into_iter().map(|(_, lines)| lines).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(source.lines_of_code(), 4, "{}", source.tested);
    assert!(source.tested.contains("d: u8") && !source.tested.contains("e: u8"), "{}", source.tested);
}

#[test]
fn a_path_is_a_module() {
    let modules = |path: &str| Source::new(path, String::new()).modules().join("::");
    let expected = [
        ("src/lib.rs", ""),
        ("src/clock.rs", "clock"),
        ("src/engine/mod.rs", "engine"),
        ("src/engine/uring/shard.rs", "engine::uring::shard"),
        ("src/bin/ringload.rs", "bin::ringload"),
    ];
    expected.iter().for_each(|(path, module)| assert_eq!(modules(path), *module));
}
