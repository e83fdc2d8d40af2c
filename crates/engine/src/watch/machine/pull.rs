//! The pull by which the consumer delivers, and the signs that it gives.

use std::collections::VecDeque;
use std::time::Duration;

use super::interface::{WatchAction, WatchPullEnd};
use crate::watch::timing;

#[derive(Debug, Default)]
pub(super) struct PullState {
    /// When the open pull was sent; `None`: none is open.
    sent: Option<Duration>,
    /// When the next pull is sent.
    next: Option<Duration>,
    /// How many pulls in a row gave no sign.
    silent: u32,
    /// When the pull last gave a sign. `None`: what it gave is of unknown age.
    heard: Option<Duration>,
    /// When the pull last gave a sign. Unlike `heard`, it is never reset.
    last_heard: Duration,
}

impl PullState {
    /// The pull gives a sign.
    pub(super) fn hear(&mut self, now: Duration) {
        self.heard = Some(now);
        self.last_heard = now;
        self.silent = 0;
    }

    /// Whether the pull gives signs, so that no other instance is active.
    pub(super) fn is_active(&self, now: Duration) -> bool {
        self.heard
            .is_some_and(|heard| now < heard + timing::SILENCE)
    }

    /// Whether the pull has been silent for so long that another instance is active.
    pub(super) fn is_elsewhere(&self, now: Duration) -> bool {
        !self.is_active(now) && now >= self.last_heard + 2 * timing::SILENCE
    }

    /// The consumer was found.
    pub(super) fn attached(&mut self, now: Duration) {
        self.silent = 0;
        self.next = Some(now);
    }

    /// The consumer was not found.
    pub(super) fn detach(&mut self) {
        self.sent = None;
        self.next = None;
    }

    /// No more messages are asked for.
    pub(super) fn close(&mut self) {
        self.sent = None;
    }

    /// The signs so far say nothing of the consumer that there is now.
    pub(super) fn forget_signs(&mut self) {
        self.heard = None;
    }

    /// The process stood still, or the connection was lost. What has come since is of unknown age.
    pub(super) fn disturbed(&mut self, now: Duration) {
        self.heard = None;
        if self.sent.take().is_some() {
            self.next = Some(now);
        }
    }

    pub(super) fn ended(&mut self, end: WatchPullEnd, now: Duration) {
        self.sent = None;
        match end {
            WatchPullEnd::Expired => self.next = Some(now),
            WatchPullEnd::Refused => self.next = Some(now + timing::PULL_PAUSE),
            WatchPullEnd::Gone => {
                // Another instance may create the consumer anew, and be active at once.
                self.heard = None;
                self.next = None;
            }
        }
    }

    pub(super) fn wakes_at(&self) -> Option<Duration> {
        self.next
    }

    /// Gives up a silent pull, and sends the next one when it is due.
    pub(super) fn do_due_work(&mut self, actions: &mut VecDeque<WatchAction>, now: Duration) {
        if let Some(sent) = self.sent
            && now >= self.heard.unwrap_or_default().max(sent) + timing::SILENCE
        {
            self.silent += 1;
            self.sent = None;
            if self.silent.is_multiple_of(timing::SILENT_PULLS) {
                actions.push_back(WatchAction::Attach);
            } else {
                self.next = Some(now);
            }
        }
        if self.next.is_some_and(|time| now >= time) {
            self.next = None;
            self.sent = Some(now);
            actions.push_back(WatchAction::Pull {
                anew: !self.is_active(now),
            });
        }
    }
}
