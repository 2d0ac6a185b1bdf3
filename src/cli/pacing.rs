//! The options that say when requests are sent: the same for `ringload` and `ringmark compare`.

use crate::load::{Arrival, Pace, PaceError, Timer};
use crate::units::Rate;
use clap::Args;

/// An open loop sends when its schedule says so, however late the answers are.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct PacingArgs {
    /// Send so many requests per second over all connections, whether or not answers come (open loop): 500, 20k, 1.5M; 1 to 100M
    ///
    /// Latency is then response time as well: from the instant at which a request was meant to be sent, so that what
    /// waits behind a slow answer counts. A connection whose answer is late sends its next request all the same.
    #[arg(short = 'R', long, value_name = "RATE")]
    pub rate: Option<Rate>,
    /// How requests follow each other: constant, poisson, burst:N or ramp:FROM..TO [default: constant, with -R]
    ///
    /// `poisson` is what many independent users do, and meets queues that a constant rate does not. `burst:N` sends N at
    /// once and keeps the rate over time. A ramp goes from one rate to the other within the counted time and needs no
    /// -R.
    #[arg(long, value_name = "HOW")]
    pub arrival: Option<Arrival>,
    /// How to wait for a request's instant: its error is in the report
    #[arg(long, value_enum, default_value_t = Timer::Hybrid)]
    pub timer: Timer,
}

impl PacingArgs {
    /// `None` is a closed loop.
    pub fn pace(&self) -> Result<Option<Pace>, PaceError> {
        Pace::new(self.rate, self.arrival)
    }
}
