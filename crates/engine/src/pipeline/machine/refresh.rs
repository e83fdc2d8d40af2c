//! Fetching the stream info again: because nobody answers, or because an error may come from a
//! stale stream info.

use std::sync::Arc;
use std::time::Duration;

use super::Machine;
use super::attempts::Attempts;
use super::interface::{Action, FailReason, Items, RefreshOutcome};
use crate::retries::RetryReason;

/// Whether the stream info has to be fetched, or is being fetched.
#[derive(Debug, Default)]
pub(super) struct Refresh {
    /// Whether to fetch it because nobody answered.
    pub(super) is_due: bool,
    pub(super) running: Option<RefreshReason>,
}

/// Why the stream info is being fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RefreshReason {
    NobodyAnswered,
    /// An item was refused, maybe because of a stale stream info.
    RefusedMaybeStale,
}

/// An item that was refused, and awaits a fresh stream info. It fails, unless the stream has been
/// changed since `info` was fetched.
#[derive(Debug)]
pub(super) struct AwaitingRefresh<I, E> {
    pub(super) item: usize,
    pub(super) attempts: Attempts,
    /// The stream info that the request was made from.
    pub(super) info: Arc<I>,
    pub(super) error: E,
}

impl<I, E: Clone> Machine<I, E> {
    pub(super) fn needs_refresh(&self) -> bool {
        self.refresh.is_due || !self.awaiting_refresh.is_empty()
    }

    pub(super) fn next_refresh(&mut self) -> Option<Action<I, E>> {
        let (reason, stale) = if let Some(first) = self.awaiting_refresh.front() {
            (RefreshReason::RefusedMaybeStale, &first.info)
        } else if self.refresh.is_due {
            (RefreshReason::NobodyAnswered, &self.info)
        } else {
            return None;
        };
        let stale = Arc::clone(stale);
        let with_timeout = reason == RefreshReason::NobodyAnswered;
        if with_timeout {
            self.refresh.is_due = false;
        }
        self.refresh.running = Some(reason);
        Some(Action::RefreshInfo {
            stale,
            with_timeout,
        })
    }

    /// Fetches the stream info soon, because nobody answers for the stream. Either the stream does
    /// not exist, and all queued items fail. Or it has no leader now, and the items are sent again
    /// after a pause. One fetch serves all items that find nobody within a pause.
    pub(super) fn refresh_info_soon(&mut self) {
        let is_recent = |refreshed| self.now.since(refreshed) < self.backoff;
        self.refresh.is_due |= !self.last_refresh.is_some_and(is_recent);
    }

    pub(super) fn on_refreshed(
        &mut self,
        outcome: RefreshOutcome<I, E>,
        items: &impl Items<Info = I>,
    ) {
        // The burst was planned for the old stream info.
        self.cancel_burst();
        match self.refresh.running.take() {
            Some(RefreshReason::NobodyAnswered) => {
                self.last_refresh = Some(self.now);
                self.backoff = self.config.backoff.after(self.backoff);
                match outcome {
                    RefreshOutcome::Info { info, .. } => self.info = info,
                    RefreshOutcome::Failed(error) => self.fail_queued(&FailReason::Error(error)),
                    // The servers of a stream without a leader may not answer at all.
                    RefreshOutcome::TimedOut => {}
                }
            }
            Some(RefreshReason::RefusedMaybeStale) => self.judge_first_awaiting(outcome, items),
            None => {}
        }
    }

    /// Decides about the first item that awaits the stream info. If the stream has changed, the
    /// item is sent again. If not, its error stands.
    fn judge_first_awaiting(
        &mut self,
        outcome: RefreshOutcome<I, E>,
        items: &impl Items<Info = I>,
    ) {
        let Some(waiting) = self.awaiting_refresh.pop_front() else {
            return;
        };
        match outcome {
            RefreshOutcome::Info {
                info,
                write_rules_changed: true,
            } => {
                self.info = info;
                self.resend_unless_denied(
                    waiting.item,
                    waiting.attempts,
                    Duration::ZERO,
                    RetryReason::StreamChanged,
                    items,
                );
            }
            _ => self.fail_awaiting(waiting),
        }
    }

    /// Fails an item with the error that it had before the refresh.
    pub(super) fn fail_awaiting(&mut self, waiting: AwaitingRefresh<I, E>) {
        let maybe_stored = waiting.attempts.may_be_stored();
        self.fail(waiting.item, maybe_stored, FailReason::Error(waiting.error));
    }
}
