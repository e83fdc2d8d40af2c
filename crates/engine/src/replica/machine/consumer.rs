//! Looking after the consumer: creating it, asking for messages, and finding out whether it is
//! still there.

use std::time::Duration;

use super::feed::{Feed, FeedState};
use super::interface::{
    ConsumerCheck, Creation, DeniedRequest, MessagePull, OffReason, Phase, PullEnd, ReplicaAction,
};
use super::{LOSSES, ReplicaMachine};

/// How long after the last heartbeat was due a consumer is doubted.
const SILENCE: Duration = Duration::from_millis(500);

/// How long to wait before the leader is asked again that does not know the consumer, and how long
/// that may go on.
const UNLISTED: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(2));

/// How many times in a row nobody may answer for a consumer.
const SILENT_CHECKS: u32 = 2;

/// How often a consumer without messages gives a sign, at least and at most.
const HEARTBEAT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

impl ReplicaMachine {
    /// How often a consumer without messages is to give a sign.
    pub(in crate::replica) fn heartbeat_interval(&self) -> Duration {
        (self.demand.staleness / 3).clamp(HEARTBEAT.0, HEARTBEAT.1)
    }

    pub(super) fn silence(&self) -> Duration {
        self.heartbeat_interval() * 5 / 2 + SILENCE
    }

    pub(super) fn on_created(&mut self, number: u64, creation: Creation, now: Duration) {
        let Some(feed) = self.feed.as_mut().filter(|feed| feed.number == number) else {
            return;
        };
        match creation {
            Creation::Created => {
                feed.heard = now;
                feed.state = FeedState::Pulling;
                self.pull(true, true);
                // An answer to a question of before tells nothing of what the consumer delivers.
                self.questions.reset();
                self.questions.ask(now);
            }
            Creation::Refused => self.turn_off(OffReason::ConsumerRefused, now),
            Creation::Denied => {
                self.turn_off(OffReason::Denied(DeniedRequest::CreateConsumer), now);
            }
            Creation::Silent => self.resync(now),
        }
    }

    /// Asks for messages. The request takes the place of the one before, of which nothing counts
    /// any more. So there is one open request, whatever ends the one before.
    ///
    /// Without the bound in bytes, one message is asked for.
    pub(super) fn pull(&mut self, bounded: bool, anew: bool) {
        let pull = self.number();
        let messages = if bounded { self.pull_messages } else { 1 };
        let Some(feed) = &mut self.feed else {
            return;
        };
        (feed.pull, feed.left, feed.asked) = (pull, messages, messages);
        let pull = MessagePull {
            number: feed.number,
            pull,
            messages,
            bounded,
            anew,
        };
        self.actions.push_back(ReplicaAction::Pull(pull));
    }

    pub(super) fn on_pull_ended(&mut self, pull: u64, end: PullEnd, now: Duration) {
        let is_open = |feed: &&mut Feed| feed.state == FeedState::Pulling && feed.pull == pull;
        let Some(feed) = self.feed.as_mut().filter(is_open) else {
            return;
        };
        feed.heard = now;
        // If it brought nothing, the next message alone is larger than the bound.
        let bounded = end != PullEnd::Full || feed.left < feed.asked;
        match end {
            PullEnd::Over | PullEnd::Full => self.pull(bounded, false),
            PullEnd::Trouble => self.doubt(),
        }
    }

    /// The leader says that the stream has no consumer. So what the consumer still delivers may be
    /// of an earlier stream, or the leader has not heard of the consumer yet.
    pub(super) fn is_unlisted(&mut self, now: Duration) {
        let Some(feed) = &mut self.feed else {
            return;
        };
        if now >= *feed.unlisted_since.get_or_insert(now) + UNLISTED.1 {
            self.resync(now);
        } else {
            self.doubt();
        }
    }

    /// Has the consumer looked for.
    pub(super) fn doubt(&mut self) {
        if let Some(feed) = &mut self.feed
            && feed.state == FeedState::Pulling
        {
            feed.state = FeedState::Doubtful;
            if self.phase == Phase::Live {
                self.phase = Phase::Behind;
            }
        }
    }

    pub(super) fn lose_connection(&mut self, now: Duration) {
        if !self.connected {
            return;
        }
        self.connected = false;
        let Some(feed) = &mut self.feed else {
            return;
        };
        match feed.state {
            // What is under way is answered by nobody.
            FeedState::Creating => {}
            FeedState::Checking => feed.state = FeedState::Doubtful,
            FeedState::Pulling | FeedState::Doubtful => {
                self.doubt();
                self.losses += 1;
                let has_lost = self.pauses.have_grown_by_losses();
                if self.losses >= LOSSES || has_lost {
                    self.losses = 0;
                    self.turn_off(OffReason::LosesConnection, now);
                }
            }
        }
    }

    pub(super) fn look_after_feed(&mut self, now: Duration) {
        let (connected, silence) = (self.connected, self.silence());
        let Some(feed) = self.feed.as_mut().filter(|_| connected) else {
            return;
        };
        if feed.state == FeedState::Pulling && now >= feed.heard + silence {
            self.doubt();
        }
        let Some(feed) = &mut self.feed else {
            return;
        };
        if feed.state == FeedState::Doubtful {
            feed.state = FeedState::Checking;
            let number = feed.number;
            self.actions.push_back(ReplicaAction::Check { number });
        }
    }

    pub(super) fn on_checked(&mut self, number: u64, check: ConsumerCheck, now: Duration) {
        let is_this = |feed: &&mut Feed| feed.number == number && feed.state == FeedState::Checking;
        let Some(feed) = self.feed.as_mut().filter(is_this) else {
            return;
        };
        match check {
            // Nothing was lost on the way.
            ConsumerCheck::Delivered(delivered) if delivered == feed.delivered => {
                feed.silent_checks = 0;
                feed.heard = now;
                feed.state = FeedState::Pulling;
                let is_listed = feed.unlisted_since.is_none();
                if self.phase == Phase::Behind {
                    self.phase = Phase::Live;
                }
                let pause = if is_listed {
                    Duration::ZERO
                } else {
                    UNLISTED.0
                };
                self.questions.ask(now + pause);
                self.pull(true, true);
            }
            ConsumerCheck::Silent if feed.silent_checks + 1 < SILENT_CHECKS => {
                feed.silent_checks += 1;
                feed.state = FeedState::Doubtful;
            }
            ConsumerCheck::Denied => {
                self.turn_off(OffReason::Denied(DeniedRequest::ConsumerInfo), now);
            }
            ConsumerCheck::Delivered(_) | ConsumerCheck::Gone | ConsumerCheck::Silent => {
                self.resync(now);
            }
        }
    }
}
