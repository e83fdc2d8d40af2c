//! The stream and the consumer.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::watch::machine::ChangeId;

/// What the consumer sends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sent {
    Change {
        id: ChangeId,
        consumer_sequence: u64,
        deliveries: u64,
    },
    Heartbeat,
    Expired,
    /// The consumer is deleted.
    Gone,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct OpenPull {
    pub(super) instance: usize,
    /// The inbox, which is a new one for each life of a pull.
    pub(super) inbox: u64,
    expires: Duration,
    heartbeat: Duration,
}

#[derive(Debug)]
pub(super) struct SimulatedStream {
    /// Which one it is of those that had this name.
    pub(super) life: u64,
    /// The messages that it has, by sequence: when each was stored, and its key.
    messages: BTreeMap<u64, (u64, usize)>,
    pub(super) last: u64,
    pub(super) history: usize,
    /// The time of the last message. Each has its own.
    time: u64,
}

#[derive(Debug)]
pub(super) struct SimulatedConsumer {
    pub(super) stream: SimulatedStream,
    /// Which one it is of those that had this name.
    pub(super) life: u64,
    pub(super) exists: bool,
    /// When the consumer delivers what it waits for again.
    pending: BTreeMap<u64, Duration>,
    deliveries: BTreeMap<u64, u64>,
    again: VecDeque<u64>,
    next: u64,
    pub(super) consumer_sequence: u64,
    pub(super) pull: Option<OpenPull>,
    pub(super) settled_to: u64,
    max_pending: usize,
    pub(super) ack_wait: Duration,
}

impl SimulatedConsumer {
    pub(super) fn new(history: usize, max_pending: usize, ack_wait: Duration) -> Self {
        Self {
            stream: SimulatedStream {
                life: 1,
                messages: BTreeMap::new(),
                last: 0,
                history,
                time: 0,
            },
            life: 0,
            exists: false,
            pending: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            again: VecDeque::new(),
            next: 1,
            consumer_sequence: 0,
            pull: None,
            settled_to: 0,
            max_pending,
            ack_wait,
        }
    }

    pub(super) fn put(&mut self, key: usize) -> ChangeId {
        let stream = &mut self.stream;
        stream.last += 1;
        stream.time += 1;
        stream.messages.insert(stream.last, (stream.time, key));
        let id = ChangeId {
            sequence: stream.last,
            time: stream.time,
        };
        let of_key = stream
            .messages
            .iter()
            .filter(|(_, (_, other))| *other == key);
        let of_key: Vec<u64> = of_key.map(|(sequence, _)| *sequence).collect();
        for gone in of_key.iter().rev().skip(stream.history) {
            self.remove(*gone);
        }
        id
    }

    /// The messages that the stream has.
    pub(super) fn messages(&self) -> Vec<ChangeId> {
        let messages = self.stream.messages.iter();
        let id = |(&sequence, &(time, _))| ChangeId { sequence, time };
        messages.map(id).collect()
    }

    /// A message expires or is purged.
    pub(super) fn remove(&mut self, sequence: u64) {
        self.stream.messages.remove(&sequence);
        // A consumer does not wait for what is gone.
        self.acknowledge(sequence);
    }

    /// Somebody deletes the consumer. Returns the pull that ends.
    pub(super) fn delete(&mut self) -> Option<OpenPull> {
        self.exists = false;
        self.pending.clear();
        self.again.clear();
        self.deliveries.clear();
        self.pull.take()
    }

    /// The bucket is deleted and created again. Returns the pull that ends.
    pub(super) fn create_stream_again(&mut self) -> Option<OpenPull> {
        self.stream.life += 1;
        self.stream.messages.clear();
        self.stream.last = 0;
        self.delete()
    }

    /// Creates the consumer.
    pub(super) fn create(&mut self, first: u64) {
        self.exists = true;
        self.life += 1;
        self.next = first;
        // An instance that takes this consumer for the one before knows it by the numbers, which
        // are hardly those that it expects. Here they never are.
        self.consumer_sequence = (self.life - 1) * 1_000_000;
        self.settled_to = 0;
    }

    /// Up to which sequence nothing is waited for.
    pub(super) fn ack_floor(&self) -> u64 {
        let first = self.pending.first_key_value();
        first.map_or(self.next, |(sequence, _)| *sequence) - 1
    }

    pub(super) fn acknowledge(&mut self, sequence: u64) {
        self.pending.remove(&sequence);
        self.again.retain(|other| *other != sequence);
    }

    pub(super) fn give_back(&mut self, sequence: u64) {
        if self.pending.contains_key(&sequence) && !self.again.contains(&sequence) {
            self.again.push_back(sequence);
        }
    }

    pub(super) fn extend(&mut self, sequence: u64, now: Duration) {
        if let Some(time) = self.pending.get_mut(&sequence) {
            *time = now + self.ack_wait;
        }
    }

    pub(super) fn pending(&self) -> u64 {
        self.pending.len() as u64
    }

    /// Takes a pull, if no other one is open that somebody listens to.
    pub(super) fn open(
        &mut self,
        instance: usize,
        inbox: u64,
        now: Duration,
        times: (Duration, Duration),
        listens: impl Fn(OpenPull) -> bool,
    ) {
        self.pull.take_if(|pull| !listens(*pull));
        if self.pull.is_none() {
            self.pull = Some(OpenPull {
                instance,
                inbox,
                expires: now + times.0,
                heartbeat: now + times.1,
            });
        }
    }

    /// What is sent now, and to whom.
    pub(super) fn send(
        &mut self,
        now: Duration,
        heartbeat: Duration,
        listens: impl Fn(OpenPull) -> bool,
    ) -> Option<(OpenPull, Sent)> {
        if !self.exists {
            return self.pull.take().map(|pull| (pull, Sent::Gone));
        }
        let late: Vec<u64> = self
            .pending
            .iter()
            .filter(|(sequence, time)| now >= **time && !self.again.contains(sequence))
            .map(|(sequence, _)| *sequence)
            .collect();
        self.again.extend(late);
        self.pull.take_if(|pull| !listens(*pull));
        let pull = self.pull.as_mut()?;
        if now >= pull.expires {
            return self.pull.take().map(|pull| (pull, Sent::Expired));
        }
        if let Some(sequence) = self.again.pop_front() {
            let to = *pull;
            return Some((to, self.deliver(sequence, now)));
        }
        let next = self.stream.messages.range(self.next..).next();
        if let Some((&sequence, _)) = next
            && self.pending.len() < self.max_pending
        {
            self.next = sequence + 1;
            let to = *pull;
            return Some((to, self.deliver(sequence, now)));
        }
        if now >= pull.heartbeat {
            pull.heartbeat = now + heartbeat;
            return Some((*pull, Sent::Heartbeat));
        }
        None
    }

    fn deliver(&mut self, sequence: u64, now: Duration) -> Sent {
        self.pending.insert(sequence, now + self.ack_wait);
        self.consumer_sequence += 1;
        let deliveries = self.deliveries.entry(sequence).or_default();
        *deliveries += 1;
        let time = self.stream.messages[&sequence].0;
        Sent::Change {
            id: ChangeId { sequence, time },
            consumer_sequence: self.consumer_sequence,
            deliveries: *deliveries,
        }
    }
}
