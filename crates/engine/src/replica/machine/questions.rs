//! The questions to the leader: which have no answer yet, which answers wait for the copy to come
//! as far, and when to ask again.

use std::time::Duration;

use super::interface::StreamState;

/// Questions without an answer, at most.
const MAX_OPEN: usize = 4;

/// Answers that wait for the copy, at most.
const MAX_WAITING: usize = 8;

/// A question that has been sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    pub(super) number: u64,
    pub(super) sent: Duration,
    /// Where the copy was then.
    pub(super) position: u64,
}

/// An answer, and the question.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) question: Question,
    pub(super) state: StreamState,
}

#[derive(Debug, Default)]
pub(super) struct Questions {
    open: Vec<Question>,
    /// In the order of the positions that they are about.
    waiting: Vec<Answer>,
    /// When a question is to be sent, if somebody asks for one.
    asked: Option<Duration>,
    last_sent: Option<Duration>,
}

impl Questions {
    /// Forgets all but when a question was sent last.
    pub(super) fn reset(&mut self) {
        *self = Self {
            last_sent: self.last_sent,
            ..Self::default()
        };
    }

    /// Records that a question is to be sent at this time.
    pub(super) fn ask(&mut self, at: Duration) {
        self.asked = Some(self.asked.map_or(at, |asked| asked.min(at)));
    }

    /// When the next question is due. `every`: how often, if nobody asks.
    pub(super) fn due(&self, now: Duration, every: Duration) -> Option<Duration> {
        if self.open.len() >= MAX_OPEN {
            return None;
        }
        if self.asked.is_some_and(|asked| asked <= now) {
            return Some(now);
        }
        // The answer would wait, as those before it do.
        if self.waiting.len() >= MAX_WAITING {
            return None;
        }
        let regular = self.last_sent.map_or(now, |sent| sent + every);
        Some(self.asked.map_or(regular, |asked| asked.min(regular)))
    }

    pub(super) fn sent(&mut self, question: Question) {
        self.asked = None;
        self.last_sent = Some(question.sent);
        self.open.push(question);
    }

    /// The question of this number, which is no longer open.
    pub(super) fn close(&mut self, number: u64) -> Option<Question> {
        let place = self.open.iter().position(|open| open.number == number)?;
        Some(self.open.remove(place))
    }

    /// When the oldest question without an answer was sent.
    pub(super) fn open_since(&self) -> Option<Duration> {
        self.open.iter().map(|open| open.sent).min()
    }

    /// Where the copy was when the oldest question without an answer was sent.
    pub(super) fn oldest_position(&self) -> Option<u64> {
        self.open.iter().map(|open| open.position).min()
    }

    pub(super) fn wait(&mut self, answer: Answer) {
        let place = self
            .waiting
            .partition_point(|other| other.state.last_sequence <= answer.state.last_sequence);
        self.waiting.insert(place, answer);
        if self.waiting.len() > MAX_WAITING {
            // The first and the last one stay.
            self.waiting.remove(MAX_WAITING - 1);
        }
    }

    /// The first answer that is about a position up to this one.
    pub(super) fn reached(&mut self, position: u64) -> Option<Answer> {
        let first = self.waiting.first()?;
        (first.state.last_sequence <= position).then(|| self.waiting.remove(0))
    }
}
