//! The time of day where this machine is.

use std::mem::MaybeUninit;

/// Hour, minute, second of the day, in the local time zone, of this many seconds since 1970.
pub fn time_of_day(unix_seconds: u64) -> (u8, u8, u8) {
    let seconds = unix_seconds as libc::time_t;
    let mut broken = MaybeUninit::<libc::tm>::uninit();
    // SAFETY: the library reads one time_t and writes one tm, or returns null.
    let done = unsafe { libc::localtime_r(&raw const seconds, broken.as_mut_ptr()) };
    if done.is_null() {
        return (0, 0, 0);
    }
    // SAFETY: localtime_r filled it.
    let broken = unsafe { broken.assume_init() };
    (broken.tm_hour as u8, broken.tm_min as u8, broken.tm_sec as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_later_is_a_second_later() {
        let (_, _, first) = time_of_day(1_700_000_000);
        let (_, _, second) = time_of_day(1_700_000_001);
        assert_eq!((first + 1) % 60, second);
    }
}
