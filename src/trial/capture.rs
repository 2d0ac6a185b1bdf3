//! What a process writes, kept within bounds: the beginning and the last lines.
//!
//! A thread reads the pipe to its end, so the process never blocks on it, however much it writes.

use crate::units::Nanos;
use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Lines kept of the end.
const TAIL_LINES: usize = 20;
/// Bytes kept of each of them.
const TAIL_LINE_BYTES: usize = 500;
/// Longest line read at once; a longer one counts as several.
const MAX_LINE_BYTES: u64 = 1 << 16;

/// The output of a process, filled while it runs. Clones share it.
#[derive(Clone, Default)]
pub struct Capture {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    text: Mutex<Text>,
    grown: Condvar,
}

#[derive(Default)]
struct Text {
    head: Vec<u8>,
    tail: VecDeque<String>,
    /// Whole ones so far.
    lines: u64,
    ended: bool,
}

impl Capture {
    /// Reads the pipe on a thread of its own and keeps its first `head_bytes` bytes besides the last lines.
    pub fn start(pipe: impl Read + Send + 'static, head_bytes: usize) -> io::Result<Capture> {
        let capture = Capture::default();
        let writer = capture.clone();
        thread::Builder::new().name("capture".into()).spawn(move || writer.fill(pipe, head_bytes))?;
        Ok(capture)
    }

    fn fill(&self, pipe: impl Read, head_bytes: usize) {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while matches!(pipe.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line), Ok(1..)) {
            self.text().push(&line, head_bytes);
            self.shared.grown.notify_all();
            line.clear();
        }
        self.text().ended = true;
        self.shared.grown.notify_all();
    }

    /// Waits until something is written, the pipe is closed or the time is over.
    pub fn wait(&self, at_most: Nanos) {
        let text = self.text();
        let size = text.head.len();
        let unchanged = |text: &mut Text| text.head.len() == size && !text.ended;
        drop(self.shared.grown.wait_timeout_while(text, at_most.duration(), unchanged));
    }

    /// Waits until so many whole lines were written in all, the pipe is closed or the time is over; whether they were.
    pub fn wait_lines(&self, lines: u64, at_most: Nanos) -> bool {
        let missing = |text: &mut Text| text.lines < lines && !text.ended;
        let waited = self.shared.grown.wait_timeout_while(self.text(), at_most.duration(), missing);
        waited.unwrap_or_else(PoisonError::into_inner).0.lines >= lines
    }

    /// Whether the pipe is closed.
    pub fn is_ended(&self) -> bool {
        self.text().ended
    }

    /// Waits until the pipe is closed or the time is over; returns which.
    pub fn wait_end(&self, at_most: Nanos) -> bool {
        let waited = self.shared.grown.wait_timeout_while(self.text(), at_most.duration(), |text| !text.ended);
        waited.unwrap_or_else(PoisonError::into_inner).0.ended
    }

    /// The beginning, as text.
    pub fn head(&self) -> String {
        String::from_utf8_lossy(&self.text().head).into_owned()
    }

    /// The first whole line that starts so, without the prefix.
    pub fn line_after(&self, prefix: &str) -> Option<String> {
        let head = self.head();
        let whole = &head[..head.rfind('\n')?];
        whole.lines().find_map(|line| line.strip_prefix(prefix)).map(|rest| rest.trim().to_owned())
    }

    /// The last lines, oldest first, free of control characters.
    pub fn tail(&self) -> Vec<String> {
        self.text().tail.iter().cloned().collect()
    }

    fn text(&self) -> MutexGuard<'_, Text> {
        self.shared.text.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Text {
    fn push(&mut self, line: &[u8], head_bytes: usize) {
        self.lines += u64::from(line.ends_with(b"\n"));
        let room = head_bytes.saturating_sub(self.head.len());
        self.head.extend_from_slice(&line[..line.len().min(room)]);
        let line = String::from_utf8_lossy(&line[..line.len().min(TAIL_LINE_BYTES)]);
        let line: String = line.trim_end().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        if !line.is_empty() {
            self.tail.push_back(line);
        }
        while self.tail.len() > TAIL_LINES {
            self.tail.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(text: &'static str, head_bytes: usize) -> Capture {
        let capture = Capture::start(text.as_bytes(), head_bytes).unwrap();
        assert!(capture.wait_end(Nanos::from_secs(10)));
        capture
    }

    #[test]
    fn the_beginning_and_the_last_lines_are_kept() {
        let text: &str = Box::leak((0..100).map(|i| format!("line {i}\n")).collect::<String>().into_boxed_str());
        let capture = captured(text, 10);
        assert_eq!(capture.head(), "line 0\nlin");
        assert_eq!(capture.tail().len(), TAIL_LINES);
        assert_eq!(capture.tail().last().map(String::as_str), Some("line 99"));
    }

    #[test]
    fn a_line_counts_once_it_is_whole() {
        assert_eq!(captured("listening on 1\n", 100).line_after("listening on "), Some("1".into()));
        assert_eq!(captured("listening on 1", 100).line_after("listening on "), None);
        assert_eq!(captured("", 100).line_after(""), None);
    }

    #[test]
    fn lines_are_waited_for_until_they_are_there_or_cannot_come() {
        let capture = captured("a\nb\nc", 100);
        assert_eq!([1, 2, 3].map(|lines| capture.wait_lines(lines, Nanos::from_secs(60))), [true, true, false]);
        assert!(!Capture::default().wait_lines(1, Nanos::from_millis(1)));
    }

    #[test]
    fn what_would_move_the_cursor_is_removed() {
        assert_eq!(captured("a\x1b[2Jb\r\n", 100).tail(), ["a [2Jb"]);
    }
}
