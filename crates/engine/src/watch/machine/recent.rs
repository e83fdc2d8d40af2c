//! The keys whose changes were delivered lately.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::interface::ChangeId;

/// How many keys are remembered.
const REMEMBERED: usize = 8192;

/// The last change of each key that was done lately. The consumer may deliver an older one of that
/// key again, if its acknowledgement was lost.
#[derive(Debug, Default)]
pub(super) struct Recent {
    by_key: HashMap<Arc<str>, ChangeId>,
    order: VecDeque<(Duration, Arc<str>, ChangeId)>,
}

impl Recent {
    pub(super) fn insert(&mut self, key: Arc<str>, id: ChangeId, now: Duration) {
        let last = self.by_key.entry(Arc::clone(&key)).or_insert(id);
        *last = last.furthest(id);
        self.order.push_back((now, key, *last));
        if self.order.len() > REMEMBERED {
            self.forget_first();
        }
    }

    /// Whether this change or a later one of the key was done. What was stored later was not,
    /// whatever its sequence.
    pub(super) fn is_done(&self, key: &str, id: ChangeId) -> bool {
        let is_before = |last: &ChangeId| id.sequence <= last.sequence && id.time <= last.time;
        self.by_key.get(key).is_some_and(is_before)
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
        if let Some((_, key, id)) = self.order.pop_front()
            && self.by_key.get(&key) == Some(&id)
        {
            self.by_key.remove(&key);
        }
    }
}
