//! A contestant as it is typed: the words after `ringmark serve` as one argument, or `exec` and a command.

use super::serve::contestant_name;
use crate::report::verdict::short_name;
use crate::trial::{Contestant, Program};
use anyhow::{Context, Result, anyhow, bail};
use clap::error::ErrorKind;

const EXEC: &str = "exec";

/// Reads one contestant, without starting anything.
pub fn parse(text: &str) -> Result<Contestant> {
    let words = shell_words::split(text).with_context(|| format!("contestant '{text}'"))?;
    let (first, rest) = words.split_first().context("a contestant is empty; name an engine, such as uring or epoll")?;
    let (name, server) = match first.as_str() {
        EXEC => (single_spaced(text), exec(text, rest)?),
        _ => (serve_name(text, &words)?, Program::Serve(words)),
    };
    Ok(Contestant { name, words: text.trim().to_owned(), server })
}

/// Reads all of them; a name that comes again is numbered, so a contestant can run against itself. So is one that only
/// its folder distinguishes from another, as two builds of a server, because that is not shown.
pub fn parse_all(texts: &[String]) -> Result<Vec<Contestant>> {
    let mut all: Vec<Contestant> = Vec::new();
    for text in texts {
        let mut contestant = parse(text)?;
        let base = contestant.name.clone();
        let taken = |name: &str| all.iter().any(|other| short_name(&other.name) == short_name(name));
        if let Some(number) = (1..).find(|number| !taken(&numbered(&base, *number))) {
            contestant.name = numbered(&base, number);
        }
        all.push(contestant);
    }
    Ok(all)
}

fn numbered(name: &str, number: usize) -> String {
    if number == 1 { name.to_owned() } else { format!("{name} #{number}") }
}

fn exec(text: &str, command: &[String]) -> Result<Program> {
    if command.is_empty() {
        bail!("contestant '{text}' has no command; write \"exec ./my-server --port {{port}}\"");
    }
    if !command.iter().any(|word| word.contains("{port}")) {
        bail!("contestant '{text}' does not say where {{port}} goes; the server must listen on {{ip}}:{{port}}");
    }
    Ok(Program::Exec(command.to_vec()))
}

/// The engine and its options that are not the default, if `serve` accepts the words.
fn serve_name(text: &str, words: &[String]) -> Result<String> {
    contestant_name(words).map_err(|error| {
        let hint = match error.kind() {
            ErrorKind::InvalidSubcommand => {
                "it starts with no engine; any other server runs as \"exec COMMAND {port}\""
            }
            ErrorKind::DisplayHelp => "type `ringmark serve ENGINE --help` for help",
            _ => &first_paragraphs(&error.render().to_string()),
        };
        anyhow!("contestant '{text}': {hint}")
    })
}

/// Clap's message without its usage, which would be that of another command.
fn first_paragraphs(message: &str) -> String {
    let parts = message.split("\n\n").take_while(|part| !part.starts_with("Usage:") && !part.starts_with("For more"));
    let parts: Vec<&str> = parts.map(|part| part.trim_start_matches("error: ").trim_end()).collect();
    parts.join("\n")
}

fn single_spaced(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_and_commands_are_distinguished() {
        assert_eq!(parse(" epoll ").unwrap().server, Program::Serve(vec!["epoll".into()]));
        let exec = parse("exec './a b'  --port {port}").unwrap();
        assert_eq!(exec.server, Program::Exec(vec!["./a b".into(), "--port".into(), "{port}".into()]));
        assert_eq!(exec.name, "exec './a b' --port {port}");
    }

    #[test]
    fn what_is_no_contestant_is_refused_with_a_reason() {
        for (text, part) in [
            ("", "empty"),
            ("nginx", "exec COMMAND {port}"),
            ("epoll --echo 127.0.0.1:1", "leave it out"),
            ("epoll --help", "serve ENGINE --help"),
            ("uring --recv never", "never"),
            ("exec", "no command"),
            ("exec ./a", "{port}"),
            ("exec './a {port}", "exec './a"),
        ] {
            let message = format!("{:#}", parse(text).unwrap_err());
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn a_name_comes_once() {
        let all = parse_all(&["epoll", "epoll", "uring", "epoll"].map(String::from)).unwrap();
        let names: Vec<&str> = all.iter().map(|contestant| contestant.name.as_str()).collect();
        assert_eq!(names, ["epoll", "epoll #2", "uring", "epoll #3"]);
        let all = parse_all(&["exec old/server {port}", "exec new/server {port}"].map(String::from)).unwrap();
        let names: Vec<&str> = all.iter().map(|contestant| contestant.name.as_str()).collect();
        assert_eq!(names, ["exec old/server {port}", "exec new/server {port} #2"]);
    }
}
