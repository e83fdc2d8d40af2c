//! Beginning a copy, giving it up, and when to begin anew.

use std::sync::Arc;
use std::time::Duration;

use super::audit::Audit;
use super::feed::Feed;
use super::history::History;
use super::interface::{OffReason, Phase, ReplicaAction, StreamState};
use super::{ReplicaMachine, StreamIdentity};
use crate::replica::copy::ReplicaCopy;

/// The first pause before a copy is read anew, and the longest.
const RESYNC: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(30));

/// How long there is no copy of a bucket that cannot have one, at first and at most.
const OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The same if connections were lost over it, which other calls need.
const OFF_AFTER_LOSSES: (Duration, Duration) =
    (Duration::from_secs(300), Duration::from_secs(3600));

/// A copy that has been live for so long has been read without trouble.
const SETTLED: Duration = Duration::from_secs(10);

/// The next pauses.
#[derive(Debug)]
pub(super) struct Pauses {
    resync: Duration,
    off: Duration,
    off_after_losses: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self {
            resync: RESYNC.0,
            off: OFF.0,
            off_after_losses: OFF_AFTER_LOSSES.0,
        }
    }
}

impl Pauses {
    /// Whether connections have been lost over the copy, and it has not been live for a while
    /// since.
    pub(super) fn have_grown_by_losses(&self) -> bool {
        self.off_after_losses > OFF_AFTER_LOSSES.0
    }

    /// Records that a copy has been live since then.
    pub(super) fn has_been_live(&mut self, since: Duration, now: Duration) {
        if now >= since + SETTLED {
            *self = Self::default();
        }
    }
}

impl ReplicaMachine {
    /// Begins a copy of the stream, if it can have one.
    pub(super) fn begin(&mut self, state: &StreamState, now: Duration) {
        let bytes = usize::try_from(state.bytes).unwrap_or(usize::MAX);
        if bytes > self.demand.max_bytes {
            return self.turn_off(OffReason::TooLarge, now);
        }
        let Some(copy) = ReplicaCopy::begin(&self.memory, bytes) else {
            return self.turn_off(OffReason::NoMemory, now);
        };
        let number = self.number();
        self.stream = Some(StreamIdentity::of(state));
        self.answered_at = now;
        self.copy = Some(Arc::new(copy));
        self.history = History::new();
        self.feed = Some(Feed::new(number, now));
        self.actions.push_back(ReplicaAction::Create { number });
    }

    /// Gives up the copy. It is begun anew after a pause.
    pub(super) fn resync(&mut self, now: Duration) {
        self.repairs += 1;
        self.drop_copy(now);
        self.phase = Phase::Syncing;
        self.begin_at = Some(now + self.pauses.resync);
        self.pauses.resync = (self.pauses.resync * 2).min(RESYNC.1);
    }

    /// Gives up the copy, until somebody reads after a pause.
    pub(super) fn turn_off(&mut self, reason: OffReason, now: Duration) {
        self.drop_copy(now);
        self.phase = Phase::Off(reason);
        self.begin_at = None;
        let (pause, max) = match reason {
            OffReason::Unused => return,
            OffReason::LosesConnection | OffReason::Unparsable => {
                (&mut self.pauses.off_after_losses, OFF_AFTER_LOSSES.1)
            }
            _ => (&mut self.pauses.off, OFF.1),
        };
        self.begin_at = Some(now + *pause);
        *pause = (*pause * 2).min(max);
    }

    pub(super) fn drop_copy(&mut self, now: Duration) {
        if let Some(feed) = self.feed.take() {
            let number = feed.number;
            self.actions.push_back(ReplicaAction::Delete { number });
        }
        if let Some(since) = self.live_since.take() {
            self.pauses.has_been_live(since, now);
        }
        self.copy = None;
        self.stream = None;
        self.questions.reset();
        self.audit = Audit::default();
    }
}
