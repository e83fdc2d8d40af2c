//! What the network and the server do with requests.

use super::setup::{SimulatedFault, millis};
use super::world::{Copy, Error, World, WorldEvent};
use crate::pipeline::machine::AnswerOutcome;

impl World {
    /// A driver hands a request to the client.
    pub(super) fn publish(&mut self, batch: usize, token: usize, item: usize, version: u32) {
        // A request that is sent while the connection is being lost is lost too.
        if !self.is_up || (self.trouble() && self.tape.one_in(2)) {
            self.note(|| format!("world: the copy of item {item} of batch {batch} is lost"));
            return;
        }
        let longest = if self.setup.trouble == 0 {
            3
        } else {
            self.setup.delay
        };
        let at = self.now.after(millis(self.tape.below(longest)));
        let copy = Copy {
            batch,
            token,
            item,
            version,
            client: self.client,
        };
        self.schedule(at, WorldEvent::Arrives(copy));
    }

    /// The server takes a copy.
    pub(super) fn arrive(&mut self, copy: &Copy) {
        // Every third item may be denied.
        if self.suffers(SimulatedFault::ItemsDenied) && copy.item.is_multiple_of(3) {
            if !self.tape.one_in(6) {
                self.schedule(self.now, WorldEvent::PermissionError(copy.clone()));
            }
            return;
        }
        let outcome = if self.suffers(SimulatedFault::StreamGone) {
            if self.records[copy.batch].reads && self.tape.one_in(2) {
                AnswerOutcome::StreamNotFound
            } else {
                AnswerOutcome::NoResponders
            }
        } else if self.suffers(SimulatedFault::NoLeader) {
            match self.tape.below(3) {
                0 => AnswerOutcome::NoResponders,
                1 => AnswerOutcome::TryAgain,
                _ => return,
            }
        } else if self.trouble() && self.tape.one_in(2) {
            match self.tape.below(6) {
                0 => AnswerOutcome::TryAgain,
                1 => AnswerOutcome::NoResponders,
                2 => AnswerOutcome::RefusedBeforeIdCheck("no space"),
                // A server that recognizes the copy acknowledges it.
                _ if self.knows(copy) => self.store(copy),
                3 => AnswerOutcome::RefusedMaybeStale("too large"),
                4 => {
                    self.store(copy);
                    AnswerOutcome::Unusable("garbled")
                }
                _ => AnswerOutcome::Refused("refused"),
            }
        } else if copy.version % 2 == 1 && self.version > copy.version && !self.knows(copy) {
            AnswerOutcome::RefusedMaybeStale("too large for an old version")
        } else {
            self.store(copy)
        };
        self.answer(copy, outcome);
    }

    /// Whether the server recognizes the copy by its id.
    fn knows(&self, copy: &Copy) -> bool {
        let record = &self.records[copy.batch];
        let is_recent = |at| self.now.since(at) < self.setup.duplicate_window;
        record.ids[copy.item] && record.stored[copy.item].is_some_and(|(at, ..)| is_recent(at))
    }

    fn store(&mut self, copy: &Copy) -> AnswerOutcome<Error> {
        let is_known = self.knows(copy);
        let record = &mut self.records[copy.batch];
        let earlier = record.stored[copy.item];
        if let Some((_, sequence, _)) = earlier
            && is_known
        {
            return AnswerOutcome::Done {
                sequence: Some(sequence),
            };
        }
        let times = earlier.map_or(1, |(_, _, times)| times + 1);
        self.sequence += 1;
        record.stored[copy.item] = Some((self.now, self.sequence, times));
        let is_right = times == 1 || record.reads;
        let is_expected = !record.not_stored[copy.item];
        self.check(is_right, "an item is never stored twice");
        self.check(
            is_expected,
            "an item is not stored after an error that does not say so",
        );
        AnswerOutcome::Done {
            sequence: Some(self.sequence),
        }
    }

    fn answer(&mut self, copy: &Copy, outcome: AnswerOutcome<Error>) {
        // A server refuses each copy once. An acknowledgement may come twice.
        let is_good =
            matches!(outcome, AnswerOutcome::Done { .. }) || self.records[copy.batch].reads;
        self.answers.push(outcome);
        let answer = self.answers.len() - 1;
        let mut times = 1;
        let mut longest = 3;
        if self.trouble() {
            match self.tape.below(3) {
                0 => longest = 5_000,
                1 if is_good => times = 2,
                _ => times = 0,
            }
        }
        for _ in 0..times {
            let at = self.now.after(millis(self.tape.below(longest)));
            self.schedule(at, WorldEvent::Answered(copy.clone(), answer));
        }
    }

    pub(super) fn deliver(&mut self, copy: &Copy, answer: usize) {
        let outcome = self.answers[answer].clone();
        if self.is_up && copy.client == self.client && !self.suffers(SimulatedFault::InboxDenied) {
            self.note(|| format!("world: {copy:?} is answered {outcome:?}"));
            let record = &mut self.records[copy.batch];
            record.inbox.push_back((copy.token, copy.item, outcome));
        }
    }
}
