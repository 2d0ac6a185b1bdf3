//! JSON, indented for eyes where results are told apart, and in one line below that: a trial of a comparison has dozens of
//! numbers that nobody reads one below the other, and indentation would be half of the file.

use super::export::{ExportError, Exporter, Part};
use super::result::StoredResult;
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};
use std::io::{self, Write};

/// The stored form, which `ringmark report` reads.
pub struct Json;

impl Exporter for Json {
    fn export(&self, result: &dyn StoredResult) -> Result<Vec<Part>, ExportError> {
        Ok(Part::whole(result.json()?))
    }
}

/// What lies deeper is written in one line: the trials of a comparison (report, cells, cell, contestants, contestant, trials).
const INDENTED: usize = 6;

/// The stored form, with a final line break.
pub fn render(record: &impl Serialize) -> Result<String, serde_json::Error> {
    let mut bytes = Vec::new();
    record.serialize(&mut Serializer::with_formatter(&mut bytes, Indented::default()))?;
    bytes.push(b'\n');
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Indents down to a depth.
#[derive(Default)]
struct Indented {
    pretty: PrettyFormatter<'static>,
    depth: usize,
}

impl Indented {
    fn is_deep(&self) -> bool {
        self.depth > INDENTED
    }
}

fn comma<W: ?Sized + Write>(writer: &mut W, first: bool) -> io::Result<()> {
    if first { Ok(()) } else { writer.write_all(b",") }
}

impl Formatter for Indented {
    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth += 1;
        if self.is_deep() { writer.write_all(b"[") } else { self.pretty.begin_array(writer) }
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        let deep = self.is_deep();
        self.depth -= 1;
        if deep { writer.write_all(b"]") } else { self.pretty.end_array(writer) }
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if self.is_deep() { comma(writer, first) } else { self.pretty.begin_array_value(writer, first) }
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if self.is_deep() { Ok(()) } else { self.pretty.end_array_value(writer) }
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth += 1;
        if self.is_deep() { writer.write_all(b"{") } else { self.pretty.begin_object(writer) }
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        let deep = self.is_deep();
        self.depth -= 1;
        if deep { writer.write_all(b"}") } else { self.pretty.end_object(writer) }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if self.is_deep() { comma(writer, first) } else { self.pretty.begin_object_key(writer, first) }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if self.is_deep() { writer.write_all(b":") } else { self.pretty.begin_object_value(writer) }
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if self.is_deep() { Ok(()) } else { self.pretty.end_object_value(writer) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn what_lies_deep_is_in_one_line_and_all_reads_back() {
        let deep = json!({"a": [{"b": [{"c": [{"d": 1, "e": [1, 2, {}], "f": "g\nh"}, [], 3]}]}], "i": []});
        let text = render(&deep).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), deep);
        assert!(text.contains("\n            {\"d\":1,\"e\":[1,2,{}],\"f\":\"g\\nh\"},\n            [],\n"), "{text}");
        let flat = json!({"a": {"b": [1, {"c": null}]}, "d": {}});
        assert_eq!(render(&flat).unwrap(), serde_json::to_string_pretty(&flat).unwrap() + "\n");
    }
}
