//! What files name of other files: every path that begins with `crate`, `ringmark` or `super`, in `use` and anywhere else.

use crate::source::{Source, is_word, places};

/// A path that a file names, as whole from the crate's root, and the name that it gets there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    pub offset: usize,
    pub path: Vec<String>,
    /// `None` in an expression.
    pub name: Option<String>,
    /// It stands in a macro (`$crate::…`): the files that call the macro need what it names.
    pub is_for_callers: bool,
}

/// What it names, tests left out.
pub fn imports(source: &Source) -> Vec<Import> {
    let code = &source.tested;
    let used = uses(code).into_iter().flat_map(|(at, tree)| declared(source, at, tree));
    used.chain(inline(source)).collect()
}

/// Where the trees of `use` declarations begin, and the trees.
fn uses(code: &str) -> Vec<(usize, &str)> {
    let begins = places(code, "use").map(|at| at + "use".len());
    begins.filter_map(|at| Some((at, &code[at..at + code[at..].find(';')?]))).collect()
}

fn declared(source: &Source, offset: usize, tree: &str) -> Vec<Import> {
    let from_root = |(path, name): (Vec<String>, String)| {
        Some(Import { offset, path: absolute(source, &path)?, name: Some(name), is_for_callers: false })
    };
    leaves(tree, &[]).into_iter().filter_map(from_root).collect()
}

/// Paths in expressions and types; those of `use` are among them, without what is in their groups.
fn inline(source: &Source) -> Vec<Import> {
    let code = &source.tested;
    let mut found = Vec::new();
    for at in ["crate", "ringmark", "super"].into_iter().flat_map(|word| places(code, word)) {
        // The rest of a path, or who may see an item.
        if code[..at].ends_with("::") || code[..at].ends_with("(in ") {
            continue;
        }
        let end = code[at..].find(|c: char| !c.is_ascii() || !(is_word(c as u8) || c == ':'));
        let text = &code[at..end.map_or(code.len(), |end| at + end)];
        let path: Vec<String> = text.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
        let is_for_callers = code[..at].ends_with('$');
        let path = if path.len() > 1 { absolute(source, &path) } else { None };
        found.extend(path.map(|path| Import { offset: at, path, name: None, is_for_callers }));
    }
    found
}

/// From the root of the crate; `None` of a path into another crate, or of a module of the file itself.
fn absolute(source: &Source, path: &[String]) -> Option<Vec<String>> {
    let (first, rest) = path.split_first()?;
    let mut base = source.modules();
    match first.as_str() {
        "crate" | "ringmark" => return Some(rest.to_vec()),
        "self" => {}
        "super" => {
            let ups = path.iter().take_while(|part| *part == "super").count();
            base.truncate(base.len().checked_sub(ups)?);
            return Some([&base, &path[ups..]].concat());
        }
        // A module below this one, or another crate: only the graph knows.
        _ => return Some([&base[..], path].concat()),
    }
    Some([&base, rest].concat())
}

/// The paths of a `use` tree and the names they get.
fn leaves(tree: &str, above: &[String]) -> Vec<(Vec<String>, String)> {
    let tree = tree.trim();
    let Some((head, group)) = tree.split_once('{') else { return leaf(tree, above).into_iter().collect() };
    let path = [above, &words(head)].concat();
    let group = group.rsplit_once('}').map_or(group, |(group, _)| group);
    branches(group).into_iter().flat_map(|branch| leaves(branch, &path)).collect()
}

fn leaf(text: &str, above: &[String]) -> Option<(Vec<String>, String)> {
    let (path, name) = text.split_once(" as ").unwrap_or((text, ""));
    let mut path = [above, &words(path)].concat();
    if path.len() > above.len() && path.last().is_some_and(|last| last == "self") && !above.is_empty() {
        path.pop();
    }
    let last = path.last()?.clone();
    Some((path, if name.is_empty() { last } else { name.trim().to_owned() }))
}

fn words(path: &str) -> Vec<String> {
    path.split("::").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// The parts between the commas of a group.
fn branches(group: &str) -> Vec<&str> {
    let mut level = 0;
    let split = group.split(|c| {
        level += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && level == 0
    });
    split.map(str::trim).filter(|branch| !branch.is_empty()).collect()
}

#[test]
fn imports_are_found_however_they_are_written() {
    let text = "use crate::units::{Bytes, Nanos as N};\nuse crate::{a::b, c::{self, d, e::*}};\nlet x = crate::f::g::h();\nsuper::protocol::y();\n#[cfg(test)]\nuse crate::z::Z;\nuse self::own::P; use std::fmt;";
    let source = Source::new("src/engine/mod.rs", text.into());
    let all = imports(&source);
    let found: Vec<String> = all.iter().filter(|one| one.name.is_some()).map(|one| one.path.join("::")).collect();
    let expected =
        ["units::Bytes", "units::Nanos", "a::b", "c", "c::d", "c::e::*", "engine::own::P", "engine::std::fmt"];
    assert_eq!(found, expected);
    assert_eq!(all[1].name.as_deref(), Some("N"));
    let inline: Vec<String> = all.iter().filter(|one| one.name.is_none()).map(|one| one.path.join("::")).collect();
    assert_eq!(inline, ["units", "f::g::h", "protocol::y"]);
}

#[test]
fn super_is_the_module_above() {
    let paths = |text: &str| {
        let source = Source::new("src/engine/uring/shard.rs", text.into());
        imports(&source).into_iter().map(|one| one.path.join("::")).collect::<Vec<_>>()
    };
    assert_eq!(paths("super::super::a()"), ["engine::a"]);
    assert_eq!(paths("x: super::b::C<u8>"), ["engine::uring::b::C"]);
}
