//! What goes into the machine and what comes out of it.

use std::sync::Arc;
use std::time::Duration;

/// What a machine goes by.
#[derive(Clone, Copy, Debug)]
pub(in crate::watch) struct MachineSettings {
    /// Calls at once.
    pub(in crate::watch) max_in_flight: usize,
    /// Calls for one change.
    pub(in crate::watch) max_deliver: u32,
    /// Whether a change is kept after a call that failed.
    pub(in crate::watch) retries: bool,
    /// How long one call may take.
    pub(in crate::watch) call_timeout: Duration,
    /// After how long the consumer delivers a change again that is not acknowledged.
    pub(in crate::watch) ack_wait: Duration,
    /// Whether the bucket keeps older values of a key.
    pub(in crate::watch) keeps_history: bool,
}

/// The consumer that was found or created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::watch) struct Attachment {
    /// Whether it is another consumer than before.
    pub(in crate::watch) is_other: bool,
    /// Whether it is of another stream than before.
    pub(in crate::watch) is_other_stream: bool,
    /// Up to which of its messages nothing is under way anywhere. 0: unknown, or it has delivered
    /// nothing.
    pub(in crate::watch) settled_to: u64,
    pub(in crate::watch) keeps_history: bool,
}

/// A message of the consumer.
#[derive(Clone, Debug)]
pub(in crate::watch) struct NewChange {
    pub(in crate::watch) key: Arc<str>,
    pub(in crate::watch) sequence: u64,
    pub(in crate::watch) consumer_sequence: u64,
    /// How often the message has been delivered, with this time.
    pub(in crate::watch) deliveries: u64,
    /// Whether the watch is about this change.
    pub(in crate::watch) wanted: bool,
    /// Whether the message has removed older ones of its key from the stream.
    pub(in crate::watch) replaces: bool,
}

/// What the consumer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::watch) struct PendingMessages {
    /// How many messages are to be acknowledged.
    pub(in crate::watch) count: u64,
    /// Up to which message an instance that has ended has noted all as settled. 0: none has.
    pub(in crate::watch) settled_to: u64,
}

/// Why a pull has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::watch) enum WatchPullEnd {
    /// Its time was over, or all that it asked for has come.
    Expired,
    /// The server did not take it, or no longer serves it.
    Refused,
    /// There is no such consumer.
    Gone,
}

/// How a call has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::watch) enum CallOutcome {
    Delivered,
    Failed,
    /// Nobody received the call.
    Unreachable,
}

/// What has happened.
#[derive(Clone, Debug)]
pub(in crate::watch) enum WatchEvent {
    Attached(Attachment),
    NotAttached,
    /// The open pull has given a sign.
    Heard,
    Delivered(NewChange),
    PullEnded(WatchPullEnd),
    CallEnded {
        sequence: u64,
        outcome: CallOutcome,
    },
    /// What the consumer answers; `None`: there was no answer.
    Pending {
        question: u64,
        pending: Option<PendingMessages>,
    },
    /// The process stood still for some time, or the connection was lost.
    Disturbed,
    Tick,
    /// No call is started any more.
    Stop,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::watch) enum WatchAction {
    /// Find the consumer, or create it.
    Attach,
    /// Ask the consumer for messages. `anew`: over another inbox than before.
    Pull { anew: bool },
    /// Ask for no more messages.
    ClosePull,
    /// Ask how many messages the consumer waits for.
    AskPending { question: u64 },
    /// Deliver the change.
    Call { sequence: u64, attempt: u32 },
    /// The change is done.
    Acknowledge { sequence: u64 },
    /// The change is done, without having been delivered.
    GiveUp { sequence: u64, calls: u32 },
    /// The change is still under way.
    Extend { sequence: u64 },
    /// Another instance may have the change.
    Return { sequence: u64 },
    /// The change is not here any more.
    Forget { sequence: u64 },
}
