//! The component that the instances call, and what it was promised: each change at least once, the
//! changes of a key one after the other, and in order.

use std::time::Duration;

use super::trouble::BucketFault;
use super::{TROUBLE, WatchWorld};
use crate::watch::machine::{CallOutcome, ChangeId, WatchEvent};

/// A call of the component.
#[derive(Clone, Copy, Debug)]
pub(super) struct SimulatedCall {
    /// The instance that calls, and which life of it.
    pub(super) caller: (usize, u64),
    pub(super) key: usize,
    pub(super) id: ChangeId,
    pub(super) ends: Duration,
    pub(super) outcome: CallOutcome,
    /// Whether the caller waits for its end.
    pub(super) is_awaited: bool,
}

impl WatchWorld {
    pub(super) fn call(&mut self, place: usize, id: ChangeId) {
        let key = self.all[&id];
        self.note(&format!("{place} calls for {id:?} of key {key}"));
        self.count += 1;
        if let Some(other) = self.calls.iter().find(|call| call.key == key) {
            let other = other.id;
            self.broken = Some(format!("{id:?} while {other:?} of key {key} is in a call"));
        }
        let last = self.last_called.entry(key).or_default();
        // After a consumer that somebody has deleted, the last changes come again, in order.
        if id.time < *last && self.fault != BucketFault::LosesConsumer {
            self.broken = Some(format!("{id:?} of key {key} after the one of {last}"));
        }
        *last = id.time;
        let in_trouble = self.now < TROUBLE;
        let outcome = match self.chance.below(8) {
            _ if in_trouble && self.is_away => CallOutcome::Unreachable,
            0 if in_trouble => CallOutcome::Failed,
            1 if in_trouble => CallOutcome::Unreachable,
            _ => CallOutcome::Delivered,
        };
        self.calls.push(SimulatedCall {
            caller: (place, self.lives[place]),
            key,
            id,
            ends: self.now + self.chance.micros(500_000),
            outcome,
            is_awaited: true,
        });
    }

    pub(super) fn end_calls(&mut self) {
        let now = self.now;
        let ended: Vec<SimulatedCall> =
            self.calls.extract_if(.., |call| call.ends <= now).collect();
        for call in ended {
            if call.outcome == CallOutcome::Delivered {
                self.delivered.insert(call.id);
            }
            let (place, life) = call.caller;
            if self.lives[place] != life || !call.is_awaited {
                continue;
            }
            if let Some(instance) = &mut self.instances[place] {
                let (id, outcome) = (call.id, call.outcome);
                let event = WatchEvent::CallEnded { id, outcome };
                instance.answers.push((now, event));
            }
        }
    }

    /// What the stream has and the component was not told of.
    pub(super) fn missing(&self) -> Vec<ChangeId> {
        let mut messages = self.server.messages();
        messages.retain(|id| !self.delivered.contains(id));
        messages
    }
}
