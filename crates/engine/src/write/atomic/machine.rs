//! The state machine of one atomic batch: when to send its messages, when to begin anew, and what
//! is known of it.
//!
//! The machine is plain data, without I/O and without a clock. Its driver tells it what has
//! happened ([`AtomicEvent`]) and the time since the call began. The machine says what to do next
//! ([`AtomicAction`]).
//!
//! An attempt sends the whole batch under a batch id of its own (ADR-50):
//!
//! ```text
//!            ┌── refused for now, no answer, connection lost (after a pause) ──┐
//!            ▼                                                                 │
//!        ┌──────┐    ┌─────────┐ all but the last are staged ┌────────────┐    │
//!  ─────▶│ idle │───▶│ staging │────────────────────────────▶│ committing │────┤
//!        └──────┘    └─────────┘                             └────────────┘    │
//!         │    ▲          │ refused, denied                        │ │         │
//!         │    │          ▼                                        │ │ acknowledged, or known
//!         │ looking up  failed ◀─────── refused, only commit ──────┘ └──────▶ stored
//!         │    ▲
//!         └────┴─ not to be sent again: is one of its messages there? ──▶ stored, or unclear
//! ```
//!
//! Three facts of the server decide:
//!
//! - Before the last message is sent, the one that commits, nothing can be stored. So whatever goes
//!   wrong before that is a clear failure.
//! - All messages have the same `Nats-Msg-Id`s in each attempt. The server looks at them when it
//!   commits, and refuses the whole batch if it knows one (server ≥ 2.12.1). So a second attempt
//!   stores nothing twice, and its answer tells that the first one is stored. That holds for the
//!   bucket's duplicate window.
//! - A message of the batch that is read at the leader proves that all of the batch is stored. That
//!   none is read proves nothing: other writes may have followed. (On a stream on one node only
//!   all messages prove it: the server may stop in mid-batch when a storage limit is reached.)

mod interface;
mod next;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

pub(super) use self::interface::{
    AtomicAction, AtomicAnswer, AtomicConfig, AtomicEvent, BatchOutcome, FoundBatch, SendProblem,
};
use crate::deadline::TimeLimits;

#[derive(Clone, Debug)]
enum AtomicPhase<E> {
    Idle {
        not_before: Duration,
    },
    Beginning,
    Staging {
        epoch: u64,
        sent: usize,
        staged: usize,
        /// When the attempt last made progress.
        progress_at: Duration,
    },
    Committing {
        epoch: u64,
        sent_at: Duration,
    },
    LookingUp,
    Over(BatchOutcome<E>),
}

/// The state of one batch.
#[derive(Debug)]
pub(super) struct AtomicMachine<E> {
    config: AtomicConfig,
    limits: TimeLimits,
    now: Duration,
    is_up: bool,
    epoch: u64,
    phase: AtomicPhase<E>,
    attempt: u32,
    backoff: Duration,
    /// When the batch was first sent as a whole. From then on it may be stored.
    first_commit: Option<Duration>,
    /// How often it was sent as a whole.
    commits: u32,
    /// Why the server could not take it when it was last tried.
    last_error: Option<E>,
    /// Why the batch must not be sent again. An earlier attempt may still be stored.
    must_not_resend: Option<E>,
    /// Whether the leader was asked for the batch's messages, and had none.
    was_looked_up: bool,
    /// What the driver has to do before anything else.
    pending_actions: VecDeque<AtomicAction<E>>,
}

impl<E: Clone> AtomicMachine<E> {
    pub(super) fn new(config: AtomicConfig, limits: TimeLimits) -> Self {
        Self {
            backoff: config.backoff.first,
            config,
            limits,
            now: Duration::ZERO,
            is_up: false,
            epoch: 0,
            phase: AtomicPhase::Idle {
                not_before: Duration::ZERO,
            },
            attempt: 0,
            first_commit: None,
            commits: 0,
            last_error: None,
            must_not_resend: None,
            was_looked_up: false,
            pending_actions: VecDeque::new(),
        }
    }

    /// The number of the last attempt. 0: there was none.
    pub(super) fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Takes an event.
    pub(super) fn handle(&mut self, now: Duration, event: AtomicEvent<E>) {
        self.now = self.now.max(now);
        if matches!(self.phase, AtomicPhase::Over(_)) {
            return;
        }
        match event {
            AtomicEvent::Connection { epoch, is_up } => self.on_connection(epoch, is_up),
            AtomicEvent::Begun(begun) => self.on_begun(begun),
            AtomicEvent::Sent { count, failure } => self.on_sent(count, failure),
            AtomicEvent::Answer { attempt, answer } => self.on_answer(attempt, answer),
            AtomicEvent::Denied(error) | AtomicEvent::Refreshed(Some(error)) => self.refuse(error),
            AtomicEvent::LookedUp(FoundBatch::Whole) => self.end_with(BatchOutcome::Stored(None)),
            AtomicEvent::LookedUp(FoundBatch::Part) => {
                self.end_with(BatchOutcome::PartlyStored(self.last_cause()));
            }
            AtomicEvent::LookedUp(FoundBatch::Nothing) => {
                self.was_looked_up = true;
                self.pause();
            }
            AtomicEvent::Refreshed(None) | AtomicEvent::Tick => {}
        }
    }

    /// What the driver has to do next.
    pub(super) fn next_action(&mut self, now: Duration) -> AtomicAction<E> {
        self.now = self.now.max(now);
        if let AtomicPhase::Over(outcome) = &self.phase {
            return AtomicAction::Finish(outcome.clone());
        }
        self.check_time();
        if let Some(action) = self.pending_actions.pop_front() {
            return action;
        }
        match self.phase.clone() {
            AtomicPhase::Idle { not_before } => self.next_of_idle(not_before),
            AtomicPhase::Staging {
                sent,
                staged,
                progress_at,
                ..
            } => self.next_of_staging(sent, staged, progress_at),
            AtomicPhase::Committing { sent_at, .. } => AtomicAction::Wait {
                until: self.commit_timeout(sent_at),
            },
            // The driver is doing what these phases wait for.
            AtomicPhase::Beginning | AtomicPhase::LookingUp => AtomicAction::Wait {
                until: self.limits.finish_within,
            },
            AtomicPhase::Over(outcome) => AtomicAction::Finish(outcome),
        }
    }

    fn on_connection(&mut self, epoch: u64, is_up: bool) {
        self.epoch = epoch;
        self.is_up = is_up;
        if let AtomicPhase::Staging { epoch: used, .. }
        | AtomicPhase::Committing { epoch: used, .. } = self.phase
            && (!is_up || epoch != used)
        {
            self.end_attempt(Duration::ZERO);
        }
    }

    fn on_begun(&mut self, begun: Result<u64, Option<E>>) {
        match begun {
            Ok(epoch) => {
                self.phase = AtomicPhase::Staging {
                    epoch,
                    sent: 0,
                    staged: 0,
                    progress_at: self.now,
                };
                self.on_connection(self.epoch, self.is_up);
            }
            Err(None) => self.pause(),
            Err(Some(error)) => self.refuse(error),
        }
    }

    fn on_sent(&mut self, count: usize, failure: Option<SendProblem<E>>) {
        let last = self.config.sizes.len() - 1;
        let AtomicPhase::Staging {
            epoch,
            sent,
            progress_at,
            ..
        } = &mut self.phase
        else {
            return;
        };
        let commits = *sent == last;
        *sent += count;
        *progress_at = self.now;
        if commits && count > 0 {
            self.phase = AtomicPhase::Committing {
                epoch: *epoch,
                sent_at: self.now,
            };
            self.first_commit.get_or_insert(self.now);
            self.commits += 1;
        }
        match failure {
            None => {}
            Some(SendProblem::Rejected(error)) => self.refuse(error),
            Some(SendProblem::NotNow) => self.end_attempt(self.backoff),
        }
    }

    /// Whether the message that commits was sent, and is not answered yet.
    pub(super) fn is_committing(&self) -> bool {
        matches!(self.phase, AtomicPhase::Committing { .. })
    }

    fn on_answer(&mut self, attempt: u32, answer: AtomicAnswer<E>) {
        match answer {
            // Each attempt has the same messages, so it does not matter whose answer it is.
            AtomicAnswer::Stored(sequence) => self.end_with(BatchOutcome::Stored(sequence)),
            AtomicAnswer::StoredAlone(error) => self.end_with(BatchOutcome::StoredAlone(error)),
            AtomicAnswer::PartlyStored(error) => self.end_with(BatchOutcome::PartlyStored(error)),
            // A late answer to an attempt that was given up.
            _ if attempt != self.attempt => {}
            AtomicAnswer::Staged => {
                if let AtomicPhase::Staging {
                    sent,
                    staged,
                    progress_at,
                    ..
                } = &mut self.phase
                {
                    *progress_at = self.now;
                    // During a change of leader two nodes may answer.
                    *staged = (*staged + 1).min(*sent);
                }
            }
            AtomicAnswer::TryAgain(error) => {
                self.last_error = Some(error);
                self.try_again();
            }
            AtomicAnswer::NoResponders => {
                self.try_again();
                if !self.is_late() {
                    self.pending_actions.push_back(AtomicAction::Refresh);
                }
            }
            AtomicAnswer::Refused(error) => self.refuse(error),
        }
    }

    fn try_again(&mut self) {
        if matches!(
            self.phase,
            AtomicPhase::Staging { .. } | AtomicPhase::Committing { .. }
        ) {
            self.end_attempt(self.backoff);
            self.backoff = self.config.backoff.after(self.backoff);
        }
    }

    /// The server does not take the batch, and will not later. That is the end, unless an earlier
    /// attempt may be stored.
    fn refuse(&mut self, error: E) {
        let commits_before = match self.phase {
            // The refusal is the answer to this commit.
            AtomicPhase::Committing { .. } => self.commits - 1,
            _ => self.commits,
        };
        if commits_before == 0 {
            self.end_with(BatchOutcome::Failed(Some(error)));
        } else {
            self.must_not_resend = Some(error);
            self.end_attempt(Duration::ZERO);
        }
    }

    fn check_time(&mut self) {
        match &self.phase {
            AtomicPhase::Staging {
                progress_at,
                sent,
                staged,
                ..
            } => {
                let timeout = *progress_at + self.answer_timeout(*staged..*sent);
                if self.is_late() {
                    self.end_attempt(Duration::ZERO);
                } else if self.now >= timeout {
                    self.end_attempt(self.backoff);
                }
            }
            AtomicPhase::Committing { sent_at, .. }
                if self.now >= self.commit_timeout(*sent_at) =>
            {
                self.end_attempt(Duration::ZERO);
            }
            _ => {}
        }
    }

    /// When a commit that is not answered is given up.
    fn commit_timeout(&self, sent_at: Duration) -> Duration {
        let timeout = sent_at + self.answer_timeout(0..0);
        if timeout >= self.limits.send_within {
            // There is no time for another attempt.
            self.limits.finish_within
        } else {
            timeout
        }
    }

    fn answer_timeout(&self, in_flight: Range<usize>) -> Duration {
        let bytes = self.config.sizes[in_flight].iter().sum();
        self.limits.answer_timeout(bytes)
    }

    /// Whether a further attempt could store the batch once at most, and would not be refused.
    fn may_begin(&self) -> bool {
        let in_window = self
            .first_commit
            .is_none_or(|first| self.now < first + self.config.resend_window);
        in_window && self.must_not_resend.is_none()
    }

    /// Whether nothing may be sent any more.
    fn is_late(&self) -> bool {
        self.now >= self.limits.send_within
    }

    fn end_attempt(&mut self, pause: Duration) {
        self.phase = AtomicPhase::Idle {
            not_before: self.now + pause,
        };
        self.pending_actions.push_back(AtomicAction::End);
    }

    fn pause(&mut self) {
        self.phase = AtomicPhase::Idle {
            not_before: self.now + self.backoff,
        };
        self.backoff = self.config.backoff.after(self.backoff);
    }

    fn last_cause(&self) -> Option<E> {
        self.must_not_resend
            .clone()
            .or_else(|| self.last_error.clone())
    }

    fn end_with(&mut self, outcome: BatchOutcome<E>) {
        self.phase = AtomicPhase::Over(outcome);
    }

    fn finish(&mut self, outcome: BatchOutcome<E>) -> AtomicAction<E> {
        self.end_with(outcome.clone());
        AtomicAction::Finish(outcome)
    }
}
