//! What a watch shows of itself.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::machine::MachineCounts;

/// What a watch has counted since it began, and how far it is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchStats {
    /// Changes that were delivered.
    pub delivered: u64,
    /// Those of them that needed more than one attempt.
    pub redelivered: u64,
    /// Changes that were given up.
    pub given_up: u64,
    /// Changes that the bucket no longer had when their turn came.
    pub superseded: u64,
    /// How many changes the consumer had still to hand out when it handed out the last one.
    pub lag: u64,
    /// Whether this instance is the one that delivers.
    pub active: bool,
}

#[derive(Debug, Default)]
pub(super) struct WatchState(Mutex<Shown>);

#[derive(Debug, Default)]
struct Shown {
    stats: WatchStats,
    troubles: BTreeMap<WatchFault, String>,
}

/// What is wrong. The first is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum WatchFault {
    /// The bucket or the consumer cannot be had.
    Attach,
    /// The consumer cannot be asked for messages.
    Pull,
    /// Changes cannot be acknowledged.
    Acknowledgement,
}

impl WatchState {
    pub(super) fn stats(&self) -> WatchStats {
        self.lock().stats
    }

    pub(super) fn trouble(&self) -> Option<String> {
        self.lock().troubles.values().next().cloned()
    }

    pub(super) fn show(&self, counts: MachineCounts, lag: u64, active: bool) {
        self.lock().stats = WatchStats {
            delivered: counts.delivered,
            redelivered: counts.redelivered,
            given_up: counts.given_up,
            superseded: counts.superseded,
            lag,
            active,
        };
    }

    /// Notes the trouble, or that there is none. Returns whether that is news.
    pub(super) fn set_trouble(&self, fault: WatchFault, trouble: Option<String>) -> bool {
        let troubles = &mut self.lock().troubles;
        let is_news = troubles.get(&fault) != trouble.as_ref();
        match trouble {
            Some(trouble) => drop(troubles.insert(fault, trouble)),
            None => drop(troubles.remove(&fault)),
        }
        is_news
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shown> {
        let Self(shown) = self;
        shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
