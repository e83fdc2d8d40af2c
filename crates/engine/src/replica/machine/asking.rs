//! Asking the leader about the stream: when, and what follows from the answer.

use std::time::Duration;

use super::feed::FeedState;
use super::interface::{Answered, DeniedRequest, OffReason, Phase, StreamState};
use super::questions::{Answer, Question};
use super::{ReplicaMachine, StreamIdentity};

/// How long after the last read the leader is still asked as often as readers need it.
const ACTIVE: Duration = Duration::from_secs(30);

/// How often the leader is asked at least, while there is a copy.
const LONGEST_INTERVAL: Duration = Duration::from_secs(10);

/// How often the leader is asked at least, until the copy is complete for the first time.
const INTERVAL_UNTIL_COMPLETE: Duration = Duration::from_secs(1);

/// A copy about which the leader has said nothing for longer is read anew. In so long a time a
/// stream may have lost messages and have taken others in their place.
const DORMANT: Duration = Duration::from_secs(60);

impl ReplicaMachine {
    pub(super) fn question(&mut self, now: Duration) -> Question {
        Question {
            number: self.number(),
            sent: now,
            position: self.copy.as_ref().map_or(0, |copy| copy.position()),
        }
    }

    pub(super) fn question_due(&self, now: Duration) -> Option<Duration> {
        let is_off = matches!(self.phase, Phase::Off(_));
        if !self.connected || is_off || self.begin_at.is_some() {
            return None;
        }
        self.questions.due(now, self.question_interval(now))
    }

    fn question_interval(&self, now: Duration) -> Duration {
        let copy = self.copy.as_ref();
        let is_complete = copy.is_some_and(|copy| copy.complete_as_of().is_some());
        if now >= self.wanted + ACTIVE {
            LONGEST_INTERVAL
        } else if is_complete {
            (self.demand.staleness / 3).min(LONGEST_INTERVAL)
        } else {
            (self.demand.staleness / 3).min(INTERVAL_UNTIL_COMPLETE)
        }
    }

    pub(super) fn on_answered(&mut self, number: u64, answered: Answered, now: Duration) {
        let Some(question) = self.questions.close(number) else {
            return;
        };
        let state = match answered {
            Answered::State(state) => state,
            Answered::Missing => return self.turn_off(OffReason::NoBucket, now),
            Answered::Denied => {
                return self.turn_off(OffReason::Denied(DeniedRequest::StreamInfo), now);
            }
            Answered::Silent => return,
        };
        if let Some(why) = state.unfit {
            return self.turn_off(OffReason::Unfit(why), now);
        }
        if self.stream.is_none() {
            return self.begin(&state, now);
        }
        if self.is_of_another_stream(&state) {
            return self.resync(now);
        }
        let silence = now.saturating_sub(std::mem::replace(&mut self.answered_at, now));
        if silence > DORMANT {
            // What happened to the stream meanwhile, nobody knows.
            return self.resync(now);
        }
        if let Err(believed) = self.leadership.answered(state.leader.as_deref(), now) {
            return self.questions.ask(believed);
        }
        if let Some(copy) = &self.copy
            && state.server_time > 0
        {
            copy.set_clock(state.server_time, now);
        }
        if self
            .feed
            .is_none_or(|feed| feed.state == FeedState::Creating)
        {
            // The question may have been sent before the consumer was created.
            return;
        }
        if state.consumers == 0 {
            return self.is_unlisted(now);
        }
        if let Some(feed) = &mut self.feed {
            feed.unlisted_since = None;
        }
        self.questions.wait(Answer { question, state });
        self.forget_history();
        self.judge(now);
    }

    pub(super) fn is_of_another_stream(&self, state: &StreamState) -> bool {
        let identity = StreamIdentity::of(state);
        self.stream
            .as_ref()
            .is_some_and(|stream| *stream != identity)
    }
}
