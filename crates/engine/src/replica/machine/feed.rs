//! The consumer that feeds the copy, as far as the machine knows it.

use std::time::Duration;

/// A consumer of the stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Feed {
    /// Its number. An answer with another one is to an earlier consumer.
    pub(super) number: u64,
    /// How many messages have come from it.
    pub(super) delivered: u64,
    /// When something was last heard of it.
    pub(super) heard: Duration,
    pub(super) state: FeedState,
    /// How many times in a row nobody answered for it.
    pub(super) silent_checks: u32,
    /// Since when the leader has said that the stream has no consumer.
    pub(super) unlisted_since: Option<Duration>,
    /// The open request for messages. Whatever answers another one is late. 0: there is none.
    pub(super) pull: u64,
    /// How many messages it may still bring.
    pub(super) left: u64,
    /// How many it asked for.
    pub(super) asked: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FeedState {
    Creating,
    /// A request for messages is open.
    Pulling,
    /// Whether it exists is to be asked as soon as there is a connection.
    Doubtful,
    /// The server has been asked whether it exists.
    Checking,
}

impl Feed {
    pub(super) fn new(number: u64, now: Duration) -> Self {
        Self {
            number,
            delivered: 0,
            heard: now,
            state: FeedState::Creating,
            silent_checks: 0,
            unlisted_since: None,
            pull: 0,
            left: 0,
            asked: 0,
        }
    }
}
