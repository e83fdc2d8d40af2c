//! The stream and the consumer.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// What the consumer sends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sent {
    Change {
        sequence: u64,
        consumer_sequence: u64,
        deliveries: u64,
    },
    Heartbeat,
    Expired,
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
pub(super) struct SimulatedConsumer {
    /// The keys of the messages that the stream has, by sequence.
    pub(super) stream: BTreeMap<u64, usize>,
    pub(super) last: u64,
    history: usize,
    /// When the consumer delivers what it waits for again.
    pending: BTreeMap<u64, Duration>,
    deliveries: BTreeMap<u64, u64>,
    again: VecDeque<u64>,
    next: u64,
    consumer_sequence: u64,
    pub(super) pull: Option<OpenPull>,
    pub(super) settled_to: u64,
    max_pending: usize,
    ack_wait: Duration,
}

impl SimulatedConsumer {
    pub(super) fn new(history: usize, max_pending: usize, ack_wait: Duration) -> Self {
        Self {
            stream: BTreeMap::new(),
            last: 0,
            history,
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

    pub(super) fn put(&mut self, key: usize) -> u64 {
        self.last += 1;
        self.stream.insert(self.last, key);
        let of_key = self.stream.iter().filter(|(_, other)| **other == key);
        let of_key: Vec<u64> = of_key.map(|(sequence, _)| *sequence).collect();
        for gone in of_key.iter().rev().skip(self.history) {
            self.stream.remove(gone);
            // A consumer does not wait for what is gone.
            self.pending.remove(gone);
            self.again.retain(|other| other != gone);
        }
        self.last
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
        let next = self.stream.range(self.next..).next();
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
        Sent::Change {
            sequence,
            consumer_sequence: self.consumer_sequence,
            deliveries: *deliveries,
        }
    }
}
