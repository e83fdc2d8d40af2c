//! The changes that are here and not done, and the keys whose changes were delivered lately.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::interface::CallOutcome;
use crate::watch::timing;

/// How many keys are remembered.
const REMEMBERED: usize = 8192;

#[derive(Debug)]
struct Item {
    key: Arc<str>,
    calling: bool,
    /// Calls so far.
    calls: u32,
    /// Calls in a row that reached nobody.
    unreached: u32,
    /// When the next call may start.
    not_before: Duration,
    /// When the consumer was last known to wait for it.
    refreshed: Duration,
    /// Whether older values of the key are gone from the bucket.
    replaces: bool,
    /// Its place among all items that ever came.
    number: u64,
}

/// Changes, by their sequences, and each key's changes in order.
#[derive(Debug, Default)]
pub(super) struct HeldChanges {
    by_sequence: BTreeMap<u64, Item>,
    by_key: HashMap<Arc<str>, BTreeSet<u64>>,
    calling: usize,
    numbers: u64,
}

impl HeldChanges {
    pub(super) fn insert(
        &mut self,
        sequence: u64,
        key: Arc<str>,
        calls: u32,
        replaces: bool,
        now: Duration,
    ) {
        self.numbers += 1;
        self.by_key
            .entry(Arc::clone(&key))
            .or_default()
            .insert(sequence);
        let item = Item {
            key,
            calling: false,
            calls,
            unreached: 0,
            not_before: now,
            refreshed: now,
            replaces,
            number: self.numbers,
        };
        self.by_sequence.insert(sequence, item);
    }

    /// Removes a change. Returns its key and its number.
    pub(super) fn remove(&mut self, sequence: u64) -> Option<(Arc<str>, u64)> {
        let item = self.by_sequence.remove(&sequence)?;
        self.calling -= usize::from(item.calling);
        if let Some(sequences) = self.by_key.get_mut(&item.key) {
            sequences.remove(&sequence);
            if sequences.is_empty() {
                self.by_key.remove(&item.key);
            }
        }
        Some((item.key, item.number))
    }

    /// The changes that are in no call.
    pub(super) fn waiting(&self) -> Vec<u64> {
        let waiting = |(sequence, item): (&u64, &Item)| (!item.calling).then_some(*sequence);
        self.by_sequence.iter().filter_map(waiting).collect()
    }

    /// Notes that the change was delivered again. Returns whether it is here.
    pub(super) fn refresh(&mut self, sequence: u64, now: Duration) -> bool {
        match self.by_sequence.get_mut(&sequence) {
            Some(item) => {
                item.refreshed = now;
                true
            }
            None => false,
        }
    }

    /// When the consumer was last known to wait for this change.
    pub(super) fn refreshed(&self, sequence: u64) -> Option<Duration> {
        Some(self.by_sequence.get(&sequence)?.refreshed)
    }

    /// The changes of this key before this sequence that are in no call.
    pub(super) fn waiting_before(&self, key: &str, sequence: u64) -> Vec<u64> {
        let Some(sequences) = self.by_key.get(key) else {
            return Vec::new();
        };
        let waits = |sequence: &&u64| !self.by_sequence[*sequence].calling;
        sequences.range(..sequence).filter(waits).copied().collect()
    }

    /// Whether a later change of the same key is here that has removed this one from the bucket.
    pub(super) fn is_superseded(&self, sequence: u64) -> bool {
        let Some(item) = self.by_sequence.get(&sequence) else {
            return false;
        };
        let mut later = self.by_key[&item.key].range(sequence + 1..);
        later.any(|later| self.by_sequence[later].replaces)
    }

    pub(super) fn len(&self) -> usize {
        self.by_sequence.len()
    }

    pub(super) fn calling(&self) -> usize {
        self.calling
    }

    /// The number of the item that came last.
    pub(super) fn last_number(&self) -> u64 {
        self.numbers
    }

    pub(super) fn first(&self) -> Option<u64> {
        Some(*self.by_sequence.first_key_value()?.0)
    }

    /// Whether the change is its key's first, and no other one of the key is in a call.
    fn is_next_of_key(&self, sequence: u64, item: &Item) -> bool {
        let sequences = &self.by_key[&item.key];
        // A change that came late may stand before one that is in a call.
        let is_calling = |other: &u64| self.by_sequence[other].calling;
        sequences.first() == Some(&sequence) && !sequences.iter().any(is_calling)
    }

    /// When the next call is due that is not due yet.
    pub(super) fn next_retry(&self, now: Duration) -> Option<Duration> {
        let waits = |item: &&Item| !item.calling && item.not_before > now;
        let waiting = self.by_sequence.values().filter(waits);
        waiting.map(|item| item.not_before).min()
    }

    /// Starts up to `max` calls. Returns the sequences, and the number of each call.
    pub(super) fn start(&mut self, max: usize, now: Duration) -> Vec<(u64, u32)> {
        let is_ready = |(sequence, item): &(&u64, &Item)| {
            item.not_before <= now && self.is_next_of_key(**sequence, item)
        };
        let ready = self.by_sequence.iter().filter(is_ready).take(max);
        let ready: Vec<u64> = ready.map(|(sequence, _)| *sequence).collect();
        let mut started = Vec::with_capacity(ready.len());
        for sequence in ready {
            if let Some(item) = self.by_sequence.get_mut(&sequence) {
                item.calling = true;
                self.calling += 1;
                started.push((sequence, item.calls + 1));
            }
        }
        started
    }

    /// Notes the end of a call. Returns how many calls there were for the change; `None`: it is in no
    /// call.
    pub(super) fn call_ended(
        &mut self,
        sequence: u64,
        outcome: CallOutcome,
        now: Duration,
    ) -> Option<u32> {
        let item = self.by_sequence.get_mut(&sequence)?;
        if !item.calling {
            return None;
        }
        item.calling = false;
        self.calling -= 1;
        let pause = if outcome == CallOutcome::Unreachable {
            item.unreached = item.unreached.saturating_add(1);
            timing::backoff(timing::UNREACHABLE_PAUSE, item.unreached - 1)
        } else {
            item.unreached = 0;
            item.calls = item.calls.saturating_add(1);
            timing::backoff(timing::RETRY_PAUSE, item.calls - 1)
        };
        item.not_before = now + pause;
        Some(item.calls)
    }

    /// The changes of which the consumer has heard nothing for `age`. They count as told now.
    pub(super) fn take_old(&mut self, now: Duration, age: Duration) -> Vec<u64> {
        let mut old = Vec::new();
        for (sequence, item) in &mut self.by_sequence {
            if now >= item.refreshed + age {
                item.refreshed = now;
                old.push(*sequence);
            }
        }
        old
    }
}

/// The last change of each key that was done lately. The consumer may deliver an older one of that key
/// again, if its acknowledgement was lost.
#[derive(Debug, Default)]
pub(super) struct Recent {
    by_key: HashMap<Arc<str>, u64>,
    order: VecDeque<(Duration, Arc<str>, u64)>,
}

impl Recent {
    pub(super) fn insert(&mut self, key: Arc<str>, sequence: u64, now: Duration) {
        let last = self.by_key.entry(Arc::clone(&key)).or_default();
        *last = sequence.max(*last);
        self.order.push_back((now, key, sequence));
        if self.order.len() > REMEMBERED {
            self.forget_first();
        }
    }

    /// Whether this change or a later one of the key was done.
    pub(super) fn is_done(&self, key: &str, sequence: u64) -> bool {
        self.by_key.get(key).is_some_and(|last| sequence <= *last)
    }

    pub(super) fn forget_old(&mut self, now: Duration, age: Duration) {
        while let Some((time, _, _)) = self.order.front()
            && now >= *time + age
        {
            self.forget_first();
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn forget_first(&mut self) {
        if let Some((_, key, sequence)) = self.order.pop_front()
            && self.by_key.get(&key) == Some(&sequence)
        {
            self.by_key.remove(&key);
        }
    }
}
