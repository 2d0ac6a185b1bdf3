//! The protocols that the generator speaks, by the names that are typed and stored: enums made from the lists in
//! [`crate::protocol::client`].

use crate::protocol::client::DatagramClient;
use crate::{for_each_datagram_client, for_each_stream_client};

macro_rules! define_stream_protocol {
    ($($help:literal; $variant:ident, $name:literal, $client:ty;)*) => {
        /// What is spoken on streams. Echo unless told otherwise.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum StreamProtocol {
            $(#[doc = $help] $variant,)*
        }
    };
}

macro_rules! define_datagram_protocol {
    ($($help:literal; $variant:ident, $name:literal, $client:ty;)*) => {
        /// What is spoken in datagrams. Echo unless told otherwise.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
        pub enum DatagramProtocol {
            $(#[doc = $help] #[value(name = $name)] $variant,)*
        }

        impl DatagramProtocol {
            pub fn name(self) -> &'static str {
                match self { $(DatagramProtocol::$variant => $name,)* }
            }

            /// Bytes of the shortest datagram.
            pub fn min_size(self) -> u64 {
                match self { $(DatagramProtocol::$variant => <$client>::MIN_SIZE,)* }
            }
        }
    };
}

for_each_stream_client!(define_stream_protocol);
for_each_datagram_client!(define_datagram_protocol);

impl Default for StreamProtocol {
    fn default() -> StreamProtocol {
        StreamProtocol::Echo
    }
}

impl Default for DatagramProtocol {
    fn default() -> DatagramProtocol {
        DatagramProtocol::Echo
    }
}
