//! Fetching the stream info again: because nobody answers, or because an error may be outdated.

use std::sync::Arc;
use std::time::Duration;

use super::Machine;
use super::attempts::{Attempts, EarlierAttempts};
use super::interface::{Action, Items, Refreshed, Why};

/// Whether the stream info has to be fetched.
#[derive(Debug, Default)]
pub(super) struct Refresh {
    /// Nobody answered.
    pub(super) due: bool,
    pub(super) running: Option<Refreshing>,
}

/// Why the stream info is being fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refreshing {
    NobodyAnswered,
    /// For the first of the items in doubt.
    InDoubt,
}

/// An item that failed, unless the stream has been changed since `info` was fetched.
#[derive(Debug)]
pub(super) struct InDoubt<I, E> {
    pub(super) item: usize,
    pub(super) attempts: Attempts,
    pub(super) info: Arc<I>,
    pub(super) error: E,
}

impl<I, E: Clone> Machine<I, E> {
    pub(super) fn needs_refresh(&self) -> bool {
        self.refresh.due || !self.in_doubt.is_empty()
    }

    pub(super) fn next_refresh(&mut self) -> Option<Action<I, E>> {
        let (reason, stale) = if let Some(first) = self.in_doubt.front() {
            (Refreshing::InDoubt, &first.info)
        } else if self.refresh.due {
            (Refreshing::NobodyAnswered, &self.info)
        } else {
            return None;
        };
        let brief = reason == Refreshing::NobodyAnswered;
        let stale = Arc::clone(stale);
        self.refresh.due &= !brief;
        self.refresh.running = Some(reason);
        Some(Action::Refresh { stale, brief })
    }

    /// Nobody answers for the stream. If it is gone, so is all that has not been sent; if it is
    /// there, it is without a leader, and what was sent is tried again after a pause.
    pub(super) fn want_refresh(&mut self) {
        let is_recent = |refreshed| self.now.since(refreshed) < self.backoff;
        self.refresh.due |= !self.refreshed.is_some_and(is_recent);
    }

    pub(super) fn refreshed(&mut self, refreshed: Refreshed<I, E>, items: &impl Items<Info = I>) {
        // What was planned before may not fit what is known now.
        self.burst = 0;
        match self.refresh.running.take() {
            Some(Refreshing::NobodyAnswered) => {
                self.refreshed = Some(self.now);
                self.backoff = (self.backoff * 2).min(self.sizes.backoff.1);
                match refreshed {
                    Refreshed::Info { info, .. } => self.info = info,
                    Refreshed::Failed(error) => self.give_up_unsent(&Why::Given(error)),
                    // Without a leader, a server may be silent.
                    Refreshed::Silent => {}
                }
            }
            Some(Refreshing::InDoubt) => {
                let Some(InDoubt {
                    item,
                    mut attempts,
                    error,
                    ..
                }) = self.in_doubt.pop_front()
                else {
                    return;
                };
                match refreshed {
                    Refreshed::Info {
                        info,
                        max_message_changed: true,
                    } => {
                        self.info = info;
                        if attempts.earlier == EarlierAttempts::DoneOrNot {
                            // It was not: the server would have known this copy again.
                            attempts = attempts.with(EarlierAttempts::NotDone);
                        }
                        self.again_or_denied(item, attempts, Duration::ZERO, items);
                    }
                    _ => self.fail(item, false, Why::Given(error)),
                }
            }
            None => {}
        }
    }
}
