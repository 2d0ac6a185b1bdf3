//! A contestant as it is typed: the words after `ringmark serve` as one argument, or `exec` and a command; a name of its
//! own may come before, as `name=WORDS`.

use super::serve::contestant_name;
use crate::report::verdict::short_name;
use crate::trial::{Contestant, Program};
use anyhow::{Context, Result, anyhow, bail};
use clap::error::ErrorKind;

const EXEC: &str = "exec";

/// Reads one contestant, without starting anything.
pub fn parse(text: &str) -> Result<Contestant> {
    let (own_name, text) = split_name(text);
    let words = shell_words::split(text).with_context(|| format!("contestant '{text}'"))?;
    let (first, rest) = words.split_first().context("a contestant is empty; name an engine, such as uring or epoll")?;
    let (name, server) = match first.as_str() {
        EXEC => (single_spaced(text), exec(text, rest)?),
        _ => (serve_name(text, &words)?, Program::Serve(words)),
    };
    let name = own_name.map_or(name, str::to_owned);
    Ok(Contestant { name, words: text.trim().to_owned(), server })
}

/// The name that was typed before the words, if one was, and the words. A name is one plain word, so that no option with a
/// value (`epoll --spin=50us`) is taken for one.
pub fn split_name(text: &str) -> (Option<&str>, &str) {
    let is_plain = |name: &str| {
        name.starts_with(|first: char| first.is_ascii_alphanumeric())
            && name.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter))
    };
    match text.trim_start().split_once('=') {
        Some((name, words)) if is_plain(name) => (Some(name), words),
        _ => (None, text),
    }
}

/// Reads all of them. A name that was typed stays as it is; any other that comes again is numbered, so a contestant can
/// run against itself. So is one that only its folder distinguishes from another, as two builds of a server, because that
/// is not shown.
///
/// # Errors
/// One of them cannot be read, or a name was typed twice.
pub fn parse_all(texts: &[String]) -> Result<Vec<Contestant>> {
    let mut all = texts.iter().map(|text| parse(text)).collect::<Result<Vec<_>>>()?;
    let mut taken = own_names(texts)?;
    for (contestant, text) in all.iter_mut().zip(texts) {
        if split_name(text).0.is_none() {
            contestant.name = free_name(&contestant.name, &taken);
            taken.push(short_name(&contestant.name));
        }
    }
    Ok(all)
}

/// The names that were typed.
fn own_names(texts: &[String]) -> Result<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    for name in texts.iter().filter_map(|text| split_name(text).0) {
        if names.iter().any(|other| other == name) {
            bail!("two contestants are named '{name}'; give each a name of its own");
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

/// The name with the least number that makes it differ from all these short names.
fn free_name(base: &str, taken: &[String]) -> String {
    let mut names = (1..).map(|number| numbered(base, number));
    names.find(|name| !taken.contains(&short_name(name))).unwrap_or_default()
}

fn numbered(name: &str, number: usize) -> String {
    if number == 1 { name.to_owned() } else { format!("{name} #{number}") }
}

fn exec(text: &str, command: &[String]) -> Result<Program> {
    if command.is_empty() {
        bail!("contestant '{text}' has no command; write \"exec ./my-server --port {{port}}\"");
    }
    Ok(Program::Exec(command.to_vec()))
}

/// Every command must say where the address goes that it is to listen on.
///
/// # Errors
/// One does not, for this protocol.
pub fn check_places(contestants: &[Contestant], protocol: &str) -> Result<()> {
    let (place, listen) = match protocol {
        "unix" | "unixgram" => ("{path}", "the server must make its unix socket at {path}"),
        _ => ("{port}", "the server must listen on {ip}:{port}"),
    };
    for Contestant { words, server, .. } in contestants {
        if let Program::Exec(command) = server
            && !command.iter().any(|word| word.contains(place))
        {
            bail!("contestant '{words}' does not say where {place} goes; {listen}");
        }
    }
    Ok(())
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
pub fn first_paragraphs(message: &str) -> String {
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
            ("exec './a {port}", "exec './a"),
        ] {
            let message = format!("{:#}", parse(text).unwrap_err());
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn a_command_must_say_where_its_address_goes() {
        let contestants = |text: &str| vec![parse("epoll").unwrap(), parse(text).unwrap()];
        for (text, protocol, fine) in [
            ("exec ./a", "tcp", false),
            ("exec ./a {port}", "udp", true),
            ("exec ./a {port}", "unix", false),
            ("exec ./a unix:{path}", "unixgram", true),
            ("exec ./a {path}", "tcp", false),
        ] {
            assert_eq!(check_places(&contestants(text), protocol).is_ok(), fine, "{text} on {protocol}");
        }
        let refusal = check_places(&contestants("exec ./a {port}"), "unix").unwrap_err().to_string();
        assert!(refusal.contains("'exec ./a {port}' does not say where {path} goes"), "{refusal}");
    }

    #[test]
    fn a_name_comes_once() {
        let all = parse_all(&["epoll", "epoll", "uring", "epoll"].map(String::from)).unwrap();
        let names: Vec<&str> = all.iter().map(|contestant| contestant.name.as_str()).collect();
        assert_eq!(names, ["epoll", "epoll #2", "uring", "epoll #3"]);
        let all = parse_all(&["exec old/server {port}", "exec new/server {port}"].map(String::from)).unwrap();
        let names: Vec<&str> = all.iter().map(|contestant| contestant.name.as_str()).collect();
        assert_eq!(names, ["exec old/server {port}", "exec new/server {port} #2"]);
        let all = parse_all(&["epoll", "epoll=uring", "epoll"].map(String::from)).unwrap();
        let names: Vec<&str> = all.iter().map(|contestant| contestant.name.as_str()).collect();
        assert_eq!(names, ["epoll #2", "epoll", "epoll #3"], "a name that was typed stays");
    }

    #[test]
    fn a_plain_word_before_an_equals_sign_is_a_name() {
        for (text, name, words) in [
            ("mine=exec ./s {ip}:{port}", "mine", "exec ./s {ip}:{port}"),
            (" v1.2_a-b= uring --recv oneshot", "v1.2_a-b", "uring --recv oneshot"),
            ("a=exec ./s --port={port} b=c", "a", "exec ./s --port={port} b=c"),
            ("epoll --spin=50us", "epoll --spin 50us", "epoll --spin=50us"),
            ("exec ./s --port={port}", "exec ./s --port={port}", "exec ./s --port={port}"),
        ] {
            let contestant = parse(text).unwrap();
            assert_eq!((contestant.name.as_str(), contestant.words.as_str()), (name, words), "{text}");
        }
        for text in ["=epoll", "-x=epoll", "my own=epoll", "./a=epoll", "a=", "a=b=epoll"] {
            assert!(parse(text).is_err(), "{text}");
        }
        let twice = parse_all(&["a=uring", "b=epoll", "a=epoll"].map(String::from)).unwrap_err();
        assert!(twice.to_string().contains("two contestants are named 'a'"), "{twice}");
    }
}
