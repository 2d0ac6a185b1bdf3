//! A contestant as it is typed: the words after `ringmark serve` as one argument, or `exec` and a command.

use crate::trial::{Contestant, Program};
use anyhow::{Context, Result, bail};

/// Engines that `serve` knows.
const ENGINES: [&str; 5] = ["uring", "epoll", "threads", "tokio", "tokio-uring"];
const EXEC: &str = "exec";

/// Reads one contestant, without starting anything.
pub fn parse(text: &str) -> Result<Contestant> {
    let words = shell_words::split(text).with_context(|| format!("contestant '{text}'"))?;
    let (first, rest) = words.split_first().context("a contestant is empty; name an engine, such as uring or epoll")?;
    let server = match first.as_str() {
        EXEC => exec(text, rest)?,
        _ => serve(text, &words)?,
    };
    Ok(Contestant { name: name(text), words: text.trim().to_owned(), server })
}

/// Reads all of them; a name that comes again is numbered, so a contestant can run against itself.
pub fn parse_all(texts: &[String]) -> Result<Vec<Contestant>> {
    let mut all: Vec<Contestant> = Vec::new();
    for text in texts {
        let mut contestant = parse(text)?;
        let base = contestant.name.clone();
        let taken = |name: &str| all.iter().any(|other| other.name == name);
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

fn serve(text: &str, words: &[String]) -> Result<Program> {
    match words.first().map(String::as_str) {
        Some(engine) if ENGINES.contains(&engine) => Ok(Program::Serve(words.to_vec())),
        _ => bail!(
            "contestant '{text}' starts with none of {}; or run any other server as \"exec COMMAND {{port}}\"",
            ENGINES.join(", ")
        ),
    }
}

/// The words with single spaces between them.
fn name(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_and_commands_are_told_apart() {
        assert_eq!(parse(" epoll ").unwrap().server, Program::Serve(vec!["epoll".into()]));
        let exec = parse("exec './a b'  --port {port}").unwrap();
        assert_eq!(exec.server, Program::Exec(vec!["./a b".into(), "--port".into(), "{port}".into()]));
        assert_eq!(exec.name, "exec './a b' --port {port}");
    }

    #[test]
    fn what_is_no_contestant_is_told_why() {
        for (text, part) in [
            ("", "empty"),
            ("nginx", "none of uring"),
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
    }
}
