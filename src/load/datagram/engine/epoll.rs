//! The readiness engine: epoll, level-triggered, one recvmmsg(2) per readiness and one sendmmsg(2) per send.

use super::{Engine, Event, Refused, Setup, Traffic, prepare_segments, refuses_segments};
use crate::load::engine::{EngineError, Wait};
use crate::sys::datagram::{BATCH, RecvBatch, SendBatch, gso, parts};
use crate::sys::epoll::{Epoll, Events, Interest};
use crate::sys::socket::is_transient;
use socket2::Socket;
use std::io;

/// Most sockets that one wait tells of.
const MAX_EVENTS: usize = 1024;
/// Memory for what one call sends.
const SEND_MEMORY: usize = 1 << 20;

pub struct EpollEngine {
    epoll: Epoll,
    events: Events,
    sockets: Vec<Option<Seat>>,
    setup: Setup,
    inbox: RecvBatch,
    outbox: SendBatch,
    traffic: Traffic,
}

struct Seat {
    socket: Socket,
    /// The kernel takes no more for now; writability is asked for.
    blocked: bool,
    /// What is sent on it at once is a super-packet.
    segmented: bool,
}

/// Room that one receive needs: for a super-packet, or for a byte more than is expected so that it shows.
fn room(setup: &Setup) -> usize {
    if setup.segments > 1 { gso::MAX_SUPER_PACKET.next_power_of_two() } else { setup.size + 1 }
}

/// Most datagrams that one call sends.
fn most(setup: &Setup) -> usize {
    match setup.segments {
        1 => (SEND_MEMORY / setup.size).clamp(1, BATCH).min(setup.depth),
        segments => segments,
    }
}

impl Engine for EpollEngine {
    const RECEIVES_WHILE_TELLING: bool = true;

    fn new(setup: &Setup) -> Result<EpollEngine, EngineError> {
        Ok(EpollEngine {
            epoll: Epoll::new().map_err(EngineError::Epoll)?,
            events: Events::with_capacity(setup.sockets.min(MAX_EVENTS)),
            sockets: (0..setup.sockets).map(|_| None).collect(),
            inbox: RecvBatch::new(room(setup)),
            outbox: SendBatch::new(most(setup), setup.size),
            setup: *setup,
            traffic: Traffic::default(),
        })
    }

    fn open(&mut self, number: usize, socket: Socket) -> io::Result<()> {
        let segmented = prepare_segments(&socket, &self.setup, &mut self.traffic);
        self.epoll.add(&socket, Interest::READ, number as u64)?;
        self.sockets[number] = Some(Seat { socket, blocked: false, segmented });
        Ok(())
    }

    #[inline]
    fn send(
        &mut self,
        number: usize,
        count: usize,
        mut write: impl FnMut(usize, &mut [u8]) -> usize,
    ) -> Result<usize, Refused> {
        let EpollEngine { epoll, sockets, outbox, traffic, .. } = self;
        let refused = |datagrams| move |error| Refused { datagrams, error };
        let Some(seat) = &mut sockets[number] else { return Err(refused(0)(io::ErrorKind::NotConnected.into())) };
        let count = count.min(outbox.capacity());
        (0..count).for_each(|index| outbox.put(index, |room| write(index, room)));
        match seat.send(outbox, count, traffic) {
            Err(error) if is_transient(&error) => {
                seat.blocked = true;
                let watched = epoll.modify(&seat.socket, Interest::READ.and(Interest::WRITE), number as u64);
                watched.map(|()| 0).map_err(refused(0))
            }
            outcome => outcome.map_err(refused(if seat.segmented { count } else { 1 })),
        }
    }

    fn socket(&self, number: usize) -> Option<&Socket> {
        self.sockets[number].as_ref().map(|seat| &seat.socket)
    }

    fn wait(&mut self, wait: Wait) -> io::Result<bool> {
        Ok(self.epoll.wait(&mut self.events, Some(wait.timeout()))? > 0)
    }

    fn events(&mut self, mut tell: impl FnMut(usize, Event<'_>)) {
        let EpollEngine { epoll, events, sockets, inbox, traffic, .. } = self;
        for ready in events.iter() {
            let number = ready.key as usize;
            let Some(seat) = &mut sockets[number] else { continue };
            if seat.blocked && ready.writable() {
                seat.blocked = false;
                match epoll.modify(&seat.socket, Interest::READ, ready.key) {
                    Ok(()) => tell(number, Event::Writable),
                    Err(error) => tell(number, Event::Failed(error)),
                }
            }
            if ready.readable() {
                receive(&seat.socket, inbox, traffic, |event| tell(number, event));
            }
        }
    }

    fn traffic(&self) -> Traffic {
        self.traffic
    }
}

impl Seat {
    #[inline]
    fn send(&mut self, outbox: &mut SendBatch, count: usize, traffic: &mut Traffic) -> io::Result<usize> {
        if self.segmented {
            match outbox.send_as_one(&self.socket, count) {
                Err(error) if refuses_segments(&error) => self.end_segments(&error, traffic)?,
                outcome => {
                    traffic.sends += u64::from(outcome.is_ok());
                    return outcome;
                }
            }
        }
        let sent = outbox.send(&self.socket, count)?;
        traffic.sends += sent as u64;
        Ok(sent)
    }

    #[cold]
    fn end_segments(&mut self, error: &io::Error, traffic: &mut Traffic) -> io::Result<()> {
        self.segmented = false;
        traffic.unsegmented = error.raw_os_error();
        gso::set_gso(&self.socket, 0)
    }
}

fn receive(socket: &Socket, inbox: &mut RecvBatch, traffic: &mut Traffic, mut tell: impl FnMut(Event<'_>)) {
    match inbox.receive(socket) {
        Ok(count) => {
            traffic.receives += count as u64;
            tell(Event::Batch);
            for part in inbox.parts().0.messages().flat_map(|got| parts(got.payload, got.segment)) {
                traffic.answers += 1;
                tell(Event::Datagram(part));
            }
        }
        Err(error) if is_transient(&error) => {}
        Err(error) => tell(Event::Failed(error)),
    }
}
