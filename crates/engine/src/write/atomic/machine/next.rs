//! What to do next: begin an attempt, send more of it, wait, read, or give up.

use std::time::Duration;

use super::{AtomicAction, AtomicMachine, AtomicPhase, BatchOutcome};

impl<E: Clone> AtomicMachine<E> {
    pub(super) fn next_of_idle(&mut self, not_before: Duration) -> AtomicAction<E> {
        if self.is_late() {
            return match self.first_commit {
                // An answer to an earlier attempt may still come.
                Some(_)
                    if self.now < self.limits.finish_within && self.must_not_resend.is_none() =>
                {
                    AtomicAction::Wait {
                        until: self.limits.finish_within,
                    }
                }
                Some(_) => self.finish(BatchOutcome::Unclear(self.last_cause())),
                None => self.finish(BatchOutcome::Failed(self.last_cause())),
            };
        }
        if self.now < not_before {
            return AtomicAction::Wait {
                until: not_before.min(self.limits.send_within),
            };
        }
        if !self.is_up {
            return AtomicAction::Wait {
                until: self.limits.send_within,
            };
        }
        if self.may_begin() {
            self.phase = AtomicPhase::Beginning;
            self.attempt += 1;
            return AtomicAction::Begin {
                attempt: self.attempt,
            };
        }
        if self.must_not_resend.is_some() && self.was_looked_up {
            return self.finish(BatchOutcome::Unclear(self.last_cause()));
        }
        self.phase = AtomicPhase::LookingUp;
        AtomicAction::LookUp
    }

    pub(super) fn next_of_staging(
        &mut self,
        sent: usize,
        staged: usize,
        progress_at: Duration,
    ) -> AtomicAction<E> {
        let last = self.config.sizes.len() - 1;
        if staged >= last {
            return AtomicAction::Send {
                attempt: self.attempt,
                items: last..last + 1,
                commits: true,
            };
        }
        let count = self.room(sent, staged).min(last - sent);
        if count > 0 {
            return AtomicAction::Send {
                attempt: self.attempt,
                items: sent..sent + count,
                commits: false,
            };
        }
        let timeout = progress_at + self.answer_timeout(staged..sent);
        AtomicAction::Wait {
            until: timeout.min(self.limits.send_within),
        }
    }

    /// How many more messages may be in flight.
    fn room(&self, sent: usize, staged: usize) -> usize {
        // The first answer tells whether the server takes batches at all. A server that does not
        // would store each message by itself.
        if staged == 0 {
            return usize::from(sent == 0);
        }
        let in_flight: usize = self.config.sizes[staged..sent].iter().sum();
        let mut bytes = self.config.window_bytes.saturating_sub(in_flight);
        let mut count = self.config.window.saturating_sub(sent - staged);
        let fitting = self.config.sizes[sent..]
            .iter()
            .take(count)
            .take_while(|&&size| {
                let fits = size <= bytes;
                bytes = bytes.saturating_sub(size);
                fits
            });
        count = fitting.count();
        count.max(usize::from(sent == staged))
    }
}
