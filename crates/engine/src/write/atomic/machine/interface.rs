//! What goes into the machine and what comes out of it.

use std::ops::Range;
use std::time::Duration;

use crate::backoff::Backoff;

/// What the machine needs to know of the batch and of the bucket.
#[derive(Clone, Debug)]
pub(in crate::write::atomic) struct AtomicConfig {
    /// The size of each message's value in bytes. There are two messages or more.
    pub(in crate::write::atomic) sizes: Vec<usize>,
    /// The most messages in flight.
    pub(in crate::write::atomic) window: usize,
    /// The most bytes of values in flight. One value is always allowed.
    pub(in crate::write::atomic) window_bytes: usize,
    /// The pause before the next attempt.
    pub(in crate::write::atomic) backoff: Backoff,
    /// How long after its first commit the batch may be sent again.
    pub(in crate::write::atomic) resend_window: Duration,
}

/// What an answer says. `E` is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::write::atomic) enum AtomicAnswer<E> {
    /// The message is staged, and waits for the commit.
    Staged,
    /// All of the batch is stored. This is the sequence of its last message, if the answer has it.
    Stored(Option<u64>),
    /// The server cannot take the batch now.
    TryAgain(E),
    /// Nobody received the message.
    NoResponders,
    /// The server refused the message, and with it the batch.
    Refused(E),
    /// The server may have stored some messages of the batch, and will store no other.
    PartlyStored(Option<E>),
    /// The server stored a message by itself: it knows no batches.
    StoredAlone(E),
}

/// What the leader has of the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::write::atomic) enum FoundBatch {
    /// All of it is stored.
    Whole,
    /// Some messages are the last ones of their keys, and others are not. Only for a stream that
    /// may store a part of a batch.
    Part,
    /// No message of it is the last one of its key, or it could not be read.
    Nothing,
}

/// Why a message was not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::write::atomic) enum SendProblem<E> {
    /// The NATS client does not take such a message.
    Rejected(E),
    /// The NATS client has ended, or its queue stayed full.
    NotNow,
}

/// What has happened.
#[derive(Clone, Debug)]
pub(in crate::write::atomic) enum AtomicEvent<E> {
    /// The state of the connection. `epoch` counts how often it was made.
    Connection { epoch: u64, is_up: bool },
    /// What came of [`AtomicAction::Begin`]: the epoch of the connection that the attempt uses.
    /// `Err(None)`: it can be tried again.
    Begun(Result<u64, Option<E>>),
    /// What came of [`AtomicAction::Send`].
    Sent {
        count: usize,
        failure: Option<SendProblem<E>>,
    },
    /// An answer to a message of this attempt.
    Answer {
        attempt: u32,
        answer: AtomicAnswer<E>,
    },
    /// The server denies this login one of the messages, or the answers.
    Denied(E),
    /// What came of [`AtomicAction::Refresh`]: an error if the bucket cannot be written to any
    /// more.
    Refreshed(Option<E>),
    /// What came of [`AtomicAction::LookUp`].
    LookedUp(FoundBatch),
    /// Time has passed.
    Tick,
}

/// What the driver has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::write::atomic) enum AtomicAction<E> {
    /// Wait for the permits of this attempt, and for an inbox. Then tell [`AtomicEvent::Begun`].
    Begin { attempt: u32 },
    /// Send these messages of the attempt. Then tell [`AtomicEvent::Sent`].
    Send {
        attempt: u32,
        items: Range<usize>,
        /// The last message of the batch, which commits it.
        commits: bool,
    },
    /// Give the permits back. The inbox stays: a late answer may still come.
    End,
    /// Fetch the stream info, because nobody receives the messages.
    Refresh,
    /// Read some of the keys at the stream's leader.
    LookUp,
    /// Wait for an event, at most until this time.
    Wait { until: Duration },
    /// The batch is over.
    Finish(BatchOutcome<E>),
}

/// What became of the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::write::atomic) enum BatchOutcome<E> {
    /// All of it is stored. The sequence is of its last message, if that is known.
    Stored(Option<u64>),
    /// Nothing of it is stored, or will be. `None`: there was no answer in time.
    Failed(Option<E>),
    /// All of it is stored, now or later, or nothing. `None`: there was no answer in time.
    Unclear(Option<E>),
    /// Some of it may be stored, and no more will be.
    PartlyStored(Option<E>),
    /// The server has stored a message by itself.
    StoredAlone(E),
}
