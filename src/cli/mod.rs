//! What was typed, turned into what was meant: clap structs, one file per command, and the exit code.

pub mod load;
