//! io_uring made safe to call: a [`Ring`] that owns every buffer the kernel may touch.
//!
//! Memory goes into the ring with the operation that names it and comes back with that operation's final completion,
//! so no caller can free or reuse it too early. Received bytes are read through a [`Lease`], which is the proof that
//! the kernel has let go of the buffer.

mod buffers;
mod datagram;
mod error;
mod features;
mod gather;
mod msg;
mod op;
mod ring;
mod setup;

pub use super::wait::Wait;
pub use buffers::{BufferSettings, Group, Lease, Segment, SendBuffer};
pub use datagram::Datagram;
pub use error::{RingError, io_uring_disabled, kernel_release, seccomp_active};
pub use features::{Feature, features, usable};
pub use gather::Gather;
pub use msg::{Msg, Queue};
pub use op::{Completion, Descriptor, Errno, UserData};
pub use ring::{OnFull, Ring};
pub use setup::{RingSettings, Sqpoll, Taskrun};
