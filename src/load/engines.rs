//! The one place where a thread's loop is chosen: by the engine and by the protocol that its connections or datagram sockets
//! speak. The loop is compiled for each, so that nothing is chosen per message.

use super::driver::{Driver, Pool};
use super::engine::Engine;
use super::protocols::{DatagramProtocol, StreamProtocol};
use super::shared::Shared;
use super::tasks::Task;
use super::thread::{self, WorkerError};
use super::thread_plan::ThreadPlan;
use super::thread_result::ThreadResult;
use super::{Config, EngineKind, datagram, stream};
use crate::clock::Clock;
use crate::units::Transport;
use crate::{for_each_datagram_client, for_each_stream_client};

/// One way of doing I/O, for streams and for datagrams.
trait EnginePair {
    type Stream: stream::engine::StreamEngine;
    type Datagram: datagram::engine::DatagramEngine;
}

struct Uring;

impl EnginePair for Uring {
    type Stream = stream::UringEngine;
    type Datagram = datagram::UringEngine;
}

struct Epoll;

impl EnginePair for Epoll {
    type Stream = stream::EpollEngine;
    type Datagram = datagram::EpollEngine;
}

/// Runs one thread's task to its end.
pub fn run_thread(config: &Config, task: &Task, shared: &Shared, clock: Clock) -> Result<ThreadResult, WorkerError> {
    let run = Run { task, shared, clock };
    match config.engine {
        EngineKind::Uring => run.on::<Uring>(config),
        EngineKind::Epoll => run.on::<Epoll>(config),
    }
}

struct Run<'a> {
    task: &'a Task,
    shared: &'a Shared,
    clock: Clock,
}

impl Run<'_> {
    fn on<E: EnginePair>(&self, config: &Config) -> Result<ThreadResult, WorkerError> {
        match config.target.transport {
            Transport::Stream => self.on_streams::<E::Stream>(StreamProtocol::default()),
            Transport::Datagram => self.on_datagrams::<E::Datagram>(config.datagrams.protocol),
        }
    }

    fn drive<P: Pool<E>, E: Engine>(&self, pool: fn(ThreadPlan) -> P) -> Result<ThreadResult, WorkerError> {
        let Run { task, shared, clock } = self;
        let make = || Ok(Driver::new(&task.plan, pool(task.plan.clone()), E::new(&task.engine)?, shared));
        thread::run(task.options, make, shared, *clock)
    }
}

macro_rules! define_on_streams {
    ($($help:literal; $variant:ident, $name:literal, $client:ty;)*) => {
        impl Run<'_> {
            fn on_streams<E: stream::engine::StreamEngine>(
                &self,
                protocol: StreamProtocol,
            ) -> Result<ThreadResult, WorkerError> {
                match protocol {
                    $(StreamProtocol::$variant => self.drive::<_, E>(stream::ConnectionPool::<$client>::new),)*
                }
            }
        }
    };
}

macro_rules! define_on_datagrams {
    ($($help:literal; $variant:ident, $name:literal, $client:ty;)*) => {
        impl Run<'_> {
            fn on_datagrams<E: datagram::engine::DatagramEngine>(
                &self,
                protocol: DatagramProtocol,
            ) -> Result<ThreadResult, WorkerError> {
                match protocol {
                    $(DatagramProtocol::$variant => self.drive::<_, E>(datagram::SocketPool::<$client>::new),)*
                }
            }
        }
    };
}

for_each_stream_client!(define_on_streams);
for_each_datagram_client!(define_on_datagrams);
