//! A terminal that a test looks at: a pseudo-terminal with a program on it, and what its screen showed one moment after
//! the other.

use super::{WATCHDOG, wait_until};
use pty_process::Size;
use pty_process::blocking::{Command, Pty, open};
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Instant;

/// What Ctrl-C types.
const INTERRUPT: u8 = 0x03;
/// Lines above the screen that are remembered.
const ROWS: u16 = 24;
const SCROLLBACK: usize = 10_000;

/// The screen's rows at one moment, without trailing blanks.
pub type Picture = Vec<String>;

/// A program on a terminal; hung up and killed when dropped.
pub struct Terminal {
    child: Child,
    pty: Arc<Pty>,
    pictures: Arc<Mutex<Vec<Picture>>>,
    reader: Option<JoinHandle<(vt100::Parser, Vec<u8>)>>,
}

/// What a program on a terminal left behind.
#[derive(Debug)]
pub struct Shown {
    pub status: ExitStatus,
    /// All rows, those that have scrolled away too, without empty ones at the end.
    pub rows: Picture,
    /// Every picture there was.
    pub pictures: Vec<Picture>,
    /// All that was written.
    pub bytes: Vec<u8>,
}

impl Terminal {
    /// Starts a program on a terminal with so many columns.
    pub fn start(program: &str, words: &[&str], columns: u16, variables: &[(&str, &str)]) -> Terminal {
        let (pty, pts) = open().expect("opening a pseudo-terminal");
        pty.resize(Size::new(ROWS, columns)).expect("setting its size");
        let command = Command::new(program).args(words).env_remove("NO_COLOR").env("TERM", "xterm-256color");
        let child = command.envs(variables.iter().copied()).spawn(pts).expect("starting the program");
        let (pty, pictures) = (Arc::new(pty), Arc::default());
        let (read, seen) = (Arc::clone(&pty), Arc::clone(&pictures));
        let parser = vt100::Parser::new(some(ROWS), some(columns), SCROLLBACK);
        Terminal { child, pty, pictures, reader: Some(thread::spawn(move || watch(&read, parser, &seen))) }
    }

    /// Waits for a picture that is so.
    pub fn wait_for(&self, what: &str, is_so: impl Fn(&Picture) -> bool) {
        wait_until(&format!("the terminal shows {what}"), || self.pictures.lock().expect("whole").iter().any(&is_so));
    }

    pub fn press_ctrl_c(&self) {
        (&*self.pty).write_all(&[INTERRUPT]).expect("typing");
    }

    /// Waits for its end.
    pub fn end(mut self) -> Shown {
        let end = Instant::now() + WATCHDOG;
        let status = loop {
            match self.child.try_wait().expect("waiting for the program") {
                Some(status) => break status,
                None => assert!(Instant::now() < end, "it does not end; it shows {:#?}", self.pictures.lock()),
            }
            thread::sleep(std::time::Duration::from_millis(10));
        };
        let (mut parser, bytes) = self.reader.take().expect("taken once").join().expect("reading the terminal");
        let pictures = std::mem::take(&mut *self.pictures.lock().expect("whole"));
        Shown { status, rows: all_rows(&mut parser), pictures, bytes }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Shown {
    /// The rows as text.
    pub fn text(&self) -> String {
        self.rows.join("\n")
    }

    /// The pictures before the first with a row that begins like this: those of the live view, where the report does.
    pub fn before(&self, begin: &str) -> impl Iterator<Item = &Picture> {
        self.pictures.iter().take_while(move |picture| !picture.iter().any(|row| row.starts_with(begin)))
    }

    /// Not one escape sequence that sets a colour or another way to draw letters: ESC [ … m.
    pub fn is_plain(&self) -> bool {
        let mut sequences = self.bytes.split(|byte| *byte == 0x1b).skip(1);
        !sequences.any(|rest| rest.iter().find(|byte| byte.is_ascii_alphabetic()) == Some(&b'm'))
    }

    #[track_caller]
    pub fn assert_code(&self, code: i32) {
        assert_eq!((self.status.code(), self.status.signal()), (Some(code), None), "{:#?}", self.rows);
    }
}

/// Reads until the program has closed the terminal, which is an error then.
fn watch(mut pty: &Pty, mut parser: vt100::Parser, pictures: &Mutex<Vec<Picture>>) -> (vt100::Parser, Vec<u8>) {
    let (mut bytes, mut all) = ([0; 4096], Vec::new());
    while let Ok(count @ 1..) = pty.read(&mut bytes) {
        parser.process(&bytes[..count]);
        all.extend_from_slice(&bytes[..count]);
        let picture = rows(&parser);
        let mut pictures = pictures.lock().expect("whole");
        if pictures.last() != Some(&picture) {
            pictures.push(picture);
        }
    }
    (parser, all)
}

fn some(length: u16) -> NonZeroU16 {
    NonZeroU16::new(length).expect("a terminal has rows and columns")
}

fn rows(parser: &vt100::Parser) -> Picture {
    let (_, columns) = parser.screen().size();
    parser.screen().rows(0, columns.get()).map(|row| row.trim_end().to_owned()).collect()
}

/// From the first line that was ever written to the last that is not empty.
fn all_rows(parser: &mut vt100::Parser) -> Picture {
    parser.screen_mut().set_scrollback(usize::MAX);
    let above = parser.screen().scrollback();
    let mut all: Picture = (1..=above)
        .rev()
        .map(|up| {
            parser.screen_mut().set_scrollback(up);
            rows(parser).swap_remove(0)
        })
        .collect();
    parser.screen_mut().set_scrollback(0);
    all.extend(rows(parser));
    while all.last().is_some_and(String::is_empty) {
        all.pop();
    }
    all
}
