//! A stream with one message for each subject, as one node stores it.

use std::collections::{BTreeMap, HashMap};

/// A message. Times are in microseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SimMessage {
    pub(super) key: usize,
    /// `None`: a marker.
    pub(super) value: Option<u64>,
    pub(super) time: u64,
    pub(super) expires: Option<u64>,
    pub(super) replaces_all: bool,
}

/// A change that all nodes make in the same order.
#[derive(Clone, Debug)]
pub(super) enum StoreChange {
    Put(u64, SimMessage),
    Remove(u64),
    /// Sequences before this one are gone.
    RemoveBefore(u64),
}

#[derive(Clone, Debug, Default)]
pub(super) struct SimStore {
    pub(super) messages: BTreeMap<u64, SimMessage>,
    pub(super) by_key: HashMap<usize, u64>,
    pub(super) last_sequence: u64,
    pub(super) last_time: u64,
}

impl SimStore {
    pub(super) fn apply(&mut self, change: &StoreChange) {
        match change {
            StoreChange::Put(sequence, message) => {
                if message.replaces_all {
                    self.messages.clear();
                    self.by_key.clear();
                }
                if let Some(before) = self.by_key.insert(message.key, *sequence) {
                    self.messages.remove(&before);
                }
                self.last_sequence = *sequence;
                self.last_time = message.time;
                self.messages.insert(*sequence, message.clone());
            }
            StoreChange::Remove(sequence) => {
                if let Some(message) = self.messages.remove(sequence) {
                    self.by_key.remove(&message.key);
                }
            }
            StoreChange::RemoveBefore(sequence) => {
                let kept = self.messages.split_off(sequence);
                for message in std::mem::replace(&mut self.messages, kept).values() {
                    self.by_key.remove(&message.key);
                }
            }
        }
    }

    pub(super) fn first_sequence(&self) -> u64 {
        let first = self.messages.keys().next();
        first.copied().unwrap_or(self.last_sequence + 1)
    }

    /// The value of a key, as the server answers with it.
    pub(super) fn value(&self, key: usize) -> Option<u64> {
        let sequence = self.by_key.get(&key)?;
        self.messages[sequence].value
    }
}
