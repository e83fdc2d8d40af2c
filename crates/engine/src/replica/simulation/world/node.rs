//! The stream's nodes: what the leader says, and what the consumer delivers.

use super::network::{Packet, SentFor};
use super::{PULL, ReplicaWorld};
use crate::replica::machine::{PullEnd, StreamState};
use crate::replica::simulation::store::{SimMessage, StoreChange};

impl ReplicaWorld {
    pub(super) fn is_leaderless(&self) -> bool {
        self.now < self.leaderless_until
    }

    /// What is answered to a question: by the leader, or by a node that believes it still leads.
    pub(super) fn answer(&mut self) -> StreamState {
        match &self.former {
            Some((state, from, until))
                if (*from..*until).contains(&self.now) && self.chance.one_in(2) =>
            {
                state.clone()
            }
            _ => self.state(),
        }
    }

    pub(super) fn state(&self) -> StreamState {
        StreamState {
            created: self.created.to_string(),
            leader: (self.node_leads > 0).then(|| self.node_leads.to_string()),
            first_sequence: self.leader.first_sequence(),
            last_sequence: self.leader.last_sequence,
            last_time: self.leader.last_time * 1000,
            subjects: self.leader.by_key.len() as u64,
            bytes: 0,
            consumers: u64::from(self.consumer.is_some()),
            server_time: self.server_micros() * 1000,
            max_age: self.max_age * 1000,
            message_ttl: true,
            unfit: None,
        }
    }

    /// The node catches up, the consumer delivers, and what is over expires.
    pub(super) fn server(&mut self) {
        let micros = self.server_micros();
        let lingers = self.is_leaderless() || (!self.calm && self.chance.one_in(2));
        if !lingers {
            let is_over = |(_, message): &(&u64, &SimMessage)| {
                message.expires.is_some_and(|expires| expires <= micros)
            };
            let over: Vec<u64> = self
                .leader
                .messages
                .iter()
                .filter(is_over)
                .map(|(sequence, _)| *sequence)
                .collect();
            for sequence in over {
                self.change(StoreChange::Remove(sequence));
            }
        }
        let mut behind = if self.calm { 0 } else { self.chance.place(4) };
        behind = behind.min(self.lag.len());
        while self.lag.len() > behind {
            if let Some(change) = self.lag.pop_front() {
                self.node.apply(&change);
            }
        }
        self.deliver();
    }

    pub(super) fn deliver(&mut self) {
        let Some(mut consumer) = self.consumer.clone() else {
            return;
        };
        if consumer.frozen_until > self.now || !self.connected {
            return;
        }
        while let Some((pull, left)) = consumer.pulls.pop_front() {
            // The message would make the answer too large, or the request's time is over.
            if !self.calm && self.chance.one_in(60) {
                let over = left == PULL || self.chance.one_in(2);
                let end = if over { PullEnd::Over } else { PullEnd::Full };
                let sent_for = SentFor {
                    number: consumer.number,
                    pull,
                };
                self.send_in_order(Packet::PullEnded(sent_for, end));
                continue;
            }
            let next = self.node.messages.range(consumer.next..).next();
            let Some((&sequence, message)) = next else {
                consumer.next = consumer.next.max(self.node.last_sequence + 1);
                consumer.pulls.push_front((pull, left));
                break;
            };
            let message = message.clone();
            consumer.next = sequence + 1;
            consumer.delivered += 1;
            consumer.idle_since = self.now;
            let delivered = consumer.delivered;
            let sent_for = SentFor {
                number: consumer.number,
                pull,
            };
            // A client that is too slow drops messages.
            if self.calm || !self.chance.one_in(300) {
                self.send_in_order(Packet::Message(sent_for, sequence, delivered, message));
            }
            if left > 1 {
                consumer.pulls.push_front((pull, left - 1));
            } else if self.chance.one_in(2) {
                // So it is if the answer could have had more bytes.
                self.send_in_order(Packet::PullEnded(sent_for, PullEnd::Over));
            }
        }
        let interval = self.machine.heartbeat_interval();
        if let Some(&(pull, _)) = consumer.pulls.front()
            && self.now >= consumer.idle_since + interval
        {
            consumer.idle_since = self.now;
            let sent_for = SentFor {
                number: consumer.number,
                pull,
            };
            let (delivered, position) = (consumer.delivered, consumer.next - 1);
            self.send_in_order(Packet::Heartbeat(sent_for, delivered, position));
        }
        self.consumer = Some(consumer);
    }
}
