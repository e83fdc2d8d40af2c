//! What other clients, operators and failures do to the stream.

use super::ReplicaWorld;
use super::network::{Packet, SentFor};
use crate::replica::floors::{AnsweredMessage, ReplicaFloors};
use crate::replica::machine::PullEnd;
use crate::replica::simulation::reader::{KEYS, key_name};
use crate::replica::simulation::store::{SimMessage, SimStore, StoreChange};
use std::time::Duration;

impl ReplicaWorld {
    /// Makes a change at the leader, and takes note of what its keys are then.
    pub(super) fn change(&mut self, change: StoreChange) {
        self.note(|| format!("leader: {change:?}"));
        self.leader.apply(&change);
        self.lag.push_back(change);
        self.record();
    }

    pub(super) fn record(&mut self) {
        for key in 0..KEYS {
            let sequence = self.leader.by_key.get(&key);
            let message = sequence.map(|sequence| &self.leader.messages[sequence]);
            let value = message.and_then(|message| message.value);
            self.reader.record(key, value, self.now);
        }
    }

    pub(super) fn put(&mut self, is_own: bool) {
        let before = ReplicaFloors::position(self.machine.copy());
        let key = self.chance.place(KEYS);
        self.values += 1;
        let time = self.server_micros();
        let own = self
            .chance
            .one_in(5)
            .then(|| time + 100_000 * (1 + self.chance.below(9)));
        let by_age = (self.max_age > 0).then(|| time + self.max_age);
        let message = SimMessage {
            key,
            value: (!self.chance.one_in(4)).then_some(self.values),
            time,
            expires: [own, by_age].into_iter().flatten().min(),
            replaces_all: self.chance.one_in(40),
        };
        let sequence = self.leader.last_sequence + 1;
        self.change(StoreChange::Put(sequence, message));
        while self.leader.messages.len() > self.max_messages {
            let first = self.leader.first_sequence();
            self.change(StoreChange::Remove(first));
        }
        if is_own && self.connected {
            let delay = self.chance.micros(2_000);
            self.send(delay, Packet::Acknowledged(key, sequence, before));
        }
    }

    /// What other clients, operators and failures do.
    pub(super) fn trouble(&mut self) {
        if self.is_leaderless() {
            return;
        }
        for _ in 0..self.chance.below(3) {
            if self.created > 0 {
                let is_own = self.chance.one_in(4);
                self.put(is_own);
            }
        }
        if self.created > 0 && self.chance.one_in(12) {
            let sequences: Vec<u64> = self.leader.messages.keys().copied().collect();
            if !sequences.is_empty() {
                let place = self.chance.place(sequences.len());
                self.change(StoreChange::Remove(sequences[place]));
            }
        }
        if self.created > 0 && self.chance.one_in(60) {
            let all = self.leader.last_sequence + 1;
            self.change(StoreChange::RemoveBefore(all));
        }
        if self.chance.one_in(30) {
            // The server answers a single key, which this process has asked it for.
            let key = self.chance.place(KEYS);
            let copy = self.machine.copy();
            match self.leader.by_key.get(&key) {
                Some(&sequence) => {
                    let value = self.leader.value(key).map(u64::to_le_bytes);
                    let message = AnsweredMessage {
                        key: &key_name(key),
                        sequence,
                        value: value.as_ref().map(<[u8; 8]>::as_slice),
                    };
                    let before = ReplicaFloors::position(copy);
                    self.reader.floors.read(message, before, copy, self.now);
                }
                None => self.reader.floors.raise_complete_after(self.now),
            }
            self.reader.raise(key);
        }
        if self.chance.one_in(40) {
            self.disconnect();
        }
        if let Some(consumer) = &mut self.consumer
            && self.chance.one_in(40)
        {
            consumer.frozen_until = self.now + self.chance.micros(4_000_000);
        }
        if self.chance.one_in(60) {
            self.note(|| "the consumer is lost".to_owned());
            self.consumer = None;
        }
        if self.node_leads > 0 && self.chance.one_in(40) {
            self.elect();
        }
        if self.chance.one_in(50) {
            self.backup = Some(self.leader.clone());
        }
        if self.chance.one_in(60) {
            self.replace_stream();
        }
    }

    /// Another node leads. The one before it was frozen, and says what it knew when it goes on.
    fn elect(&mut self) {
        let former = self.state();
        self.node_leads = 1 + self.node_leads % 3;
        self.clock_ahead = self.chance.below(3) * 1_000_000;
        let election = Duration::from_secs(4) + self.chance.micros(2_000_000);
        self.leaderless_until = self.now + election;
        let from = self.leaderless_until + self.chance.micros(1_500_000);
        self.former = Some((former, from, from + self.chance.micros(400_000)));
    }

    /// The stream is deleted, created again, restored, or loses its last messages.
    pub(super) fn replace_stream(&mut self) {
        let before = self.consumer.take();
        let kind = self.chance.below(4);
        match (kind, self.backup.clone()) {
            (0, _) => {
                self.created += 100;
                self.leader = SimStore::default();
            }
            (1, Some(backup)) => self.leader = backup,
            (2, _) => {
                let last = self
                    .leader
                    .last_sequence
                    .saturating_sub(1 + self.chance.below(3));
                let gone = self.leader.messages.split_off(&(last + 1));
                for message in gone.values() {
                    self.leader.by_key.remove(&message.key);
                }
                self.leader.last_sequence = last;
                let stored = self.leader.messages.get(&last);
                self.leader.last_time = stored.map_or(0, |message| message.time);
            }
            _ => self.consumer = before.clone(),
        }
        if self.consumer.is_some() || before.is_none() && kind > 2 {
            return;
        }
        self.note(|| format!("the stream is replaced: {kind}"));
        // To replace a stream takes longer than a message is on its way. So none comes after a
        // write to the new stream. It might have the same sequence, and a floor would take it for
        // that write.
        self.leaderless_until = self.leaderless_until.max(self.in_order);
        self.node = self.leader.clone();
        self.lag.clear();
        self.record();
        if let Some(consumer) = before
            && self.connected
            && self.chance.one_in(2)
        {
            let pull = consumer.pulls.front().map_or(0, |(pull, _)| *pull);
            let sent_for = SentFor {
                number: consumer.number,
                pull,
            };
            self.send_in_order(Packet::PullEnded(sent_for, PullEnd::Trouble));
        }
    }
}
