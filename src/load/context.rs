//! What a thread knows beside its connections or sockets: the run's phase, who is to be looked after, who gets the next
//! request, who was answered yet, and what was measured. The same for streams and datagrams.

use super::dispatcher::Dispatcher;
use super::histograms::{Sample, Series};
use super::pacer::Pacer;
use super::pipeline::SendTimes;
use super::recorder::{ErrorKind, Recorder};
use super::shared::{Phase, Shared, StartFailure};
use super::thread_plan::ThreadPlan;
use super::tick::{ReadyQueue, Tick};
use crate::units::Nanos;

/// What one thread knows of the run and has measured.
#[derive(Debug)]
pub struct Context<'a> {
    pub shared: &'a Shared,
    in_slices: bool,
    pub tick: Tick,
    pub recorder: Recorder,
    dispatcher: Dispatcher,
    /// Those to be advanced before the next wait.
    ready: ReadyQueue,
    admission: Admission,
}

/// How many were begun, and how many of those wait for their first answer.
#[derive(Debug)]
struct Admission {
    connections: usize,
    begun: usize,
    waiting: usize,
    at_once: usize,
}

impl<'a> Context<'a> {
    /// `own`: the protocol's own series.
    pub fn new(plan: &ThreadPlan, own: &'static [&'static str], shared: &'a Shared) -> Context<'a> {
        let series = Series { paced: plan.pacer != Pacer::ClosedLoop, own };
        let ThreadPlan { connections, admit_at_once: at_once, .. } = *plan;
        Context {
            shared,
            in_slices: shared.gate().is_some(),
            tick: Tick::NONE,
            recorder: Recorder::new(shared, series),
            dispatcher: Dispatcher::new(plan.pacer, plan.active),
            ready: ReadyQueue::new(connections),
            admission: Admission { connections, begun: 0, waiting: 0, at_once },
        }
    }

    /// A turn begins; `done` was read right after the wait. Whether the phase is a new one.
    #[inline]
    pub fn begin_tick(&mut self, done: Nanos) -> bool {
        let changed = self.tick.begin(done, self.shared);
        self.dispatcher.follow(self.tick.phase, self.shared);
        changed
    }

    /// What comes in from now on was received at `done`, read right after the receive. The phase stays the turn's.
    #[inline]
    pub fn refresh(&mut self, done: Nanos) {
        self.tick.refresh(done, self.shared);
    }

    /// One is to be advanced. Whatever makes it able to take another request wakes it too.
    #[inline]
    pub fn wake(&mut self, number: usize) {
        self.dispatcher.freed(number);
        self.ready.wake(number);
    }

    /// The next that is to be advanced. Those woken meanwhile are too, so call it until there is none.
    #[inline]
    pub fn next_ready(&mut self) -> Option<usize> {
        self.ready.next()
    }

    /// A request was answered.
    #[inline]
    pub fn answered(&mut self, times: SendTimes) {
        let SendTimes { intended, sent } = times;
        let sample = Sample { intended, sent, done: self.tick.done };
        self.recorder.answered(sample, self.counts(intended), self.shared);
        self.recorder.in_slice(self.tick.done, self.tick.phase == Phase::Run && !self.tick.counting);
    }

    /// Whether what was meant to be sent then counts. A slice waits for all its answers, so that of each request counts,
    /// however long it took; else a slice would know no time that is longer than itself.
    #[inline]
    fn counts(&self, intended: Nanos) -> bool {
        if self.in_slices { self.shared.counting(intended) } else { self.tick.counting }
    }

    /// Something came without a request: it is recorded in the first of the protocol's own series.
    #[inline]
    pub fn pushed(&mut self, sent: Nanos) {
        self.recorder.own(0, self.tick.done.since(sent), self.tick.counting);
    }

    /// The number of the next that may begin its way to its first answer; from now on it is begun.
    pub fn begin_next(&mut self) -> Option<usize> {
        let Admission { connections, begun, waiting, at_once } = &mut self.admission;
        let may_begin = begun < connections && waiting < at_once;
        may_begin.then(|| {
            *waiting += 1;
            *begun += 1;
            *begun - 1
        })
    }

    /// Those with smaller numbers are begun.
    pub fn begun(&self) -> usize {
        self.admission.begun
    }

    /// The run goes on whether or not all were admitted: the others are begun too.
    pub fn begin_all(&mut self) {
        self.admission.begun = self.admission.connections;
    }

    /// One had its first answer.
    pub fn admit(&mut self) {
        self.admission.waiting = self.admission.waiting.saturating_sub(1);
        self.shared.admit();
    }

    /// An error that ends the run if it has not begun yet.
    #[cold]
    pub fn error(&mut self, kind: ErrorKind, failure: impl FnOnce() -> StartFailure) {
        self.recorder.error(kind);
        if self.tick.phase == Phase::Admit {
            self.shared.fail_start(failure());
        }
    }

    /// Whether it is by a schedule that requests are sent.
    #[inline]
    pub fn is_paced(&self) -> bool {
        self.dispatcher.paces()
    }

    /// The next instant at which a request is due. `None` where only an event lets it go on, as in a closed loop.
    #[inline]
    pub fn next_send(&self) -> Option<Nanos> {
        self.dispatcher.next()
    }

    /// Notes the requests that are due by `now`, and by how much the generator is late to look at each.
    #[inline]
    pub fn note_due(&mut self, now: Nanos) {
        while let Some(late) = self.dispatcher.poll_due(now) {
            let counts = self.counts(now.since(late));
            self.recorder.timer_error(late, counts);
        }
    }

    /// As [`Dispatcher::dispatch`]; the member is woken.
    #[inline]
    pub fn dispatch(&mut self, can_take: impl FnMut(usize) -> bool) -> Option<(usize, Nanos)> {
        let dispatched = self.dispatcher.dispatch(can_take);
        if let Some((number, _)) = dispatched {
            self.ready.wake(number);
        }
        dispatched
    }

    /// As [`Dispatcher::can_dispatch`].
    #[inline]
    pub fn can_dispatch(&self) -> bool {
        self.dispatcher.can_dispatch()
    }

    /// Updates the live line's figures.
    pub fn publish(&mut self) {
        self.recorder.publish(self.shared);
    }
}
