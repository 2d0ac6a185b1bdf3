//! What a suite is instantiated for: an engine and its options.

use super::server::Server;
use crate::skip::skip;
use std::thread;

/// The words after `ringmark serve`.
pub struct Cell {
    pub engine: &'static str,
    pub options: &'static [&'static str],
}

impl Cell {
    /// `None`, with the reason printed, where it cannot run.
    pub fn words<'a>(&self, more: &[&'a str]) -> Option<Vec<&'a str>> {
        if self.engine.contains("uring")
            && let Some(reason) = super::without_uring()
        {
            skip(reason);
            return None;
        }
        if self.options.windows(2).any(|pair| pair == ["--cores", "2"])
            && thread::available_parallelism().is_ok_and(|cores| cores.get() < 2)
        {
            skip("two shards need two cores");
            return None;
        }
        Some([&[self.engine], self.options, more].concat())
    }

    /// A server that echoes over TCP.
    pub fn start(&self, more: &[&str]) -> Option<Server> {
        Some(Server::start(&self.words(more)?))
    }

    pub fn accepts_by_reuseport(&self) -> bool {
        self.options.contains(&"reuseport")
    }
}

/// Makes a module of tests, one for each case, that are called with the cell.
#[macro_export]
macro_rules! instantiate {
    ($name:ident, $cell:expr, [$($case:ident)*]) => {
        #[allow(non_snake_case, reason = "named after the engine's variant")]
        mod $name {
            use super::*;
            const CELL: $crate::cell::Cell = $cell;
            $(#[test] fn $case() { super::$case(&CELL); })*
        }
    };
}
