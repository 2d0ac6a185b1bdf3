//! The options of a run with datagrams, and what they mean together.

use super::{LoadArgs, OptionsError};
use crate::load::{DEFAULT_MAX_LOSS, DatagramOptions, Dialect, max_datagram_size};
use crate::units::{Bytes, Nanos, Place, Share, Transport};
use clap::Args;

const STREAM_TIMEOUT: Nanos = Nanos::from_secs(5);
/// Long enough for any echo on this continent, short enough that a lost datagram's slot is soon used again.
const DATAGRAM_TIMEOUT: Nanos = Nanos::from_millis(250);

/// What only a target of datagrams has.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Datagrams (udp://, unixgram:)")]
pub struct DatagramArgs {
    /// Up to N datagrams of a socket leave with one send (UDP_SEGMENT, Linux 4.18), fewer where N exceed 65507 bytes
    ///
    /// Datagrams that are to go out on a socket at the same time are handed to the kernel as one super-packet, which stays
    /// whole as far as it can: on this machine to a server that has UDP_GRO (ringmark serve --gro), otherwise to the
    /// network device. Answers that come back whole are split again, and each is checked. All have one --size, of which two
    /// must fit (IPv6: 65527 bytes). --depth is then N by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=64))]
    pub gso: Option<u64>,
    /// What the server is
    #[arg(long, value_enum, value_name = "SERVER")]
    pub speak: Option<Dialect>,
}

impl LoadArgs {
    /// What is asked of datagrams; checks what else must fit.
    pub(super) fn datagrams(&self) -> Result<DatagramOptions, OptionsError> {
        let DatagramArgs { gso, speak } = self.datagrams;
        let dialect = speak.unwrap_or_default();
        if self.target.transport == Transport::Datagram {
            self.check_datagrams(dialect)?;
        } else if let Some(option) = self.only_datagrams() {
            return Err(OptionsError::OnlyDatagrams(option));
        }
        let max_loss = self.tolerance.max_loss.map_or(DEFAULT_MAX_LOSS, Share::fraction);
        Ok(DatagramOptions { gso: gso.unwrap_or(1), dialect, max_loss })
    }

    /// The first option typed that means nothing to streams.
    fn only_datagrams(&self) -> Option<&'static str> {
        let DatagramArgs { gso, speak } = self.datagrams;
        let max_loss = self.tolerance.max_loss;
        let typed = [("--gso", gso.is_some()), ("--speak", speak.is_some()), ("--max-loss", max_loss.is_some())];
        typed.into_iter().find(|(_, typed)| *typed).map(|(name, _)| name)
    }

    fn check_datagrams(&self, dialect: Dialect) -> Result<(), OptionsError> {
        let (min, max) = (Bytes(dialect.min_size()), Bytes(max_datagram_size(&self.target)));
        let mut sizes = self.size.parts().iter().map(|(size, _)| *size);
        if let Some(size) = sizes.find(|size| !(min..=max).contains(size)) {
            return Err(OptionsError::DatagramSize { target: self.target.to_string(), size, min, max });
        }
        match (&self.target.place, self.datagrams.gso) {
            (Place::Unix(_), Some(_)) => Err(OptionsError::OnlyUdp("--gso")),
            (_, Some(2..)) if self.size.is_mixed() => Err(OptionsError::MixedSegments),
            _ => Ok(()),
        }
    }

    pub(super) fn timeout(&self) -> Nanos {
        let default = match self.target.transport {
            Transport::Stream => STREAM_TIMEOUT,
            Transport::Datagram => DATAGRAM_TIMEOUT,
        };
        self.timeout.unwrap_or(default)
    }
}
