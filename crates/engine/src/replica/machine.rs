//! Decides what a replica does, without I/O and without a clock: events and the time go in, actions
//! come out.
//!
//! A copy follows the stream by a consumer. The consumer is not told of every value that goes
//! (values expire, are purged, or are discarded), so the copy is compared with the leader again and
//! again. The leader says how far its stream goes and how many subjects it has. A copy that has
//! followed without a gap up to that position has at least the subjects that the leader has. So if
//! it has as many, it has the same: it is complete as of the time at which the question was sent.
//!
//! Times are since the replica was made.

mod asking;
mod audit;
mod consumer;
mod feed;
mod history;
mod interface;
mod leadership;
mod lifecycle;
mod questions;
mod take;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use self::audit::Audit;
use self::feed::{Feed, FeedState};
use self::history::History;
pub(super) use self::interface::{
    Answered, ConsumerCheck, Creation, Delivery, DeniedRequest, Listed, MessagePull, MessageTtl,
    OffReason, Phase, PullEnd, ReplicaAction, ReplicaDemand, ReplicaEvent, StreamState,
};
use self::leadership::Leadership;
use self::lifecycle::Pauses;
use self::questions::Questions;
use super::copy::ReplicaCopy;
use super::memory::ReplicaMemory;

/// How long after the last read the copy is given up.
const UNUSED: Duration = Duration::from_secs(300);

/// Connections that are lost over a copy, in a row, before it is given up.
const LOSSES: u32 = 3;

/// What of the stream must stay the same.
#[derive(Debug, PartialEq, Eq)]
struct StreamIdentity {
    created: String,
    max_age: u64,
    message_ttl: bool,
}

impl StreamIdentity {
    fn of(state: &StreamState) -> Self {
        Self {
            created: state.created.clone(),
            max_age: state.max_age,
            message_ttl: state.message_ttl,
        }
    }
}

/// What a replica does, and what it knows.
#[derive(Debug)]
pub(super) struct ReplicaMachine {
    memory: Arc<ReplicaMemory>,
    demand: ReplicaDemand,
    /// How many messages are asked for at once.
    pull_messages: u64,
    phase: Phase,
    connected: bool,
    copy: Option<Arc<ReplicaCopy>>,
    stream: Option<StreamIdentity>,
    feed: Option<Feed>,
    leadership: Leadership,
    questions: Questions,
    history: History,
    audit: Audit,
    /// When the leader last answered about this stream.
    answered_at: Duration,
    /// When somebody last read.
    wanted: Duration,
    /// When to begin anew: after trouble, or after there was no copy for a while.
    begin_at: Option<Duration>,
    /// Since when the copy has been live.
    live_since: Option<Duration>,
    /// The next pauses.
    pauses: Pauses,
    losses: u32,
    repairs: u64,
    next_number: u64,
    actions: VecDeque<ReplicaAction>,
}

impl ReplicaMachine {
    /// `pull_messages`: how many messages are asked for at once.
    pub(super) fn new(
        memory: Arc<ReplicaMemory>,
        demand: ReplicaDemand,
        pull_messages: u64,
        connected: bool,
    ) -> Self {
        Self {
            memory,
            demand,
            pull_messages,
            phase: Phase::Off(OffReason::Unused),
            connected,
            copy: None,
            stream: None,
            feed: None,
            leadership: Leadership::default(),
            questions: Questions::default(),
            history: History::new(),
            audit: Audit::default(),
            answered_at: Duration::ZERO,
            wanted: Duration::ZERO,
            begin_at: None,
            live_since: None,
            pauses: Pauses::default(),
            losses: 0,
            repairs: 0,
            next_number: 1,
            actions: VecDeque::new(),
        }
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// The copy, complete or not.
    pub(super) fn copy(&self) -> Option<&Arc<ReplicaCopy>> {
        self.copy.as_ref()
    }

    /// How many times keys were dropped that had gone without an event, or the copy was begun anew.
    pub(super) fn repairs(&self) -> u64 {
        self.repairs
    }

    /// Since when a question to the leader is without an answer.
    pub(super) fn unanswered_since(&self) -> Option<Duration> {
        self.questions.open_since()
    }

    pub(super) fn demand(&self) -> ReplicaDemand {
        self.demand
    }

    pub(super) fn set_demand(&mut self, demand: ReplicaDemand) {
        self.demand = demand;
    }

    pub(super) fn next_action(&mut self) -> Option<ReplicaAction> {
        self.actions.pop_front()
    }

    /// Records what has happened.
    pub(super) fn handle(&mut self, event: ReplicaEvent<'_>, now: Duration) {
        match event {
            ReplicaEvent::Wanted { question } => self.is_wanted(question, now),
            ReplicaEvent::Connected => self.connected = true,
            ReplicaEvent::Disconnected => self.lose_connection(now),
            ReplicaEvent::Answered { number, answered } => self.on_answered(number, answered, now),
            ReplicaEvent::Created { number, creation } => self.on_created(number, creation, now),
            ReplicaEvent::Checked { number, check } => self.on_checked(number, check, now),
            ReplicaEvent::Delivered(delivery) => self.on_delivered(&delivery, now),
            ReplicaEvent::Unreadable => self.doubt(),
            ReplicaEvent::PullDenied => {
                self.turn_off(OffReason::Denied(DeniedRequest::NextMessages), now);
            }
            ReplicaEvent::Quarantined => self.quarantine(now),
            ReplicaEvent::Heartbeat {
                pull,
                delivered,
                position,
            } => self.on_heartbeat(pull, delivered, position, now),
            ReplicaEvent::PullEnded { pull, end } => self.on_pull_ended(pull, end, now),
            ReplicaEvent::Listed { number, listed } => self.on_listed(number, listed, now),
            ReplicaEvent::Tick => {}
        }
        self.turn(now);
    }

    /// When [`ReplicaEvent::Tick`] is due.
    pub(super) fn wake(&self, now: Duration) -> Option<Duration> {
        let feed = self.feed.as_ref();
        let silent = feed
            .filter(|feed| self.connected && feed.state == FeedState::Pulling)
            .map(|feed| feed.heard + self.silence());
        let unused = match self.phase {
            Phase::Off(_) => None,
            _ => Some(self.wanted + UNUSED),
        };
        let due = [
            self.begin_due(),
            self.question_due(now),
            silent,
            unused,
            self.audit.due().filter(|_| self.connected),
        ];
        due.into_iter().flatten().min()
    }

    /// Does what is due.
    fn turn(&mut self, now: Duration) {
        if !matches!(self.phase, Phase::Off(_)) && now >= self.wanted + UNUSED {
            self.turn_off(OffReason::Unused, now);
        }
        if self.begin_due().is_some_and(|due| due <= now) {
            self.begin_at = None;
            self.phase = Phase::Syncing;
            self.questions.ask(now);
        }
        self.look_after_feed(now);
        if self.audit.due().is_some_and(|due| due <= now) && self.connected {
            let question = self.question(now);
            self.audit.begin_listing(question);
            let number = question.number;
            self.actions.push_back(ReplicaAction::List { number });
        }
        while self.question_due(now).is_some_and(|due| due <= now) {
            let question = self.question(now);
            self.questions.sent(question);
            let number = question.number;
            self.actions.push_back(ReplicaAction::Ask { number });
        }
    }

    fn begin_due(&self) -> Option<Duration> {
        self.begin_at.filter(|_| self.connected)
    }

    fn is_wanted(&mut self, question: bool, now: Duration) {
        self.wanted = now;
        if matches!(self.phase, Phase::Off(_)) {
            // The pause of a bucket that cannot have a copy is over, or there is none.
            self.begin_at.get_or_insert(now);
        } else if question {
            self.questions.ask(now);
        }
    }

    /// Gives up the copy of a bucket that cannot be read by a consumer.
    fn quarantine(&mut self, now: Duration) {
        let is_known = matches!(
            self.phase,
            Phase::Off(OffReason::Unparsable | OffReason::LosesConnection)
        );
        if !is_known {
            self.turn_off(OffReason::Unparsable, now);
        }
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number - 1
    }
}
