//! What goes wrong: with the bucket, the consumer, and the instances.

use std::time::Duration;

use super::WatchWorld;
use super::request::SimulatedRequest;
use crate::watch::machine::WatchEvent;

/// What happens to the bucket and to the consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BucketFault {
    /// Nothing.
    Stays,
    /// Messages expire, the oldest first.
    Ages,
    /// Messages expire, each in its own time.
    Expires,
    /// Somebody deletes the consumer.
    LosesConsumer,
    /// Somebody deletes the bucket, and creates it again.
    IsMadeAgain,
}

impl BucketFault {
    pub(super) fn ends_messages(self) -> bool {
        matches!(self, Self::Ages | Self::Expires)
    }

    /// Whether instances start and end. One that starts when the consumer is gone knows of nothing.
    fn lets_instances_end(self) -> bool {
        matches!(self, Self::Stays | Self::Ages | Self::Expires)
    }
}

impl WatchWorld {
    /// One step of the time in which things go wrong.
    pub(super) fn trouble(&mut self) {
        self.trouble_bucket();
        if self.chance.one_in(350) {
            self.note("the consumer forgets its pull");
            self.server.pull = None;
        }
        let place = self.chance.place(self.instances.len());
        let lets_end = self.fault.lets_instances_end();
        // An instance that does not notice that the bucket is another one may acknowledge a change
        // of the new one for one of the old one. It has only a sequence to say which it means.
        let notices = self.fault != BucketFault::IsMadeAgain || self.instances.len() == 1;
        match self.chance.below(700) {
            0 if lets_end => self.kill(place),
            1 if lets_end => self.stop(place),
            2 if notices => self.freeze(place),
            3 if notices => self.disconnect(place),
            _ => {}
        }
    }

    /// What happens to the bucket and to the consumer in one step.
    fn trouble_bucket(&mut self) {
        let expires = self.fault.ends_messages();
        if self.chance.one_in(if expires { 2 } else { 10 }) {
            let key = self.chance.place(self.keys);
            let id = self.server.put(key);
            self.all.insert(id, key);
            self.note(&format!("put {id:?} of key {key}"));
        }
        if expires && self.chance.one_in(2) {
            let messages = self.server.messages();
            if !messages.is_empty() {
                let id = match self.fault {
                    BucketFault::Ages => messages[0],
                    _ => messages[self.chance.place(messages.len())],
                };
                self.note(&format!("{id:?} expires"));
                self.server.remove(id.sequence);
            }
        }
        if self.fault == BucketFault::LosesConsumer && self.chance.one_in(500) {
            self.note("the consumer is deleted");
            let pull = self.server.delete();
            self.end_pull(pull);
        }
        if self.fault == BucketFault::IsMadeAgain && self.chance.one_in(500) {
            self.note("the bucket is made again");
            let pull = self.server.create_stream_again();
            self.end_pull(pull);
        }
    }

    /// The instance is gone at once.
    fn kill(&mut self, place: usize) {
        self.note(&format!("{place} is killed"));
        // What it has sent is on its way.
        if let Some(instance) = self.instances[place].take() {
            for (_, request) in instance.requests {
                self.deliver_one_way(request);
            }
        }
        self.next_start[place] = self.now + self.chance.micros(8_000_000);
    }

    /// The instance ends in order.
    fn stop(&mut self, place: usize) {
        self.note(&format!("{place} stops"));
        let now = self.now;
        if let Some(instance) = &mut self.instances[place] {
            instance.is_stopping = true;
            instance.machine.handle(WatchEvent::Stop, now);
        }
    }

    /// The instance does nothing for a while.
    fn freeze(&mut self, place: usize) {
        let time = self.chance.micros(60_000_000);
        self.note(&format!("{place} freezes for {time:?}"));
        if let Some(instance) = &mut self.instances[place] {
            instance.frozen_until = self.now + time;
        }
    }

    /// The instance loses its connection, and gets another one.
    fn disconnect(&mut self, place: usize) {
        self.note(&format!("{place} loses its connection"));
        let now = self.now;
        if let Some(instance) = &mut self.instances[place] {
            instance.messages.clear();
            // Acknowledgements are sent again.
            let is_lost =
                |request: &SimulatedRequest| !matches!(request, SimulatedRequest::Acknowledge(_));
            let is_attach = |(_, request): &(Duration, SimulatedRequest)| {
                matches!(request, SimulatedRequest::Attach)
            };
            if instance.requests.iter().any(is_attach) {
                // Its answer is waited for in vain.
                let at = now + Duration::from_secs(2);
                instance.answers.push((at, WatchEvent::NotAttached));
            }
            instance.requests.retain(|(_, request)| !is_lost(request));
            instance.inbox = None;
            instance.machine.handle(WatchEvent::Disturbed, now);
        }
    }
}
