//! The readiness engine: epoll, level-triggered, one recvmmsg(2) per readiness and one sendmmsg(2) per send.

use super::{DatagramEngine, Event, IoStats, Refused, Writer, prepare_segments, refuses_segments};
use crate::load::engine::{Engine, EngineConfig, EngineError, EventPoll};
use crate::sys::datagram::{BATCH, RecvBatch, SendBatch, gso, parts};
use crate::sys::epoll::Interest;
use crate::sys::socket::is_transient;
use crate::sys::wait::Wait;
use socket2::Socket;
use std::io;

/// Memory for what one call sends.
const SEND_MEMORY: usize = 1 << 20;

pub struct EpollEngine {
    poll: EventPoll,
    sockets: Vec<Option<ClientSocket>>,
    config: EngineConfig,
    inbox: RecvBatch,
    outbox: SendBatch,
    stats: IoStats,
}

struct ClientSocket {
    socket: Socket,
    /// The kernel takes no more for now; writability is asked for.
    blocked: bool,
    /// What is sent on it at once is a super-packet.
    segmented: bool,
}

/// Room that one receive needs: for a super-packet, or for a byte more than is expected so that it shows.
fn room(config: &EngineConfig) -> usize {
    if config.segments > 1 { gso::MAX_SUPER_PACKET.next_power_of_two() } else { config.size + 1 }
}

/// Most datagrams that one call sends.
fn most(config: &EngineConfig) -> usize {
    match config.segments {
        1 => (SEND_MEMORY / config.size).clamp(1, BATCH).min(config.depth),
        segments => segments,
    }
}

impl Engine for EpollEngine {
    const RECEIVES_IN_EVENTS: bool = true;

    fn new(config: &EngineConfig) -> Result<EpollEngine, EngineError> {
        Ok(EpollEngine {
            poll: EventPoll::new(config)?,
            sockets: (0..config.sockets).map(|_| None).collect(),
            inbox: RecvBatch::new(room(config)),
            outbox: SendBatch::new(most(config), config.size),
            config: config.clone(),
            stats: IoStats::default(),
        })
    }

    fn wait(&mut self, wait: Wait) -> io::Result<bool> {
        self.poll.wait(wait)
    }
}

impl DatagramEngine for EpollEngine {
    fn open(&mut self, number: usize, socket: Socket) -> io::Result<()> {
        let segmented = prepare_segments(&socket, &self.config, &mut self.stats);
        self.poll.epoll.add(&socket, Interest::READ, number as u64)?;
        self.sockets[number] = Some(ClientSocket { socket, blocked: false, segmented });
        Ok(())
    }

    #[inline]
    fn send(&mut self, number: usize, count: usize, mut write: impl Writer) -> Result<usize, Refused> {
        let EpollEngine { poll: EventPoll { epoll, .. }, sockets, outbox, stats, .. } = self;
        let refused = |datagrams| move |error| Refused { datagrams, error };
        let Some(client) = &mut sockets[number] else { return Err(refused(0)(io::ErrorKind::NotConnected.into())) };
        let count = count.min(outbox.capacity());
        (0..count).for_each(|index| outbox.put(index, |room| write(index, room)));
        match client.send(outbox, count, stats) {
            Err(error) if is_transient(&error) => {
                client.blocked = true;
                let watched = epoll.modify(&client.socket, Interest::READ.and(Interest::WRITE), number as u64);
                watched.map(|()| 0).map_err(refused(0))
            }
            outcome => outcome.map_err(refused(if client.segmented { count } else { 1 })),
        }
    }

    fn socket(&self, number: usize) -> Option<&Socket> {
        self.sockets[number].as_ref().map(|client| &client.socket)
    }

    fn events(&mut self, mut notify: impl FnMut(usize, Event<'_>)) {
        let EpollEngine { poll: EventPoll { epoll, events }, sockets, inbox, stats, .. } = self;
        for ready in events.iter() {
            let number = ready.key as usize;
            let Some(client) = &mut sockets[number] else { continue };
            if client.blocked && ready.writable() {
                client.blocked = false;
                match epoll.modify(&client.socket, Interest::READ, ready.key) {
                    Ok(()) => notify(number, Event::Writable),
                    Err(error) => notify(number, Event::Failed(error)),
                }
            }
            if ready.readable() {
                receive(&client.socket, inbox, stats, |event| notify(number, event));
            }
        }
    }

    fn io_stats(&self) -> IoStats {
        self.stats
    }
}

impl ClientSocket {
    #[inline]
    fn send(&mut self, outbox: &mut SendBatch, count: usize, stats: &mut IoStats) -> io::Result<usize> {
        if self.segmented {
            match outbox.send_as_one(&self.socket, count) {
                Err(error) if refuses_segments(&error) => self.end_segments(&error, stats)?,
                outcome => {
                    stats.sends += u64::from(outcome.is_ok());
                    return outcome;
                }
            }
        }
        let sent = outbox.send(&self.socket, count)?;
        stats.sends += sent as u64;
        Ok(sent)
    }

    #[cold]
    fn end_segments(&mut self, error: &io::Error, stats: &mut IoStats) -> io::Result<()> {
        self.segmented = false;
        stats.unsegmented = error.raw_os_error();
        gso::set_gso(&self.socket, 0)
    }
}

fn receive(socket: &Socket, inbox: &mut RecvBatch, stats: &mut IoStats, mut notify: impl FnMut(Event<'_>)) {
    match inbox.receive(socket) {
        Ok(count) => {
            stats.receives += count as u64;
            notify(Event::Batch);
            for part in inbox.parts().0.messages().flat_map(|got| parts(got.payload, got.segment)) {
                stats.answers += 1;
                notify(Event::Datagram(part));
            }
        }
        Err(error) if is_transient(&error) => {}
        Err(error) => notify(Event::Failed(error)),
    }
}
