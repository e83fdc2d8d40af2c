//! What is on its way between the instances and the server.

use std::time::Duration;

use super::instance::{Found, Instance};
use super::request::SimulatedRequest;
use super::trouble::BucketFault;
use super::{ENDLESS, WatchWorld};
use crate::watch::machine::{Attachment, ChangeRetention, PendingMessages, WatchEvent};
use crate::watch::simulation::server::{OpenPull, Sent};
use crate::watch::timing;

impl WatchWorld {
    /// Lets the server take what has arrived.
    pub(super) fn serve(&mut self, place: usize) {
        let now = self.now;
        let Some(instance) = &mut self.instances[place] else {
            return;
        };
        let arrived = instance.requests.extract_if(.., |(time, _)| *time <= now);
        let arrived: Vec<SimulatedRequest> = arrived.map(|(_, request)| request).collect();
        for request in arrived {
            let at = now + self.chance.micros(30_000);
            let event = match request {
                SimulatedRequest::Attach => self.attach(place),
                SimulatedRequest::Pending { question } if !self.server.exists => {
                    WatchEvent::Pending {
                        question,
                        pending: None,
                    }
                }
                SimulatedRequest::Pending { question } => {
                    let (life, ack_floor) = (self.server.life, self.server.ack_floor());
                    if let Some(found) = self.found_mut(place)
                        && found.consumer == life
                    {
                        found.ack_floor = found.ack_floor.max(ack_floor);
                    }
                    WatchEvent::Pending {
                        question,
                        pending: Some(PendingMessages {
                            count: self.server.pending(),
                            delivered: self.server.consumer_sequence,
                            settled_to: self.server.settled_to,
                            ack_wait: self.server.ack_wait,
                        }),
                    }
                }
                SimulatedRequest::Pull { inbox } => {
                    let listened = self.listened();
                    let times = (timing::PULL_EXPIRES, timing::HEARTBEAT);
                    self.server.open(place, inbox, now, times, |pull| {
                        is_listened(&listened, pull)
                    });
                    continue;
                }
                request => {
                    self.deliver_one_way(request);
                    continue;
                }
            };
            if let Some(instance) = &mut self.instances[place] {
                instance.answers.push((at, event));
            }
        }
    }

    /// As `WatchConsumer::attach` does it.
    fn attach(&mut self, place: usize) -> WatchEvent {
        let Some(instance) = &mut self.instances[place] else {
            return WatchEvent::NotAttached;
        };
        let server = &mut self.server;
        let is_other_stream = instance.found.is_none_or(|found| {
            found.stream != server.stream.life || server.stream.last < instance.machine.highest()
        });
        if !server.exists {
            server.create(match instance.found {
                Some(found) if !is_other_stream => {
                    let least = found.ack_floor + 1;
                    instance.machine.resume_at().unwrap_or(least).max(least)
                }
                _ => 1,
            });
        }
        let is_other = instance.found.is_none_or(|found| {
            found.stream != server.stream.life || found.consumer != server.life
        });
        instance.found = Some(Found {
            stream: server.stream.life,
            consumer: server.life,
            ack_floor: server.ack_floor(),
        });
        WatchEvent::Attached(Attachment {
            is_other,
            is_other_stream,
            settled_to: server.settled_to,
            has_pending: server.pending() > 0,
            ack_wait: server.ack_wait,
            retention: ChangeRetention {
                history: match self.fault {
                    BucketFault::Expires if server.stream.history > 1 => usize::MAX,
                    _ => server.stream.history,
                },
                // Of a history without an end nothing goes.
                keeps_last_only: !self.fault.ends_messages()
                    && [1, ENDLESS].contains(&server.stream.history),
            },
        })
    }

    /// Lets the server take what has no answer.
    pub(super) fn deliver_one_way(&mut self, request: SimulatedRequest) {
        match request {
            SimulatedRequest::Acknowledge(sequence) => self.server.acknowledge(sequence),
            SimulatedRequest::GiveBack(sequence) => self.server.give_back(sequence),
            SimulatedRequest::InProgress(sequence) => self.server.extend(sequence, self.now),
            SimulatedRequest::Settled(number) => self.server.settled_to = number,
            SimulatedRequest::Attach
            | SimulatedRequest::Pull { .. }
            | SimulatedRequest::Pending { .. } => {}
        }
    }

    pub(super) fn send(&mut self) {
        let listened = self.listened();
        let listens = |pull: OpenPull| is_listened(&listened, pull);
        while let Some((pull, sent)) = self.server.send(self.now, timing::HEARTBEAT, listens) {
            self.send_to(pull, sent);
        }
    }

    fn send_to(&mut self, pull: OpenPull, sent: Sent) {
        let delay = self.chance.micros(30_000);
        if let Some(instance) = &mut self.instances[pull.instance] {
            let last = instance.messages.back();
            let at = last.map_or(Duration::ZERO, |(at, _, _)| *at);
            let at = at.max(self.now + delay);
            instance.messages.push_back((at, pull.inbox, sent));
        }
    }

    pub(super) fn end_pull(&mut self, pull: Option<OpenPull>) {
        if let Some(pull) = pull {
            self.send_to(pull, Sent::Gone);
        }
    }

    fn listened(&self) -> Vec<Option<u64>> {
        let inbox = |instance: &Option<Instance>| instance.as_ref().and_then(|it| it.inbox);
        self.instances.iter().map(inbox).collect()
    }

    fn found_mut(&mut self, place: usize) -> Option<&mut Found> {
        self.instances[place].as_mut()?.found.as_mut()
    }
}

fn is_listened(listened: &[Option<u64>], pull: OpenPull) -> bool {
    listened[pull.instance] == Some(pull.inbox)
}
