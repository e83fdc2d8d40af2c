//! Taking what the consumer delivers into the copy.

use std::time::Duration;

use super::ReplicaMachine;
use super::feed::FeedState;
use super::interface::{Delivery, MessageTtl, OffReason};
use crate::replica::record::RecordParts;

impl ReplicaMachine {
    pub(super) fn on_delivered(&mut self, delivery: &Delivery<'_>, now: Duration) {
        let (Some(feed), Some(copy)) = (&mut self.feed, &self.copy) else {
            return;
        };
        if feed.state == FeedState::Creating {
            return;
        }
        // A message was lost on the way, or the consumer is not the same any more.
        if delivery.delivered != feed.delivered + 1 || delivery.sequence <= copy.position() {
            return self.resync(now);
        }
        feed.delivered = delivery.delivered;
        feed.heard = now;
        feed.left = feed.left.saturating_sub(1);
        let is_last = feed.left == 0 && feed.state == FeedState::Pulling;
        // Nothing is between the last message and this one.
        self.advance(delivery.sequence - 1, now);
        let (Some(copy), Some(stream)) = (self.copy.clone(), &self.stream) else {
            return;
        };
        let expires = if stream.message_ttl {
            expiry(delivery.time, delivery.ttl, stream.max_age)
        } else {
            expiry(delivery.time, MessageTtl::None, stream.max_age)
        };
        copy.map.put(&RecordParts {
            key: delivery.key,
            value: delivery.value,
            sequence: delivery.sequence,
            expires,
        });
        self.audit.has_expiring |= expires > 0;
        if delivery.replaces_all {
            copy.map.retain(|record| record.key() == delivery.key);
        }
        let keys = copy.map.len() as u64;
        copy.set_position(delivery.sequence);
        self.history.push(delivery.sequence, keys, delivery.time);
        self.forget_history();
        if !copy.count_memory() {
            return self.turn_off(OffReason::NoMemory, now);
        }
        if copy.map.memory() > self.demand.max_bytes {
            return self.turn_off(OffReason::TooLarge, now);
        }
        self.judge(now);
        if is_last {
            self.pull(true, false);
        }
    }

    pub(super) fn on_heartbeat(&mut self, pull: u64, delivered: u64, position: u64, now: Duration) {
        let Some(feed) = self.feed.as_mut().filter(|feed| feed.pull == pull) else {
            return;
        };
        // A heartbeat that was sent before the last message came says nothing new.
        if feed.state == FeedState::Creating || delivered < feed.delivered {
            return;
        }
        feed.heard = now;
        if delivered > feed.delivered {
            return self.resync(now);
        }
        self.advance(position, now);
    }

    /// Records that no message is to come up to this position.
    fn advance(&mut self, position: u64, now: Duration) {
        let Some(copy) = &self.copy else {
            return;
        };
        if position > copy.position() {
            copy.skip_to(position);
            self.history.push(position, copy.map.len() as u64, 0);
            self.judge(now);
        }
    }

    /// Forgets positions that no answer can be about.
    pub(super) fn forget_history(&mut self) {
        let reached = self.copy.as_ref().map_or(0, |copy| copy.position());
        let oldest = self.questions.oldest_position().unwrap_or(reached);
        self.history.forget_before(oldest.min(reached));
    }
}

/// When a message expires, by the server's clock; 0: never, or nobody knows.
fn expiry(time: u64, ttl: MessageTtl, max_age: u64) -> u64 {
    let by_age = match max_age {
        0 => u64::MAX,
        age => time.saturating_add(age),
    };
    let expires = match ttl {
        MessageTtl::None => by_age,
        MessageTtl::After(ttl) => by_age.min(time.saturating_add(ttl)),
        MessageTtl::Never | MessageTtl::Unclear => u64::MAX,
    };
    if expires == u64::MAX { 0 } else { expires }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_expires_by_the_earlier_of_its_two_times() {
        assert_eq!(expiry(100, MessageTtl::None, 0), 0);
        assert_eq!(expiry(100, MessageTtl::None, 50), 150);
        assert_eq!(expiry(100, MessageTtl::After(20), 50), 120);
        assert_eq!(expiry(100, MessageTtl::After(70), 50), 150);
        assert_eq!(expiry(100, MessageTtl::After(70), 0), 170);
        assert_eq!(expiry(100, MessageTtl::Never, 50), 0);
        assert_eq!(expiry(100, MessageTtl::Unclear, 50), 0);
    }
}
