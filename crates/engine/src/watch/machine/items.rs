//! The changes that are here and not done.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::interface::{CallOutcome, ChangeId};
use crate::watch::timing;

#[derive(Debug)]
struct Item {
    key: Arc<str>,
    /// Calls so far.
    calls: u32,
    /// Calls in a row that reached nobody.
    unreached: u32,
    /// When the next call may start.
    not_before: Duration,
    /// When the consumer was last known to wait for it.
    refreshed: Duration,
    /// Whether the message has removed the older ones of its key.
    replaces: bool,
    standing: Standing,
}

#[derive(Clone, Copy, Debug)]
enum Standing {
    /// The consumer waits for it, and delivered it under this number last.
    Confirmed(u64),
    /// Since then it is not known whether the consumer has it still. The stream may have dropped
    /// it, or another instance may have it.
    Doubtful(Duration),
}

impl Item {
    fn is_confirmed(&self) -> bool {
        matches!(self.standing, Standing::Confirmed(_))
    }
}

/// Changes in the order of the stream, and each key's changes.
///
/// With each event the machine asks for those that something is to be done about. So these are kept
/// apart: to look through all of them each time took most of the time of a busy watch.
#[derive(Debug, Default)]
pub(super) struct HeldChanges {
    by_id: BTreeMap<ChangeId, Item>,
    by_key: HashMap<Arc<str>, BTreeSet<ChangeId>>,
    /// Those in no call.
    waiting: BTreeSet<ChangeId>,
    /// Those of them whose last call failed, by when the next one may start.
    paused: BTreeSet<(Duration, ChangeId)>,
    /// How many are [`Standing::Doubtful`].
    doubtful: usize,
    /// Of those that are in a call or confirmed, none was refreshed before.
    oldest_refresh: Duration,
}

impl HeldChanges {
    pub(super) fn insert(
        &mut self,
        id: ChangeId,
        key: Arc<str>,
        number: u64,
        replaces: bool,
        now: Duration,
    ) {
        self.by_key.entry(Arc::clone(&key)).or_default().insert(id);
        let item = Item {
            key,
            calls: 0,
            unreached: 0,
            not_before: now,
            refreshed: now,
            replaces,
            standing: Standing::Confirmed(number),
        };
        self.waiting.insert(id);
        self.by_id.insert(id, item);
    }

    /// Removes a change. Returns its key.
    pub(super) fn remove(&mut self, id: ChangeId) -> Option<Arc<str>> {
        let item = self.by_id.remove(&id)?;
        self.waiting.remove(&id);
        self.paused.remove(&(item.not_before, id));
        self.doubtful -= usize::from(!item.is_confirmed());
        if let Some(of_key) = self.by_key.get_mut(&item.key) {
            of_key.remove(&id);
            if of_key.is_empty() {
                self.by_key.remove(&item.key);
            }
        }
        Some(item.key)
    }

    pub(super) fn all(&self) -> Vec<ChangeId> {
        self.by_id.keys().copied().collect()
    }

    /// The changes that are in no call.
    pub(super) fn waiting(&self) -> Vec<ChangeId> {
        self.waiting.iter().copied().collect()
    }

    /// Those of them of which it has not been known since then whether the consumer has them.
    pub(super) fn doubtful_since(&self, then: Duration) -> Vec<ChangeId> {
        if self.doubtful == 0 {
            return Vec::new();
        }
        let is_doubtful = |id: &&ChangeId| match self.by_id[*id].standing {
            Standing::Doubtful(since) => since <= then,
            Standing::Confirmed(_) => false,
        };
        self.waiting.iter().filter(is_doubtful).copied().collect()
    }

    /// Whether the consumer still has the change, as far as is known.
    pub(super) fn is_confirmed(&self, id: ChangeId) -> bool {
        let item = self.by_id.get(&id);
        item.is_some_and(Item::is_confirmed)
    }

    /// Notes that the change was delivered again. Returns whether it is here.
    pub(super) fn confirm(&mut self, id: ChangeId, number: u64, now: Duration) -> bool {
        let item = self.by_id.get_mut(&id);
        let is_here = item.is_some();
        if let Some(item) = item {
            self.doubtful -= usize::from(!item.is_confirmed());
            item.refreshed = now;
            item.standing = Standing::Confirmed(number);
        }
        is_here
    }

    /// Notes that the consumer may have the change no more.
    pub(super) fn doubt(&mut self, id: ChangeId, now: Duration) {
        if let Some(item) = self.by_id.get_mut(&id) {
            self.doubtful += usize::from(item.is_confirmed());
            item.standing = Standing::Doubtful(now);
        }
    }

    /// How many changes are here of those that the consumer has delivered up to this number, and
    /// still has.
    pub(super) fn confirmed_to(&self, delivered: u64) -> usize {
        let is_of_them = |item: &&Item| match item.standing {
            Standing::Confirmed(number) => number <= delivered,
            Standing::Doubtful(_) => false,
        };
        self.by_id.values().filter(is_of_them).count()
    }

    /// When the consumer was last known to wait for this change.
    pub(super) fn refreshed(&self, id: ChangeId) -> Option<Duration> {
        Some(self.by_id.get(&id)?.refreshed)
    }

    /// The changes of this key before this one that are in no call.
    pub(super) fn waiting_before(&self, key: &str, id: ChangeId) -> Vec<ChangeId> {
        let Some(of_key) = self.by_key.get(key) else {
            return Vec::new();
        };
        let waits = |id: &&ChangeId| self.waiting.contains(*id);
        of_key.range(..id).filter(waits).copied().collect()
    }

    /// The changes of this key that are in no call, and that a bucket with so much history has no
    /// more. `unheld`: a change of the key that is not here.
    pub(super) fn outdated(
        &self,
        key: &str,
        unheld: Option<ChangeId>,
        history: usize,
    ) -> Vec<ChangeId> {
        let Some(of_key) = self.by_key.get(key) else {
            return Vec::new();
        };
        let is_outdated = |(newer, id): &(usize, &ChangeId)| {
            newer + usize::from(unheld > Some(**id)) >= history && self.waiting.contains(*id)
        };
        let from_newest = of_key.iter().rev().enumerate();
        from_newest.filter(is_outdated).map(|(_, id)| *id).collect()
    }

    /// Whether later changes of the same key are here that have removed this one from the bucket.
    pub(super) fn is_superseded(&self, id: ChangeId, history: usize) -> bool {
        let Some(item) = self.by_id.get(&id) else {
            return false;
        };
        let of_key = &self.by_key[&item.key];
        let later = || of_key.iter().rev().take_while(|other| **other > id);
        later().count() >= history || later().any(|later| self.by_id[later].replaces)
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn calling(&self) -> usize {
        self.by_id.len() - self.waiting.len()
    }

    pub(super) fn first(&self) -> Option<ChangeId> {
        Some(*self.by_id.first_key_value()?.0)
    }

    /// Whether the change is its key's first, and no other one of the key is in a call.
    fn is_next_of_key(&self, id: ChangeId, item: &Item) -> bool {
        let of_key = &self.by_key[&item.key];
        // A change that came late may stand before one that is in a call.
        let is_calling = |other: &ChangeId| !self.waiting.contains(other);
        of_key.first() == Some(&id) && !of_key.iter().any(is_calling)
    }

    /// When the next call is due that is not due yet.
    pub(super) fn next_retry(&self, now: Duration) -> Option<Duration> {
        let mut later = self.paused.iter().filter(|(time, _)| *time > now);
        let next = later.find(|(_, id)| self.by_id[id].is_confirmed())?;
        Some(next.0)
    }

    /// Starts up to `max` calls. Returns the changes, and the number of each call.
    pub(super) fn start(&mut self, max: usize, now: Duration) -> Vec<(ChangeId, u32)> {
        let is_ready = |id: &&ChangeId| {
            let item = &self.by_id[*id];
            item.not_before <= now && item.is_confirmed() && self.is_next_of_key(**id, item)
        };
        let ready = self.waiting.iter().filter(is_ready).take(max);
        let ready: Vec<ChangeId> = ready.copied().collect();
        let mut started = Vec::with_capacity(ready.len());
        for id in ready {
            if let Some(item) = self.by_id.get(&id) {
                self.waiting.remove(&id);
                self.paused.remove(&(item.not_before, id));
                started.push((id, item.calls + 1));
            }
        }
        started
    }

    /// Notes the end of a call. Returns how many calls there were for the change; `None`: it is in
    /// no call.
    pub(super) fn call_ended(
        &mut self,
        id: ChangeId,
        outcome: CallOutcome,
        now: Duration,
    ) -> Option<u32> {
        let item = self.by_id.get_mut(&id)?;
        if !self.waiting.insert(id) {
            return None;
        }
        let pause = if outcome == CallOutcome::Unreachable {
            item.unreached = item.unreached.saturating_add(1);
            timing::backoff(timing::UNREACHABLE_PAUSE, item.unreached - 1)
        } else {
            item.unreached = 0;
            item.calls = item.calls.saturating_add(1);
            timing::backoff(timing::RETRY_PAUSE, item.calls - 1)
        };
        item.not_before = now + pause;
        self.paused.insert((item.not_before, id));
        Some(item.calls)
    }

    /// The changes of which the consumer has heard nothing for `age`. They count as told now. Not
    /// those that it is to deliver again.
    pub(super) fn due_for_in_progress(&mut self, now: Duration, age: Duration) -> Vec<ChangeId> {
        let mut old = Vec::new();
        if now < self.oldest_refresh + age {
            return old;
        }
        self.oldest_refresh = now;
        for (id, item) in &mut self.by_id {
            if self.waiting.contains(id) && !item.is_confirmed() {
                continue;
            }
            if now >= item.refreshed + age {
                item.refreshed = now;
                old.push(*id);
            }
            self.oldest_refresh = self.oldest_refresh.min(item.refreshed);
        }
        old
    }
}
