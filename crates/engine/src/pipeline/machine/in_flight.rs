//! The requests in flight.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use super::attempts::Attempts;
use super::time::Time;

/// Requests that have been sent and not all answered, under one reply subject: one, or several whose
/// answers need not be told apart.
#[derive(Debug)]
pub(super) struct InFlightGroup<I> {
    pub(super) items: Range<usize>,
    pub(super) attempts: Attempts,
    /// Bytes of values that are still to be answered for, about.
    pub(super) weight: usize,
    /// When the last of its requests was sent.
    pub(super) sent: Time,
    /// The connection they were sent over.
    pub(super) epoch: u64,
    /// What was known of the stream.
    pub(super) info: Arc<I>,
    pub(super) answers: Answers,
}

impl<I> InFlightGroup<I> {
    /// How many requests are unanswered. Each of them holds a permit.
    pub(super) fn outstanding(&self) -> usize {
        self.items.len() - self.answers.all
    }
}

/// The answers that have come to a group of requests.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) all: usize,
    /// Where in the stream the requests stand that were carried out, as far as answers say so.
    pub(super) places: Vec<u64>,
    /// How many of the answers say that nobody took the request.
    pub(super) untaken: usize,
}

impl Answers {
    /// Whether each answer is about another request that was carried out. An answer that has come
    /// twice does not count as the answers to two requests.
    pub(super) fn are_all_done(&mut self) -> bool {
        // They come in the order of the stream, or nearly so.
        self.places.sort_unstable();
        self.places.dedup();
        self.places.len() == self.all
    }
}

/// The requests in flight, each group by the last token of its reply subject.
#[derive(Debug)]
pub(super) struct InFlight<I> {
    by_token: HashMap<usize, InFlightGroup<I>>,
    /// What was sent when, oldest first; entries of groups that have ended are skipped.
    order: VecDeque<(Time, usize)>,
    items: usize,
    weight: usize,
}

impl<I> Default for InFlight<I> {
    fn default() -> Self {
        Self {
            by_token: HashMap::new(),
            order: VecDeque::new(),
            items: 0,
            weight: 0,
        }
    }
}

impl<I> InFlight<I> {
    pub(super) fn launch(&mut self, token: usize, group: InFlightGroup<I>) {
        self.items += group.items.len();
        self.weight += group.weight;
        self.order.push_back((group.sent, token));
        self.by_token.insert(token, group);
    }

    /// Adds the next items to a group in flight.
    pub(super) fn extend(&mut self, token: usize, items: &Range<usize>, weight: usize, now: Time) {
        let Some(group) = self.by_token.get_mut(&token) else {
            return;
        };
        group.items.end = items.end;
        group.weight += weight;
        group.sent = now;
        self.items += items.len();
        self.weight += weight;
        self.order.push_back((now, token));
    }

    pub(super) fn get(&self, token: usize) -> Option<&InFlightGroup<I>> {
        self.by_token.get(&token)
    }

    pub(super) fn get_mut(&mut self, token: usize) -> Option<&mut InFlightGroup<I>> {
        self.by_token.get_mut(&token)
    }

    /// Takes note of an answer to one of a group's several requests.
    pub(super) fn answered(&mut self, token: usize) {
        let Some(group) = self.by_token.get_mut(&token) else {
            return;
        };
        let weight = group.weight / group.outstanding().max(1);
        group.answers.all += 1;
        group.weight -= weight;
        self.items -= 1;
        self.weight -= weight;
    }

    /// Takes out a group that is waited for no longer.
    pub(super) fn land(&mut self, token: usize) -> Option<InFlightGroup<I>> {
        let group = self.by_token.remove(&token)?;
        self.items -= group.outstanding();
        self.weight -= group.weight;
        Some(group)
    }

    /// The group that has waited longest for its answers, and since when.
    pub(super) fn oldest(&mut self) -> Option<(Time, usize)> {
        while let Some(&(sent, token)) = self.order.front() {
            let group = self.by_token.get(&token);
            if group.is_some_and(|group| group.sent == sent) {
                return Some((sent, token));
            }
            self.order.pop_front();
        }
        None
    }

    /// Those sent over an earlier connection than the one of this epoch.
    pub(super) fn before(&self, epoch: u64) -> Vec<usize> {
        let earlier = self.by_token.iter();
        sorted(earlier.filter(|(_, group)| group.epoch < epoch))
    }

    pub(super) fn tokens(&self) -> Vec<usize> {
        sorted(self.by_token.iter())
    }

    /// How many requests are in flight.
    pub(super) fn items(&self) -> usize {
        self.items
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_token.is_empty()
    }

    /// Bytes of values in flight.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }
}

/// The tokens in an order that does not depend on chance, so that a history can be played again.
fn sorted<'a, G: 'a>(groups: impl Iterator<Item = (&'a usize, G)>) -> Vec<usize> {
    let mut tokens: Vec<_> = groups.map(|(&token, _)| token).collect();
    tokens.sort_unstable();
    tokens
}
