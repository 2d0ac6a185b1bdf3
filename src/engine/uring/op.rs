//! The kinds of operations of a shard, as their user data names them.

use crate::sys::uring::UserData;

// Of a listener or the inbox.
pub(super) const ACCEPT: u8 = 1;
pub(super) const INBOX: u8 = 2;

// Of a stream connection.
pub(super) const RECEIVE: u8 = 3;
pub(super) const SEND: u8 = 4;
pub(super) const CANCEL: u8 = 5;
pub(super) const SHUTDOWN: u8 = 6;
pub(super) const CLOSE: u8 = 7;

// Of a datagram socket.
pub(super) const RECEIVE_DATAGRAM: u8 = 16;
pub(super) const SEND_DATAGRAM: u8 = 17;
/// There is room again in a unix socket.
pub(super) const ROOM: u8 = 18;

/// Of an operation whose end concerns nobody.
pub(super) const NOBODY: UserData = UserData { kind: CANCEL, slot: u32::MAX, generation: 0 };

/// Of an operation on a listener or datagram socket, which is named by its index.
#[inline]
pub(super) fn on_socket(kind: u8, index: usize) -> UserData {
    UserData { kind, slot: index as u32, generation: 0 }
}
