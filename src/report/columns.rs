//! Columns of text side by side: words to the left, figures to the right.

use super::text_style::{Line, Look, Span};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// A column of a table.
#[derive(Clone, Debug)]
pub struct Column {
    /// Its title and, below that, its unit.
    pub head: [String; 2],
    pub align: Align,
    /// Blanks before it.
    pub gap: usize,
    pub cells: Vec<Span>,
}

impl Column {
    pub fn new(head: [&str; 2], align: Align, gap: usize, cells: Vec<Span>) -> Column {
        Column { head: head.map(str::to_owned), align, gap, cells }
    }

    fn all(&self) -> impl Iterator<Item = Span> + '_ {
        let head = self.head.iter().map(|text| Span::new(text.clone(), Look::Faint));
        head.chain(self.cells.iter().cloned())
    }

    /// Of its widest cell.
    pub fn width(&self) -> usize {
        self.all().map(|span| span.width()).max().unwrap_or(0)
    }
}

/// Columns that all of them take.
pub fn width(columns: &[Column]) -> usize {
    columns.iter().map(|column| column.gap + column.width()).sum()
}

/// As many columns side by side as there is room for, each part with the first column before them.
pub fn parts(first: &Column, columns: Vec<Column>, room: usize) -> Vec<Vec<Column>> {
    let mut parts: Vec<Vec<Column>> = Vec::new();
    for column in columns {
        match parts.last_mut() {
            Some(part) if width(part) + column.gap + column.width() <= room => part.push(column),
            _ => parts.push(vec![first.clone(), column]),
        }
    }
    parts
}

/// The head's lines, without those that are empty, and a line for each row.
pub fn lines(columns: &[Column]) -> Vec<Line> {
    let rows = columns.iter().map(|column| column.cells.len() + 2).max().unwrap_or(0);
    let mut lines: Vec<Line> = vec![Vec::new(); rows];
    for column in columns {
        let width = column.width();
        let cells = column.all().chain(std::iter::repeat(Span::default()));
        for (line, cell) in lines.iter_mut().zip(cells) {
            let blanks = width - cell.width();
            let (before, after) = if column.align == Align::Left { (0, blanks) } else { (blanks, 0) };
            line.extend([" ".repeat(column.gap + before).into(), cell, " ".repeat(after).into()]);
        }
    }
    let is_empty = |line: &Line| line.iter().all(|span| span.text.trim().is_empty());
    let (head, rows) = lines.split_at(lines.len().min(2));
    head.iter().filter(|line| !is_empty(line)).chain(rows).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::super::text_style::TextStyle;
    use super::*;

    #[test]
    fn words_stand_left_and_figures_right() {
        let cells = |texts: [&str; 2]| texts.map(|text| text.to_owned().into()).to_vec();
        let columns = [
            Column::new(["name", ""], Align::Left, 0, cells(["a", "bcdefg"])),
            Column::new(["req/s", "k"], Align::Right, 2, cells(["1", "1000"])),
            Column::new(["", ""], Align::Left, 1, cells(["x", ""])),
        ];
        let text = TextStyle::default().paint(&lines(&columns));
        assert_eq!(text, "name    req/s\n            k\na           1 x\nbcdefg   1000\n");
        assert_eq!(width(&columns), 6 + 2 + 5 + 1 + 1);
        let [first, second, third] = columns;
        assert_eq!(parts(&first, vec![second.clone(), third.clone()], 15).len(), 1);
        assert_eq!(parts(&first, vec![second, third], 14).len(), 2);
    }
}
