//! What is on its way between the replica and the stream, and what is lost.

use std::collections::VecDeque;
use std::time::Duration;

use super::{ReplicaWorld, SimConsumer};
use crate::replica::machine::{
    Answered, ConsumerCheck, Creation, Delivery, Listed, MessageTtl, PullEnd, ReplicaAction,
    ReplicaEvent,
};
use crate::replica::simulation::reader::key_name;
use crate::replica::simulation::store::SimMessage;

const SECOND: Duration = Duration::from_secs(1);

/// The request for messages that something was sent for.
#[derive(Clone, Copy, Debug)]
pub(super) struct SentFor {
    /// The consumer's number.
    pub(super) number: u64,
    /// The request's number.
    pub(super) pull: u64,
}

/// What is on its way.
#[derive(Clone, Debug)]
pub(super) enum Packet {
    // To the server.
    Request(ReplicaAction),
    // To the client.
    Answered(u64, Answered),
    Created(u64, Creation),
    Checked(u64, ConsumerCheck),
    Listed(u64, Listed),
    /// What the consumer sends, in answer to a request for messages.
    Message(SentFor, u64, u64, SimMessage),
    Heartbeat(SentFor, u64, u64),
    PullEnded(SentFor, PullEnd),
    /// This process learns that its write has this sequence.
    Acknowledged(usize, u64, u64),
    Reconnect,
}

impl ReplicaWorld {
    /// The client gives the request up after some time.
    pub(super) fn no_answer(&mut self, action: ReplicaAction) {
        let packet = match action {
            ReplicaAction::Ask { number } => Packet::Answered(number, Answered::Silent),
            ReplicaAction::Create { number } => Packet::Created(number, Creation::Silent),
            ReplicaAction::Check { number } => Packet::Checked(number, ConsumerCheck::Silent),
            ReplicaAction::List { number } => Packet::Listed(number, Listed::Silent),
            ReplicaAction::Pull(_) | ReplicaAction::Delete { .. } => return,
        };
        self.send(SECOND * 2, packet);
    }

    pub(super) fn send(&mut self, delay: Duration, packet: Packet) {
        self.sent += 1;
        self.packets.push((self.now + delay, self.sent, packet));
    }

    /// Whether the client has a subscription for this.
    fn listens(&self, sent_for: SentFor) -> bool {
        sent_for.number == self.wanted && sent_for.pull >= self.inbox_from
    }

    /// Sends what the consumer has, in order.
    pub(super) fn send_in_order(&mut self, packet: Packet) {
        let delay = self.chance.micros(1_500);
        self.in_order = self.in_order.max(self.now + delay);
        self.sent += 1;
        self.packets.push((self.in_order, self.sent, packet));
    }

    pub(super) fn arrive(&mut self, at: Duration, order: u64) {
        let place = self.packets.iter().position(|(_, o, _)| *o == order);
        let Some(place) = place else { return };
        let (_, _, packet) = self.packets.swap_remove(place);
        self.now = self.now.max(at);
        match packet {
            Packet::Request(action) => self.serve(action),
            Packet::Answered(number, answered) => {
                self.tell(ReplicaEvent::Answered { number, answered });
            }
            Packet::Created(number, creation) => {
                self.tell(ReplicaEvent::Created { number, creation });
            }
            Packet::Checked(number, check) => self.tell(ReplicaEvent::Checked { number, check }),
            Packet::Listed(number, listed) => self.tell(ReplicaEvent::Listed { number, listed }),
            Packet::Message(sent_for, sequence, delivered, message) if self.listens(sent_for) => {
                let value = message.value.map(u64::to_le_bytes);
                let age = (self.max_age > 0).then(|| message.time + self.max_age);
                let own = message.expires.filter(|expires| Some(*expires) != age);
                self.tell(ReplicaEvent::Delivered(Delivery {
                    key: &key_name(message.key),
                    value: value.as_ref().map(<[u8; 8]>::as_slice),
                    sequence,
                    delivered,
                    time: message.time * 1000,
                    ttl: own.map_or(MessageTtl::None, |expires| {
                        MessageTtl::After((expires - message.time) * 1000)
                    }),
                    replaces_all: message.replaces_all,
                }));
            }
            Packet::Heartbeat(sent_for, delivered, position) if self.listens(sent_for) => {
                self.tell(ReplicaEvent::Heartbeat {
                    pull: sent_for.pull,
                    delivered,
                    position,
                });
            }
            Packet::PullEnded(sent_for, end) if self.listens(sent_for) => {
                let pull = sent_for.pull;
                self.tell(ReplicaEvent::PullEnded { pull, end });
            }
            Packet::Message(..) | Packet::Heartbeat(..) | Packet::PullEnded(..) => {}
            Packet::Acknowledged(key, sequence, before) => {
                let copy = self.machine.copy();
                self.reader
                    .floors
                    .raise_to(sequence, before, copy, self.now);
                let is_last = self.leader.by_key.get(&key) == Some(&sequence);
                if is_last {
                    self.reader.raise(key);
                }
            }
            Packet::Reconnect => self.reconnect(),
        }
    }

    pub(super) fn reconnect(&mut self) {
        if !self.connected {
            self.connected = true;
            self.tell(ReplicaEvent::Connected);
        }
    }

    pub(super) fn serve(&mut self, action: ReplicaAction) {
        if !self.calm && self.chance.one_in(30) {
            return self.no_answer(action);
        }
        let asks_leader = matches!(
            action,
            ReplicaAction::Ask { .. } | ReplicaAction::List { .. } | ReplicaAction::Create { .. }
        );
        if self.is_leaderless() && asks_leader {
            return self.no_answer(action);
        }
        let exists = self.created > 0;
        let here = |number: u64, consumer: &Option<SimConsumer>| {
            consumer
                .clone()
                .filter(|consumer| consumer.number == number)
        };
        let packet = match action {
            ReplicaAction::Ask { number } => {
                let answered = if exists {
                    Answered::State(self.answer())
                } else {
                    Answered::Missing
                };
                Packet::Answered(number, answered)
            }
            ReplicaAction::Create { number } if exists => {
                self.consumer = Some(SimConsumer {
                    number,
                    next: 1,
                    delivered: 0,
                    pulls: VecDeque::new(),
                    idle_since: self.now,
                    frozen_until: Duration::ZERO,
                });
                Packet::Created(number, Creation::Created)
            }
            ReplicaAction::Create { number } => Packet::Created(number, Creation::Silent),
            ReplicaAction::Check { number } => match here(number, &self.consumer) {
                Some(consumer) if consumer.frozen_until > self.now => {
                    return self.no_answer(action);
                }
                Some(consumer) => {
                    Packet::Checked(number, ConsumerCheck::Delivered(consumer.delivered))
                }
                None => Packet::Checked(number, ConsumerCheck::Gone),
            },
            ReplicaAction::Pull(pull) => {
                if let Some(consumer) = &mut self.consumer
                    && consumer.number == pull.number
                {
                    if pull.anew {
                        // Nobody listens any more for the answers to those before.
                        consumer.pulls.clear();
                    }
                    consumer.pulls.push_back((pull.pull, pull.messages));
                    consumer.idle_since = self.now;
                    if consumer.pulls.len() > 1 {
                        let pulls = &consumer.pulls;
                        self.broken = Some(format!("one request is open and not {pulls:?}"));
                    }
                }
                return;
            }
            ReplicaAction::Delete { number } => {
                if here(number, &self.consumer).is_some() {
                    self.consumer = None;
                }
                return;
            }
            ReplicaAction::List { number } => {
                let keys = self.leader.by_key.keys().map(|key| key_name(*key));
                let listed = Listed::Keys {
                    state: self.state(),
                    keys: keys.collect(),
                };
                Packet::Listed(number, listed)
            }
        };
        let longest = if self.chance_of_delay() {
            400_000
        } else {
            3_000
        };
        let delay = self.chance.micros(longest);
        self.send(delay, packet);
    }

    pub(super) fn chance_of_delay(&mut self) -> bool {
        !self.calm && self.chance.one_in(10)
    }

    pub(super) fn disconnect(&mut self) {
        if !self.connected {
            return;
        }
        self.connected = false;
        self.note(|| "disconnected".to_owned());
        let lost = std::mem::take(&mut self.packets);
        for (at, order, packet) in lost {
            match packet {
                Packet::Request(action) => self.no_answer(action),
                Packet::Answered(number, _) => {
                    self.no_answer(ReplicaAction::Ask { number });
                }
                Packet::Created(number, _) => self.no_answer(ReplicaAction::Create { number }),
                Packet::Checked(number, _) => self.no_answer(ReplicaAction::Check { number }),
                Packet::Listed(number, _) => self.no_answer(ReplicaAction::List { number }),
                Packet::Reconnect => self.packets.push((at, order, packet)),
                _ => {}
            }
        }
        if let Some(consumer) = &mut self.consumer {
            consumer.pulls.clear();
        }
        self.tell(ReplicaEvent::Disconnected);
        let delay = self.chance.micros(1_500_000);
        self.send(delay, Packet::Reconnect);
    }
}
