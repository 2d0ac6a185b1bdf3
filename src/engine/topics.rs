//! Who has subscribed to what on a shard.

use crate::protocol::Topic;
use std::collections::HashMap;
use std::hash::Hash;

/// The subscriptions of a shard's connections, which are named by `K`.
#[derive(Debug)]
pub struct Topics<K> {
    subscribers: HashMap<Topic, Vec<K>>,
    topics: HashMap<K, Vec<Topic>>,
}

impl<K> Default for Topics<K> {
    fn default() -> Topics<K> {
        Topics { subscribers: HashMap::new(), topics: HashMap::new() }
    }
}

impl<K: Clone + Eq + Hash> Topics<K> {
    /// Adds subscriptions of one connection; those it has already change nothing.
    pub fn subscribe(&mut self, key: &K, topics: Vec<Topic>) {
        for topic in topics {
            let own = self.topics.entry(key.clone()).or_default();
            if !own.contains(&topic) {
                own.push(topic);
                self.subscribers.entry(topic).or_default().push(key.clone());
            }
        }
    }

    /// Ends all subscriptions of a connection.
    pub fn leave(&mut self, key: &K) {
        if self.topics.is_empty() {
            return;
        }
        for topic in self.topics.remove(key).unwrap_or_default() {
            let Some(subscribers) = self.subscribers.get_mut(&topic) else { continue };
            subscribers.retain(|other| other != key);
            if subscribers.is_empty() {
                self.subscribers.remove(&topic);
            }
        }
    }

    /// Who has subscribed to a topic, longest first.
    pub fn subscribers(&self, topic: Topic) -> &[K] {
        self.subscribers.get(&topic).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscriber_hears_a_topic_once_until_it_leaves() {
        let mut topics = Topics::default();
        topics.subscribe(&1, vec![Topic(7), Topic(8), Topic(7)]);
        topics.subscribe(&2, vec![Topic(7)]);
        topics.subscribe(&1, vec![Topic(7)]);
        assert_eq!((topics.subscribers(Topic(7)), topics.subscribers(Topic(8))), (&[1, 2][..], &[1][..]));
        topics.leave(&1);
        topics.leave(&3);
        assert_eq!((topics.subscribers(Topic(7)), topics.subscribers(Topic(8))), (&[2][..], &[][..]));
    }
}
