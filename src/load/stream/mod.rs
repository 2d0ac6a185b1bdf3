//! Load on stream connections: `pool` (one thread's connections), `engine` (I/O: epoll or io_uring), `target` (how a
//! socket is made). Only `engine` and `target` touch sockets.

pub mod engine;
mod pool;
mod target;

pub use engine::{epoll::EpollEngine, uring::UringEngine};
pub use pool::ConnectionPool;
