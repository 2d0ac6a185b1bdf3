//! Daytime (RFC 867): the server says what time it is, and closes.

use super::Protocol;
use super::server::{Answer, Cx, Out, Peer, Session, Wants};
use crate::units::Civil;

const SECONDS_PER_DAY: u64 = 86_400;
const WEEKDAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// The protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Daytime;

impl Protocol for Daytime {
    const NAME: &'static str = "daytime";
    const HELP: &'static str = "Say the time here, in UTC, and close (RFC 867); may be repeated";
    const DATAGRAMS: bool = true;
    type Session = Clerk;

    fn open(&mut self, _peer: Peer, _cx: &mut Cx) -> Clerk {
        Clerk { said: false }
    }

    fn datagram(&mut self, _input: &[u8], answer: &mut Answer<'_>, cx: &mut Cx) {
        answer.write(line(cx.unix_seconds()).as_bytes());
    }
}

/// One connection: whether the time has been said.
#[derive(Clone, Copy, Debug)]
pub struct Clerk {
    said: bool,
}

impl Session for Clerk {
    fn received(&mut self, input: &[u8], _out: &mut Out, _cx: &mut Cx) -> usize {
        input.len()
    }

    fn writable(&mut self, out: &mut Out, cx: &mut Cx) {
        out.write(line(cx.unix_seconds()).as_bytes());
        self.said = true;
    }

    fn wants(&self) -> Wants {
        if self.said { Wants::CLOSE } else { Wants { produce: true, ..Wants::READ } }
    }
}

/// The form that RFC 867 suggests: `Weekday, Month Day, Year Time-Zone`.
fn line(unix_seconds: u64) -> String {
    let Civil { year, month, day, hour, minute, second } = Civil::of(unix_seconds);
    let weekday = WEEKDAYS[(unix_seconds / SECONDS_PER_DAY) as usize % 7];
    let month = MONTHS[month as usize - 1];
    format!("{weekday}, {month} {day}, {year} {hour:02}:{minute:02}:{second:02}-UTC\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_become_lines() {
        for (unix_seconds, expected) in [
            (0, "Thursday, January 1, 1970 00:00:00-UTC\r\n"),
            (951_782_399, "Monday, February 28, 2000 23:59:59-UTC\r\n"),
            (951_782_400, "Tuesday, February 29, 2000 00:00:00-UTC\r\n"),
            (1_795_705_098, "Thursday, November 26, 2026 14:58:18-UTC\r\n"),
            (4_107_542_400, "Monday, March 1, 2100 00:00:00-UTC\r\n"),
        ] {
            assert_eq!(line(unix_seconds), expected);
        }
    }
}
