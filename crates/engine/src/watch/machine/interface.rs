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
    /// How many changes may be here. More than the consumer hands out at once.
    pub(in crate::watch) max_held: usize,
}

/// Which message of the bucket it is.
///
/// A sequence alone does not tell: a stream that was restored, or whose server has lost its latest
/// messages, gives sequences again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::watch) struct ChangeId {
    /// The message's sequence in the stream.
    pub(in crate::watch) sequence: u64,
    /// When it was stored, in nanoseconds since 1970 by the server's clock.
    pub(in crate::watch) time: u64,
}

impl ChangeId {
    /// The higher sequence and the later time. The server's clock may have been set back between.
    pub(super) fn furthest(self, other: Self) -> Self {
        Self {
            sequence: self.sequence.max(other.sequence),
            time: self.time.max(other.time),
        }
    }
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
    /// Whether it waits for something.
    pub(in crate::watch) has_pending: bool,
    /// How long it waited for an acknowledgement when it was found.
    pub(in crate::watch) ack_wait: Duration,
    pub(in crate::watch) retention: ChangeRetention,
}

/// How long a bucket keeps changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::watch) struct ChangeRetention {
    /// How many changes of a key have to come until an earlier one is gone. At least 1.
    pub(in crate::watch) history: usize,
    /// Whether a change goes only when the next one of its key comes. Then all that is here and has
    /// no successor here is in the bucket.
    pub(in crate::watch) keeps_last_only: bool,
}

/// A message of the consumer.
#[derive(Clone, Debug)]
pub(in crate::watch) struct NewChange {
    pub(in crate::watch) id: ChangeId,
    pub(in crate::watch) key: Arc<str>,
    /// Its number among all that the consumer has delivered.
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
    /// How many it has delivered.
    pub(in crate::watch) delivered: u64,
    /// Up to which message an instance that has ended has noted all as settled. 0: none has.
    pub(in crate::watch) settled_to: u64,
    /// How long it waits for an acknowledgement.
    pub(in crate::watch) ack_wait: Duration,
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
        id: ChangeId,
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
    Call { id: ChangeId, attempt: u32 },
    /// The change is done.
    Acknowledge { id: ChangeId },
    /// The change is done, without having been delivered.
    Terminate { id: ChangeId, calls: u32 },
    /// The change is still under way.
    InProgress { id: ChangeId },
    /// The consumer is to deliver the change again, if it still has it. The change stays here.
    NakAndKeep { id: ChangeId },
    /// No call is waited for any more, and nothing is acknowledged again: what was called for is of
    /// a stream that is gone.
    DropCalls,
    /// Another instance may have the change.
    NakAndDrop { id: ChangeId },
    /// The change is not here any more.
    Forget { id: ChangeId },
}
