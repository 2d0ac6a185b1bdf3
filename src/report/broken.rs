//! Whether a contestant does what is asked of it. One that does not is named as broken, and nothing is said about its
//! speed: who answers wrong is not faster.

use crate::record::{Reason, TrialRecord};

/// The kind of error of an answer that was wrong.
const CORRUPT: &str = "corrupt";

/// Why it is broken. It is where it ended or answered wrong once; what may come of chance, such as a start that failed,
/// counts where it was given up for it, or where none of its trials is valid.
pub fn reason(trials: &[TrialRecord]) -> Option<&Reason> {
    let reasons = || trials.iter().flat_map(|trial| trial.failed.iter().chain(invalid(trial)));
    let gave_up = reasons().any(|reason| matches!(reason, Reason::NotRun { .. }));
    let never_valid = trials.iter().all(|trial| trial.valid().is_none());
    let in_the_end = || reasons().find(|reason| (gave_up || never_valid) && is_no_service(reason));
    reasons().find(|reason| is_fault(reason)).or_else(in_the_end)
}

fn invalid(trial: &TrialRecord) -> &[Reason] {
    trial.load.as_ref().map_or(&[], |load| &load.invalid)
}

/// No server that works does this even once.
fn is_fault(reason: &Reason) -> bool {
    match reason {
        Reason::ServerEndedUnderLoad { .. } | Reason::ServerStoppedBadly { .. } => true,
        Reason::Errors { kinds } => kinds.get(CORRUPT).is_some_and(|count| *count > 0),
        _ => false,
    }
}

/// Nobody was served.
fn is_no_service(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::CannotStart { .. }
            | Reason::ServerEndedEarly { .. }
            | Reason::ServerNotReady { .. }
            | Reason::ServerHung { .. }
            | Reason::NotAdmitted { admitted: 0, .. }
            | Reason::NobodyAnswered { .. }
            | Reason::NothingAnswered
    )
}

#[cfg(test)]
mod tests {
    use super::super::derive::tests::{failed, steady, trial};
    use super::*;

    fn failing(round: u64, reason: Reason) -> TrialRecord {
        TrialRecord { failed: Some(reason), ..failed(round, "") }
    }

    fn invalid(round: u64, reason: Reason) -> TrialRecord {
        let mut trial = trial(round, 1e5, &[]);
        trial.load.as_mut().unwrap().invalid.push(reason);
        trial
    }

    fn ended(under_load: bool) -> Reason {
        let (command, status, stderr) = ("x".to_owned(), "exit status: 1".to_owned(), Vec::new());
        match under_load {
            true => Reason::ServerEndedUnderLoad { command, status, stderr },
            false => Reason::ServerEndedEarly { command, status, stderr },
        }
    }

    fn errors(kind: &str) -> Reason {
        Reason::Errors { kinds: [(kind.to_owned(), 1)].into() }
    }

    #[test]
    fn one_crash_or_one_wrong_answer_is_enough() {
        for reason in [ended(true), errors("corrupt")] {
            let mut trials = steady(1e5);
            trials.push(match reason {
                Reason::Errors { .. } => invalid(8, reason.clone()),
                _ => failing(8, reason.clone()),
            });
            assert_eq!(super::reason(&trials), Some(&reason));
        }
    }

    #[test]
    fn a_start_that_failed_counts_where_nothing_else_came_of_it() {
        let once = [steady(1e5), vec![failing(8, ended(false))]].concat();
        assert_eq!(reason(&once), None);
        assert_eq!(reason(&once[7..]), Some(&ended(false)));
        let given_up = [once, vec![failing(9, ended(false)), failing(10, Reason::NotRun { failures: 2 })]].concat();
        assert_eq!(reason(&given_up), Some(&ended(false)));
        assert_eq!(reason(&[invalid(1, Reason::NothingAnswered)]), Some(&Reason::NothingAnswered));
    }

    #[test]
    fn what_says_nothing_about_the_server_does_not_break_it() {
        let limit = Reason::GeneratorBottleneck { threads: 1, busy: 0.95, server: Some(0.6) };
        for trial in [failing(1, Reason::NoFreePort), invalid(1, errors("reset")), invalid(1, limit), failed(1, "x")] {
            assert_eq!(reason(&[trial]), None);
        }
        assert_eq!(reason(&[]), None);
    }
}
