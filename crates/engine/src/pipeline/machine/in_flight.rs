//! The requests in flight.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use super::attempts::Attempts;
use super::interface::AnswerOutcome;
use super::time::Time;

/// Requests in flight under one reply subject: one request, or several whose answers need not be
/// told apart.
#[derive(Debug)]
pub(super) struct InFlightGroup<I> {
    pub(super) items: Range<usize>,
    pub(super) attempts: Attempts,
    /// About how many bytes of values the unanswered requests have.
    pub(super) value_bytes: usize,
    /// When the last of its requests was sent.
    pub(super) last_sent: Time,
    /// The connection that they were sent over.
    pub(super) epoch: u64,
    /// The stream info that they were made from.
    pub(super) info: Arc<I>,
    pub(super) answers: GroupAnswers,
}

impl<I> InFlightGroup<I> {
    /// How many requests are unanswered. Each of them holds a permit.
    pub(super) fn outstanding(&self) -> usize {
        self.items.len() - self.answers.count
    }
}

/// The answers that have come to a group of several requests.
#[derive(Debug, Default)]
pub(super) struct GroupAnswers {
    pub(super) count: usize,
    /// The sequences of the messages that are stored, as far as the answers have one.
    sequences: Vec<u64>,
    /// How many answers say that nobody received the request.
    pub(super) no_responders: usize,
}

/// What the answers to a group say, once there are as many answers as requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GroupOutcome {
    AllDone,
    /// Some answers are not good.
    NotAllDone,
    /// An answer has come twice, so a request is unanswered.
    NotAllAnswered,
}

impl GroupAnswers {
    pub(super) fn into_outcome(mut self) -> GroupOutcome {
        let done = self.sequences.len();
        // They come in the order of the stream, or nearly so.
        self.sequences.sort_unstable();
        self.sequences.dedup();
        if self.sequences.len() < done {
            GroupOutcome::NotAllAnswered
        } else if done < self.count {
            GroupOutcome::NotAllDone
        } else {
            GroupOutcome::AllDone
        }
    }
}

/// The requests in flight. A group's token is the last token of its reply subject.
#[derive(Debug)]
pub(super) struct InFlight<I> {
    by_token: HashMap<usize, InFlightGroup<I>>,
    /// When each group last got a request, oldest first. An entry is out of date if its group is
    /// gone, or got more requests since.
    by_age: VecDeque<(Time, usize)>,
    requests: usize,
    value_bytes: usize,
}

impl<I> Default for InFlight<I> {
    fn default() -> Self {
        Self {
            by_token: HashMap::new(),
            by_age: VecDeque::new(),
            requests: 0,
            value_bytes: 0,
        }
    }
}

impl<I> InFlight<I> {
    pub(super) fn insert(&mut self, token: usize, group: InFlightGroup<I>) {
        self.requests += group.items.len();
        self.value_bytes += group.value_bytes;
        self.by_age.push_back((group.last_sent, token));
        self.by_token.insert(token, group);
    }

    /// Adds the next items to a group in flight.
    pub(super) fn extend(&mut self, token: usize, items: &Range<usize>, bytes: usize, now: Time) {
        let Some(group) = self.by_token.get_mut(&token) else {
            return;
        };
        group.items.end = items.end;
        group.value_bytes += bytes;
        group.last_sent = now;
        self.requests += items.len();
        self.value_bytes += bytes;
        self.by_age.push_back((now, token));
    }

    pub(super) fn get(&self, token: usize) -> Option<&InFlightGroup<I>> {
        self.by_token.get(&token)
    }

    /// Notes an answer to one of a group's several requests.
    pub(super) fn record_answer<E>(&mut self, token: usize, outcome: &AnswerOutcome<E>) {
        let Some(group) = self.by_token.get_mut(&token) else {
            return;
        };
        let bytes = group.value_bytes / group.outstanding().max(1);
        group.value_bytes -= bytes;
        group.answers.count += 1;
        match outcome {
            AnswerOutcome::NoResponders => group.answers.no_responders += 1,
            AnswerOutcome::Done {
                sequence: Some(sequence),
            } => group.answers.sequences.push(*sequence),
            _ => {}
        }
        self.requests -= 1;
        self.value_bytes -= bytes;
    }

    pub(super) fn remove(&mut self, token: usize) -> Option<InFlightGroup<I>> {
        let group = self.by_token.remove(&token)?;
        self.requests -= group.outstanding();
        self.value_bytes -= group.value_bytes;
        Some(group)
    }

    /// The group that has waited longest for its answers, and since when.
    pub(super) fn oldest(&mut self) -> Option<(Time, usize)> {
        while let Some(&(sent, token)) = self.by_age.front() {
            let group = self.by_token.get(&token);
            if group.is_some_and(|group| group.last_sent == sent) {
                return Some((sent, token));
            }
            self.by_age.pop_front();
        }
        None
    }

    /// The tokens of the groups that were sent over a connection before that of this epoch.
    pub(super) fn tokens_before(&self, epoch: u64) -> Vec<usize> {
        let groups = self.by_token.iter();
        sorted(groups.filter(|(_, group)| group.epoch < epoch))
    }

    pub(super) fn tokens(&self) -> Vec<usize> {
        sorted(self.by_token.iter())
    }

    /// How many requests are in flight.
    pub(super) fn requests(&self) -> usize {
        self.requests
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_token.is_empty()
    }

    /// About how many bytes of values are in flight.
    pub(super) fn value_bytes(&self) -> usize {
        self.value_bytes
    }
}

/// The tokens in order. The map's own order is random, and a history could not be played again.
fn sorted<'a, G: 'a>(groups: impl Iterator<Item = (&'a usize, G)>) -> Vec<usize> {
    let mut tokens: Vec<_> = groups.map(|(&token, _)| token).collect();
    tokens.sort_unstable();
    tokens
}
