//! io_uring: multishot accept, multishot receive into a registered buffer ring, the received buffer sent back without a
//! copy, direct descriptors, one enter per turn of the loop. Datagrams the same way, from a buffer ring of their own.

mod connection;
mod datagrams;
mod op;
mod outgoing;
mod pool;
mod shard;

use super::datagram::{self, DatagramOptions};
use super::{BufferOptions, Engine, EngineError, ShardService, ThreadingModel, Unsupported};
use crate::sys::rlimit;
use crate::sys::uring::{BufferSettings, Ring, RingSettings, Sqpoll, Taskrun};
use crate::units::Nanos;

/// Most slots in the table of direct descriptors; the table may not exceed RLIMIT_NOFILE either.
const MAX_DIRECT_SLOTS: u32 = 32_768;
/// Completion queue entries: multishot receives complete without having been submitted.
const COMPLETIONS: u32 = 4_096;
/// Receive buffers may grow to this number, the kernel's limit: a slow reader pins at least one with what is in flight to
/// it, so a shard stays able to receive up to that many of them. Memory counts only where it has been written to.
const MAX_BUFFERS: u32 = 32_768;
/// Buffers for datagrams may grow to this number, or are as many as were asked for: 64 MiB when all have been filled. A
/// burst that finds none waits in the socket.
const MAX_DATAGRAM_BUFFERS: u32 = 1_024;

/// How receives are armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Receive {
    /// Once per connection; completions keep coming (Linux 6.0).
    Multishot,
    /// One operation per receive (5.19).
    Oneshot,
}

/// How connections are named towards the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Files {
    /// Slots of the ring's own table: no work on the process's descriptor table (Linux 5.19).
    Direct,
    /// Ordinary file descriptors.
    Fd,
}

/// Options of the `uring` engine.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How receives are armed.
    ///
    /// multishot (Linux 6.0): armed once per connection, the kernel completes as data comes. oneshot (5.19): one
    /// operation per receive; can win where messages are much larger than --buffer-size. Datagrams are always received
    /// multishot.
    #[arg(long, value_enum, default_value = "multishot")]
    pub recv: Receive,

    #[command(flatten)]
    pub buffers: BufferOptions,

    #[command(flatten)]
    pub datagrams: DatagramOptions,

    /// How connections are named towards the kernel.
    ///
    /// direct (Linux 5.19): slots of the ring's own table, no descriptor-table work. On several cores with --accept
    /// balanced each connection costs two more system calls, which hurts short ones. fd: ordinary descriptors.
    #[arg(long, value_enum, default_value = "direct")]
    pub files: Files,

    /// When completions are run [default: defer; none with --sqpoll].
    ///
    /// defer (Linux 6.1): inside the loop's own system call, in batches; fewest interruptions, not with --sqpoll.
    /// coop (5.19): at any system call, without an interrupt. none: at once, interrupting the thread.
    #[arg(long, value_enum)]
    pub taskrun: Option<Taskrun>,

    /// Let a kernel thread submit; it sleeps after IDLE without work (1ms when not given).
    ///
    /// Saves the submitting system call but keeps a core busy: hurts where the server has no core to spare. Needs
    /// Linux 5.11 to run unprivileged.
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "1ms")]
    pub sqpoll: Option<Nanos>,

    /// Core for the --sqpoll thread [default: the shard's own].
    #[arg(long, value_name = "CORE", requires = "sqpoll")]
    pub sqpoll_cpu: Option<usize>,

    /// Submission queue entries; when they are full, what is queued is submitted before the turn ends.
    ///
    /// Few make more system calls but send sooner. More than are ever pushed in one turn buy nothing and count against
    /// RLIMIT_MEMLOCK.
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(8..=4096))]
    pub entries: u32,

    /// Poll this long for completions before sleeping.
    ///
    /// Saves the wake-up (tens of microseconds) at the price of a busy core; hurts where another thread needs it.
    #[arg(long, value_name = "TIME", default_value = "0")]
    pub spin: Nanos,
}

impl Options {
    fn taskrun(&self) -> Taskrun {
        self.taskrun.unwrap_or(if self.sqpoll.is_some() { Taskrun::None } else { Taskrun::Defer })
    }

    fn settings(&self, core: Option<usize>) -> RingSettings {
        let buffers = self.buffers.buffers.next_power_of_two();
        let open_files = rlimit::raise_open_files().unwrap_or(1024).min(MAX_DIRECT_SLOTS.into()) as u32;
        RingSettings {
            entries: self.entries,
            completions: COMPLETIONS.max(self.entries.next_power_of_two()),
            taskrun: self.taskrun(),
            sqpoll: self.sqpoll.map(|idle| Sqpoll { idle, cpu: self.sqpoll_cpu.or(core) }),
            direct_slots: if self.files == Files::Direct { open_files } else { 0 },
            buffers: Some(BufferSettings { count: buffers, size: self.buffers.buffer_size.0 as u32, max: MAX_BUFFERS }),
            datagrams: None,
            spins: self.spin > Nanos::ZERO,
        }
    }

    /// A buffer holds the longest datagram, and counts only as far as it was written to.
    fn datagram_buffers(&self) -> BufferSettings {
        let count = self.buffers.buffers.next_power_of_two();
        BufferSettings { count, size: datagram::BUFFER_BYTES as u32, max: count.max(MAX_DATAGRAM_BUFFERS) }
    }
}

/// The `uring` engine.
#[derive(Debug)]
pub struct Uring;

impl Engine for Uring {
    const NAME: &'static str = "uring";
    const THREADING: ThreadingModel = ThreadingModel::ShardPerCore;
    type Options = Options;

    fn probe(options: &Options) -> Result<(), Unsupported> {
        if options.sqpoll.is_some() && options.taskrun() != Taskrun::None {
            let problem = "--sqpoll and --taskrun defer or coop exclude each other: with --sqpoll the kernel's thread submits, and runs the completions; leave out one of them";
            return Err(Unsupported::Options(problem.into()));
        }
        // Found by trying, as whoever runs it would: nothing else tells all that may be in the way.
        Ring::new(&options.settings(None))?.receive_probe(options.recv == Receive::Multishot)?;
        Ok(())
    }

    fn run<S: ShardService>(options: &Options, shard: super::shard::Shard<S>) -> Result<(), EngineError> {
        shard::UringShard::new(options, shard)?.run()
    }
}
