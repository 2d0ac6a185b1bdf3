//! Why a trial gave no figures.

use crate::record::Reason;

/// A trial that failed: interrupted, or for a reason that is stored in the result.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    #[error("interrupted")]
    Interrupted,
    #[error("{0}")]
    Failed(Reason),
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
            TrialError::Interrupted => Err(self),
        }
    }
}
