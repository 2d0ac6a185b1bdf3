//! How exactly the kernel wakes this thread.

use std::io;

/// Asks for wake-ups of the calling thread as close to their time as can be: the kernel may otherwise put off each by
/// up to 50 us, to serve several at once (PR_SET_TIMERSLACK, prctl(2)). Real-time threads have no slack anyway.
pub fn set_timer_slack() -> io::Result<()> {
    // SAFETY: takes numbers only and changes nothing but the calling thread's timer slack.
    match unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slack_is_the_least_there_is() {
        set_timer_slack().unwrap();
        // SAFETY: takes numbers only and changes nothing.
        assert_eq!(unsafe { libc::prctl(libc::PR_GET_TIMERSLACK, 0, 0, 0, 0) }, 1);
    }
}
