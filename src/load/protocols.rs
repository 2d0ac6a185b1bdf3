//! The protocols that the generator speaks, by the names that are typed and stored: enums made from the lists in
//! [`crate::protocol::client`], of which the first is the default.

use crate::protocol::client::DatagramClient;
use crate::{for_each_datagram_client, for_each_stream_client};

macro_rules! define_stream_protocol {
    (
        $first_help:literal; $first:ident, $first_name:literal, $first_client:ty;
        $($help:literal; $variant:ident, $name:literal, $client:ty;)*
    ) => {
        /// What is spoken on streams.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub enum StreamProtocol {
            #[doc = $first_help]
            #[default]
            $first,
            $(#[doc = $help] $variant,)*
        }
    };
}

macro_rules! define_datagram_protocol {
    (
        $first_help:literal; $first:ident, $first_name:literal, $first_client:ty;
        $($help:literal; $variant:ident, $name:literal, $client:ty;)*
    ) => {
        /// What is spoken in datagrams.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
        pub enum DatagramProtocol {
            #[doc = $first_help]
            #[value(name = $first_name)]
            #[default]
            $first,
            $(#[doc = $help] #[value(name = $name)] $variant,)*
        }

        impl DatagramProtocol {
            /// As it is typed and stored.
            pub fn name(self) -> &'static str {
                match self {
                    DatagramProtocol::$first => $first_name,
                    $(DatagramProtocol::$variant => $name,)*
                }
            }

            /// Bytes of the shortest datagram.
            pub fn min_size(self) -> u64 {
                match self {
                    DatagramProtocol::$first => <$first_client>::MIN_SIZE,
                    $(DatagramProtocol::$variant => <$client>::MIN_SIZE,)*
                }
            }
        }
    };
}

for_each_stream_client!(define_stream_protocol);
for_each_datagram_client!(define_datagram_protocol);

#[cfg(test)]
pub(super) use define_stream_protocol;
