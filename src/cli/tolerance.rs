//! The options that say what a valid run may have of what should not happen: the same for `ringload` and
//! `ringmark compare`.

use crate::units::Share;
use clap::Args;

/// What makes a run invalid only beyond a share.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct ToleranceArgs {
    /// Errors that do not make a run invalid, as a share of all requests: 0.1% [default: none]. A wrong byte always does
    #[arg(long, value_name = "SHARE")]
    pub allow_errors: Option<Share>,
    /// Of datagrams: lost and late ones that do not make a run invalid, as a share of all requests: 5% [default: 1%]
    #[arg(long, value_name = "SHARE")]
    pub max_loss: Option<Share>,
}
