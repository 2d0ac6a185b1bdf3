//! How `compare` and `report` print a result as text: options, and what the terminal is like.

use crate::report::text_style::{PLAIN_WIDTH, TextStyle};
use clap::{Args, ValueEnum};
use console::{Term, is_dumb};
use std::env;

/// Options for what a text looks like.
#[derive(Clone, Debug, Default, Args)]
pub struct TextArgs {
    /// Print everything that is known: percentiles with their intervals, both ends' CPU time, outliers, machine and versions
    #[arg(short, long)]
    verbose: bool,
    /// Colours in the text
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = ColorChoice::Auto)]
    color: ColorChoice,
}

/// When there are colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set or TERM is dumb
    #[default]
    Auto,
    Always,
    Never,
}

impl TextArgs {
    /// As the standard output is: a terminal has its width, everything else 80 columns.
    pub fn style(&self) -> TextStyle {
        let terminal = Term::stdout();
        let columns = terminal.is_term().then(|| terminal.size_checked()).flatten().map(|(_, columns)| columns);
        let width = columns.filter(|columns| *columns > 0).map_or(PLAIN_WIDTH, usize::from);
        let colour = match self.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => terminal.is_term() && !is_dumb() && !is_unwanted(),
        };
        TextStyle { width, colour, verbose: self.verbose }
    }
}

/// As <https://no-color.org> has it.
fn is_unwanted() -> bool {
    env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}
