//! How a report is to look: how wide, whether coloured, how much of it. The same style gives the same bytes wherever it is
//! rendered.

use console::{Style, measure_text_width};

/// Columns where nobody says how many there are: a pipe, a file.
pub const PLAIN_WIDTH: usize = 80;
/// Narrower than this nothing is laid out.
const MIN_WIDTH: usize = 30;

/// How a report is to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextStyle {
    /// Columns of the terminal.
    pub width: usize,
    pub colour: bool,
    /// Everything that is known, not only what is read at a glance.
    pub verbose: bool,
}

impl Default for TextStyle {
    fn default() -> TextStyle {
        TextStyle { width: PLAIN_WIDTH, colour: false, verbose: false }
    }
}

/// What a piece of text stands out by on a terminal with colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Look {
    #[default]
    Plain,
    Strong,
    Good,
    Bad,
    Faint,
}

/// A piece of a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub text: String,
    pub look: Look,
}

/// Pieces side by side.
pub type Line = Vec<Span>;

impl Span {
    pub fn new(text: impl Into<String>, look: Look) -> Span {
        Span { text: text.into(), look }
    }

    /// Columns that it takes.
    pub fn width(&self) -> usize {
        measure_text_width(&self.text)
    }
}

impl From<String> for Span {
    fn from(text: String) -> Span {
        Span::new(text, Look::Plain)
    }
}

impl TextStyle {
    /// Columns of what can be broken anywhere: longer lines are hard to read.
    pub fn text_width(&self) -> usize {
        self.width.clamp(MIN_WIDTH, PLAIN_WIDTH)
    }

    /// The lines, each with its line break and without blanks at its end.
    pub fn paint(&self, lines: &[Line]) -> String {
        lines.iter().map(|line| self.paint_line(line) + "\n").collect()
    }

    fn paint_line(&self, line: &Line) -> String {
        let last = line.iter().rposition(|span| !span.text.trim_end().is_empty());
        let spans = line.iter().take(last.map_or(0, |last| last + 1)).enumerate();
        spans
            .map(|(index, span)| {
                let text = printable(&span.text);
                self.paint_span(if Some(index) == last { text.trim_end() } else { &text }, span.look)
            })
            .collect()
    }

    fn paint_span(&self, text: &str, look: Look) -> String {
        let style = match look {
            _ if !self.colour || text.is_empty() => return text.to_owned(),
            Look::Plain => return text.to_owned(),
            Look::Strong => Style::new().bold(),
            Look::Good => Style::new().green(),
            Look::Bad => Style::new().red(),
            Look::Faint => Style::new().dim(),
        };
        style.force_styling(true).apply_to(text).to_string()
    }
}

/// Without what a terminal would obey: names and messages may hold anything.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Breaks a text into lines of at most `width` columns between its words, a number and its `%` being one; a word that is
/// longer has a line for itself. Lines after the first begin with `indent`.
pub fn wrap(text: &str, width: usize, indent: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for (index, word) in words(text).into_iter().enumerate() {
        let is_first = index == 0 || line == indent;
        if !is_first && measure_text_width(&line) + 1 + measure_text_width(&word) > width {
            lines.push(std::mem::replace(&mut line, indent.to_owned() + &word));
        } else if is_first {
            line.push_str(&word);
        } else {
            line = line + " " + &word;
        }
    }
    lines.push(line);
    lines
}

fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match words.last_mut() {
            Some(number) if word.starts_with('%') => *number = format!("{number} {word}"),
            _ => words.push(word.to_owned()),
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_broken_between_words() {
        assert_eq!(wrap("aa bb cc", 5, ""), ["aa bb", "cc"]);
        assert_eq!(wrap("aa bb cc", 5, "  "), ["aa bb", "  cc"]);
        assert_eq!(wrap("a-long-word b", 5, " "), ["a-long-word", " b"]);
        assert_eq!(wrap("", 5, " "), [""]);
        assert_eq!(wrap("about 7 %, or", 9, ""), ["about", "7 %, or"]);
    }

    #[test]
    fn colours_are_only_there_where_they_are_asked_for() {
        let line = vec![Span::new("a", Look::Good), "  ".to_owned().into()];
        let style = |colour| TextStyle { colour, ..TextStyle::default() };
        assert_eq!(style(false).paint(std::slice::from_ref(&line)), "a\n");
        assert_eq!(style(true).paint(&[line, vec![Span::new("", Look::Bad)]]), "\u{1b}[32ma\u{1b}[0m\n\n");
    }

    #[test]
    fn what_is_stored_cannot_steer_the_terminal() {
        let line = vec!["a\u{1b}[2Jb\r".to_owned().into()];
        assert_eq!(TextStyle::default().paint(&[line]), "a?[2Jb?\n");
    }
}
