//! Publications for engines whose connections are threads or tasks of their own: each that subscribed has a mailbox.

use super::shard::{Message, Outbox};
use super::topics::Topics;
use crate::protocol::{Publication, Topic};
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes that a mailbox holds at most; what comes beyond is dropped, as the connection's thread or task is that far behind.
const MAX_MAILBOX_BYTES: usize = 1 << 20;

/// How a connection's thread or task is woken.
pub(super) trait Wake: Sized + Send + Sync {
    fn new() -> io::Result<Self>;

    fn wake(&self);
}

#[derive(Default)]
struct Queue {
    publications: Vec<Publication>,
    bytes: usize,
}

/// What was published and not yet delivered to one connection.
pub(super) struct Mailbox<W> {
    queue: Mutex<Queue>,
    pub(super) wake: W,
}

impl<W: Wake> Mailbox<W> {
    pub(super) fn new(wake: W) -> Arc<Mailbox<W>> {
        Arc::new(Mailbox { queue: Mutex::default(), wake })
    }

    fn put(&self, publication: &Publication) {
        let mut queue = lock(&self.queue);
        let bytes = queue.bytes + publication.held_bytes();
        if bytes <= MAX_MAILBOX_BYTES {
            queue.bytes = bytes;
            queue.publications.push(publication.clone());
            if queue.publications.len() == 1 {
                self.wake.wake();
            }
        }
    }

    /// Takes all that waits.
    pub(super) fn take(&self) -> Vec<Publication> {
        std::mem::take(&mut *lock(&self.queue)).publications
    }
}

/// The subscriptions of a shard's connections, which are named by numbers, and their mailboxes.
pub(super) struct Hub<W> {
    members: Mutex<Members<W>>,
    others: Vec<Outbox>,
}

struct Members<W> {
    topics: Topics<u64>,
    mailboxes: HashMap<u64, Arc<Mailbox<W>>>,
}

impl<W: Wake> Hub<W> {
    /// `others`: the inboxes of the server's other shards.
    pub(super) fn new(others: Vec<Outbox>) -> Arc<Hub<W>> {
        let members = Members { topics: Topics::default(), mailboxes: HashMap::new() };
        Arc::new(Hub { members: Mutex::new(members), others })
    }

    pub(super) fn subscribe(&self, number: u64, topics: Vec<Topic>, mailbox: &Arc<Mailbox<W>>) {
        let mut members = lock(&self.members);
        members.topics.subscribe(&number, topics);
        members.mailboxes.insert(number, mailbox.clone());
    }

    /// Ends all subscriptions of a connection.
    pub(super) fn leave(&self, number: u64) {
        let mut members = lock(&self.members);
        members.topics.leave(&number);
        members.mailboxes.remove(&number);
    }

    /// Puts what a session here published into the mailboxes here, and hands it to the other shards.
    pub(super) fn publish(&self, publications: Vec<Publication>) {
        if !publications.is_empty() {
            self.deliver(&publications);
            Message::publish(&self.others, &publications);
        }
    }

    /// Puts what was published on another shard into the mailboxes here.
    pub(super) fn deliver(&self, publications: &[Publication]) {
        let members = lock(&self.members);
        for publication in publications {
            let subscribers = members.topics.subscribers(publication.topic).iter();
            subscribers.flat_map(|number| members.mailboxes.get(number)).for_each(|mailbox| mailbox.put(publication));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
