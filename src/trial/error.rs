//! Why a trial gave no figures.

use crate::record::{LoadReport, Reason};

/// A trial that failed: interrupted, or for a reason that is stored in the result.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    #[error("interrupted")]
    Interrupted,
    #[error("{0}")]
    Failed(Reason),
    /// The generator ended before it was told to; its report says why.
    #[error("the generator ended early")]
    Invalid(Box<LoadReport>),
}

impl From<Reason> for TrialError {
    fn from(reason: Reason) -> TrialError {
        TrialError::Failed(reason)
    }
}

impl TrialError {
    /// The reason; the error itself where it was interrupted.
    pub fn reason(self) -> Result<Reason, TrialError> {
        match self {
            TrialError::Failed(reason) => Ok(reason),
            TrialError::Invalid(report) => Ok(report.invalid.into_iter().next().unwrap_or(Reason::NothingAnswered)),
            TrialError::Interrupted => Err(self),
        }
    }
}
