//! The one place where a thread's loop is chosen: by the engine and by the protocol that its connections or datagram
//! sockets speak. The loop is compiled for each, so that nothing is chosen per message.

use super::datagram::{SocketPool, engine::DatagramEngine};
use super::driver::{Driver, Pool};
use super::engine::Engine;
use super::protocols::{DatagramProtocol, StreamProtocol};
use super::shared::Shared;
use super::stream::{ConnectionPool, engine::StreamEngine};
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
    type Stream: StreamEngine;
    type Datagram: DatagramEngine;
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

pub struct Run<'a> {
    task: &'a Task,
    shared: &'a Shared,
    clock: Clock,
}

impl Run<'_> {
    fn on<E: EnginePair>(&self, config: &Config) -> Result<ThreadResult, WorkerError> {
        match config.target.transport {
            Transport::Stream => on_streams::<E::Stream>(self, StreamProtocol::default()),
            Transport::Datagram => on_datagrams::<E::Datagram>(self, config.datagrams.protocol),
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
        pub fn on_streams<E: StreamEngine>(run: &Run<'_>, protocol: StreamProtocol) -> Result<ThreadResult, WorkerError> {
            match protocol {
                $(StreamProtocol::$variant => run.drive::<_, E>(ConnectionPool::<$client>::new),)*
            }
        }
    };
}

macro_rules! define_on_datagrams {
    ($($help:literal; $variant:ident, $name:literal, $client:ty;)*) => {
        fn on_datagrams<E: DatagramEngine>(run: &Run<'_>, protocol: DatagramProtocol) -> Result<ThreadResult, WorkerError> {
            match protocol {
                $(DatagramProtocol::$variant => run.drive::<_, E>(SocketPool::<$client>::new),)*
            }
        }
    };
}

for_each_stream_client!(define_on_streams);
for_each_datagram_client!(define_on_datagrams);

#[cfg(test)]
mod tests {
    use super::with_one_more::{StreamProtocol, on_streams};
    use super::*;
    use crate::load::engine::EngineConfig;
    use crate::load::thread::{ThreadOptions, WaitMode};
    use crate::protocol::size_distribution::SizeDistribution;
    use crate::units::{Address, Nanos};
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    /// Answers each line of one connection with its length.
    fn serve_lengths(listener: &TcpListener) {
        let (mut socket, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(socket.try_clone().unwrap());
        let mut line = String::new();
        while reader.read_line(&mut line).unwrap() > 0 {
            writeln!(socket, "{}", line.len()).unwrap();
            line.clear();
        }
    }

    #[test]
    fn a_new_client_is_one_file_and_one_line() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Address::tcp(listener.local_addr().unwrap());
        let plan = ThreadPlan { target: target.clone(), ..ThreadPlan::for_test(1, SizeDistribution::All(1), 4) };
        let engine = EngineConfig { target, sockets: 1, size: 64, depth: 4, segments: 1, spins: false };
        let options = ThreadOptions { core: None, spin: Nanos::ZERO, wait: WaitMode::Sleep };
        let task = Task { plan, engine, options };
        let shared = Shared::new(Some(100), std::thread::current());
        shared.open_window(Nanos::ZERO, Nanos::from_secs(60));
        let run = Run { task: &task, shared: &shared, clock: Clock::start() };
        let result = std::thread::scope(|scope| {
            scope.spawn(|| serve_lengths(&listener));
            on_streams::<stream::EpollEngine>(&run, StreamProtocol::Skeleton).unwrap()
        });
        assert_eq!((result.recorder.requests(), result.recorder.error_count()), (100, 0));
    }
}

/// The list as it would be with one more line: nothing else is needed for a protocol to be named and spoken.
#[cfg(test)]
mod with_one_more {
    use super::*;
    use crate::load::protocols::define_stream_protocol;
    use crate::protocol::{echo, skeleton};

    macro_rules! streams {
        ($apply:ident) => {
            $apply! {
                "Every byte comes back";
                Echo, "echo", echo::client::EchoStream;
                "The length of every line";
                Skeleton, "skeleton", skeleton::client::SkeletonStream;
            }
        };
    }

    streams!(define_stream_protocol);
    streams!(define_on_streams);
}
