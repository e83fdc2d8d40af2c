//! What the network and the server do with requests.

use super::setup::{SimulatedFault, millis};
use super::world::{Copy, Error, Happening, World};
use crate::pipeline::machine::Reply;

impl World {
    /// A driver hands a request to the client.
    pub(super) fn publish(&mut self, batch: usize, token: usize, item: usize, version: u32) {
        // What is sent while the connection is being lost is lost with it.
        if !self.up || (self.trouble() && self.tape.one_in(2)) {
            self.note(|| format!("world: the copy of item {item} of batch {batch} is lost"));
            return;
        }
        let most = if self.setup.trouble == 0 {
            3
        } else {
            self.setup.delay
        };
        let at = self.now.after(millis(self.tape.below(most)));
        let copy = Copy {
            batch,
            token,
            item,
            version,
            client: self.client,
        };
        self.schedule(at, Happening::Arrives(copy));
    }

    /// The server takes a copy.
    pub(super) fn arrive(&mut self, copy: &Copy) {
        // Every third item may be denied.
        if self.suffers(SimulatedFault::ItemsDenied) && copy.item.is_multiple_of(3) {
            if !self.tape.one_in(6) {
                self.schedule(self.now, Happening::Complained(copy.clone()));
            }
            return;
        }
        let reply = if self.suffers(SimulatedFault::StreamGone) {
            if self.sides[copy.batch].reads && self.tape.one_in(2) {
                Reply::Gone
            } else {
                Reply::NoResponders
            }
        } else if self.suffers(SimulatedFault::NoLeader) {
            match self.tape.below(3) {
                0 => Reply::NoResponders,
                1 => Reply::Again,
                _ => return,
            }
        } else if self.trouble() && self.tape.one_in(2) {
            match self.tape.below(4) {
                0 => Reply::Again,
                1 => Reply::NoResponders,
                2 => Reply::Outdated("too large"),
                _ => Reply::Failed("refused"),
            }
        } else if copy.version % 2 == 1 && self.version > copy.version {
            Reply::Outdated("too large for an old version")
        } else {
            self.apply(copy)
        };
        self.answer(copy, reply);
    }

    fn apply(&mut self, copy: &Copy) -> Reply<Error> {
        let side = &mut self.sides[copy.batch];
        let earlier = side.applied[copy.item];
        if let Some((at, place, _)) = earlier
            && side.ids[copy.item]
            && self.now.since(at) < self.setup.duplicate_window
        {
            return Reply::Done { place };
        }
        let times = earlier.map_or(1, |(_, _, times)| times + 1);
        self.place += 1;
        side.applied[copy.item] = Some((self.now, self.place, times));
        let is_right = times == 1 || side.reads;
        self.check(is_right, "an item is never applied twice");
        Reply::Done { place: self.place }
    }

    fn answer(&mut self, copy: &Copy, reply: Reply<Error>) {
        // Only what was carried out is answered twice: a server says no to each copy once.
        let is_good = matches!(reply, Reply::Done { .. }) || self.sides[copy.batch].reads;
        self.answers.push(reply);
        let answer = self.answers.len() - 1;
        let mut times = 1;
        let mut most = 3;
        if self.trouble() {
            match self.tape.below(3) {
                0 => most = 5_000,
                1 if is_good => times = 2,
                _ => times = 0,
            }
        }
        for _ in 0..times {
            let at = self.now.after(millis(self.tape.below(most)));
            self.schedule(at, Happening::Answered(copy.clone(), answer));
        }
    }

    pub(super) fn hear(&mut self, copy: &Copy, answer: usize) {
        let reply = self.answers[answer].clone();
        if self.up && copy.client == self.client && !self.suffers(SimulatedFault::InboxDenied) {
            self.note(|| format!("world: {copy:?} is answered {reply:?}"));
            let side = &mut self.sides[copy.batch];
            side.inbox.push_back((copy.token, copy.item, reply));
        }
    }
}
