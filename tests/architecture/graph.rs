//! Which files need which: a graph, and its circles.

use crate::imports::{Import, imports};
use crate::source::Source;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How often a name may be handed on by `use`.
const MAX_HOPS: usize = 8;

/// For each file the files that it needs, and the line that says so.
pub struct Graph<'a> {
    sources: &'a [Source],
    /// The file of a module.
    files: BTreeMap<Vec<String>, usize>,
    imports: Vec<Vec<Import>>,
    edges: BTreeMap<usize, BTreeMap<usize, usize>>,
}

impl<'a> Graph<'a> {
    /// Of all files of the library; what only tests need is left out. A parent and its own children need each other.
    pub fn new(sources: &'a [Source]) -> Graph<'a> {
        let files = sources.iter().enumerate().map(|(index, source)| (source.modules(), index)).collect();
        let imports = sources.iter().map(imports).collect();
        let mut graph = Graph { sources, files, imports, edges: BTreeMap::new() };
        for (index, source) in sources.iter().enumerate().filter(|(_, source)| !source.is_of_tests()) {
            let imports = graph.imports[index].iter().filter(|one| !one.is_for_callers);
            let needed: Vec<_> =
                imports.filter_map(|one| Some((graph.needed(source, &one.path)?, one.offset))).collect();
            let edges = graph.edges.entry(index).or_default();
            for (other, offset) in needed.into_iter().filter(|(other, _)| *other != index) {
                edges.entry(other).or_insert(offset);
            }
        }
        graph
    }

    /// The file that a path makes this one need, unless both are of a family: what a child hands on from its own children
    /// is the child's.
    fn needed(&self, source: &Source, path: &[String]) -> Option<usize> {
        let other = self.resolve(path, 0)?;
        let (own, modules) = (source.modules(), self.sources[other].modules());
        let child = path.get(..=own.len()).filter(|child| child.starts_with(&own));
        let is_own_childs = child.is_some_and(|child| modules.starts_with(child));
        (!is_own_childs && !are_family(source, &self.sources[other])).then_some(other)
    }

    /// The file in which what a path names is defined: a module's own, or the one from which the module has it.
    fn resolve(&self, path: &[String], hops: usize) -> Option<usize> {
        let depth = (1..=path.len()).rev().find(|depth| self.files.contains_key(&path[..*depth]))?;
        let file = self.files[&path[..depth]];
        // Which of all its names are meant is not said.
        let Some(name) = path.get(depth).filter(|name| *name != "*") else { return Some(file) };
        let imported = self.imports[file].iter().find(|one| one.name.as_ref() == Some(name));
        match imported {
            Some(one) if hops < MAX_HOPS && one.path != path => self.resolve(&one.path, hops + 1).or(Some(file)),
            _ => Some(file),
        }
    }

    /// The shortest circle through each file that is in one, each circle once, written out.
    pub fn circles(&self) -> Vec<String> {
        let mut known = BTreeSet::new();
        let mut circles = Vec::new();
        for start in self.edges.keys() {
            let Some(circle) = self.shortest_circle(*start) else { continue };
            if known.insert(circle.iter().copied().collect::<BTreeSet<_>>()) {
                circles.push(self.written_out(&circle));
            }
        }
        circles
    }

    /// The files on the shortest way from a file back to itself.
    fn shortest_circle(&self, start: usize) -> Option<Vec<usize>> {
        let (mut from, mut open) = (BTreeMap::new(), VecDeque::from([start]));
        while let Some(file) = open.pop_front() {
            for next in self.edges.get(&file).into_iter().flat_map(BTreeMap::keys) {
                if *next == start {
                    return Some(way_back(file, start, &from));
                }
                if !from.contains_key(next) {
                    from.insert(*next, file);
                    open.push_back(*next);
                }
            }
        }
        None
    }

    fn written_out(&self, circle: &[usize]) -> String {
        let next = circle.iter().cycle().skip(1);
        let steps = circle.iter().zip(next).map(|(file, next)| {
            format!("{} needs {}", self.sources[*file].at(self.edges[file][next]), self.sources[*next].path.display())
        });
        format!("a circle: {}", steps.collect::<Vec<_>>().join(", "))
    }
}

fn way_back(last: usize, start: usize, from: &BTreeMap<usize, usize>) -> Vec<usize> {
    let mut way = vec![last];
    while way.last() != Some(&start) {
        way.push(from[way.last().expect("not empty")]);
    }
    way.reverse();
    way
}

fn are_family(one: &Source, other: &Source) -> bool {
    let (one, other) = (one.modules(), other.modules());
    is_parent(&one, &other) || is_parent(&other, &one)
}

fn is_parent(parent: &[String], child: &[String]) -> bool {
    child.split_last().is_some_and(|(_, above)| above == parent)
}

/// The circles of files with these contents.
#[cfg(test)]
fn circles_of(files: &[(&str, &str)]) -> Vec<String> {
    let sources: Vec<Source> = files.iter().map(|(path, text)| Source::new(*path, (*text).to_owned())).collect();
    Graph::new(&sources).circles()
}

#[test]
fn a_circle_is_found_and_written_out() {
    let files = [
        ("src/a.rs", "use crate::b::B;\nstruct A;"),
        ("src/b.rs", "fn f() {\n  crate::c::g();\n}"),
        ("src/c.rs", "use super::a;"),
        ("src/d.rs", "use crate::a::A; use crate::c;"),
    ];
    let expected = "a circle: src/a.rs:1 needs src/b.rs, src/b.rs:2 needs src/c.rs, src/c.rs:1 needs src/a.rs";
    assert_eq!(circles_of(&files), [expected]);
}

#[test]
fn a_circle_by_names_that_a_parent_hands_on_is_one() {
    let files = [
        ("src/x/mod.rs", "mod a; mod b; pub use a::A; pub use b::{B as C};"),
        ("src/x/a.rs", "use super::C;"),
        ("src/x/b.rs", "use crate::x::A;"),
    ];
    assert_eq!(circles_of(&files), ["a circle: src/x/a.rs:1 needs src/x/b.rs, src/x/b.rs:1 needs src/x/a.rs"]);
}

#[test]
fn parents_children_and_tests_are_no_circle() {
    let files = [
        ("src/x/mod.rs", "mod a; use a::A; fn f() {} mod tests;"),
        ("src/x/a.rs", "use super::f; #[cfg(test)] use crate::y::Y;"),
        ("src/x/tests.rs", "use crate::y::Y;"),
        ("src/y.rs", "use crate::x::a::A;"),
        ("src/z/mod.rs", "mod a; pub use a::B;"),
        ("src/z/a/mod.rs", "mod b; pub use b::B;"),
        ("src/z/a/b.rs", "use crate::z::f; pub(in crate::z) fn g() {}"),
        ("src/m/a.rs", "macro_rules! all { () => { $crate::m::b::B } }"),
        ("src/m/b.rs", "use super::a;"),
        ("src/n/mod.rs", "mod a; mod b; pub use b::*;"),
        ("src/n/a.rs", "use super::*;"),
        ("src/n/b.rs", "use super::a;"),
    ];
    assert_eq!(circles_of(&files), [""; 0]);
}
