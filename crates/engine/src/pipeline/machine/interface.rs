//! What goes into the machine and what comes out of it.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::time::Time;
use crate::retries::RetryReason;

/// What the machine asks about the items of a run.
pub(crate) trait Items {
    /// What is known of the stream that holds the items.
    type Info;

    /// How many items the run has.
    fn len(&self) -> usize;

    /// How many items the whole call has. The run may be for only the rest of them. This number
    /// decides whether the run counts as large.
    fn total_items(&self) -> usize {
        self.len()
    }

    /// About how many bytes of values the item's request or its answer has.
    fn value_bytes(&self, item: usize) -> usize;

    /// Whether the item may share a reply subject with others. The server has to recognize a second
    /// attempt (all of a group are sent again if one fails), and a good answer must mean the same
    /// for every item of the group.
    fn may_group(&self, item: usize, info: &Self::Info) -> bool;

    /// How long, from the first send, the item may safely be resent, even if its first attempt
    /// is stored.
    fn resend_window(&self, item: usize, info: &Self::Info) -> Duration;
}

/// What the answer to a request says.
#[derive(Clone, Debug)]
pub(crate) enum AnswerOutcome<E> {
    /// The server carried the request out. A write has the sequence of the stored message.
    Done { sequence: Option<u64> },
    /// Nobody received the request.
    NoResponders,
    /// The stream does not exist, so its info has to be fetched again.
    StreamNotFound,
    /// The server cannot carry the request out now. Send it again after a pause.
    TryAgain,
    /// The server looks for the request's id first, and acknowledges a request whose id it knows. It
    /// refused this one after that, so no earlier attempt is stored yet.
    Refused(E),
    /// The server refused the request before it looked for its id, so an earlier attempt may be stored.
    RefusedBeforeIdCheck(E),
    /// The answer does not say whether the server carried the request out.
    Unusable(E),
    /// The server carried the request out, but with this answer the call's result is over a limit.
    OverLimit(E),
    /// The stream refused the request for its size, or for what it asks for. The item fails, unless
    /// the request was made from a stale stream info.
    RefusedMaybeStale(E),
    /// The answer to a request of a group does not say that the request was carried out.
    NotAcknowledged,
}

/// Why a request was not sent.
#[derive(Clone, Debug)]
pub(crate) enum SendFailure<E> {
    /// The NATS client does not take such a request.
    Rejected(E),
    /// The NATS client's queue stayed full until it was too late to send the request.
    QueueFull,
    ClientEnded,
}

/// What came of fetching the stream info.
#[derive(Clone, Debug)]
pub(crate) enum RefreshOutcome<I, E> {
    Info {
        info: Arc<I>,
        /// Whether the stream's rules for writes differ from those of the stale info.
        write_rules_changed: bool,
    },
    /// The stream does not exist, or cannot be used.
    Failed(E),
    /// The server did not answer in time.
    TimedOut,
}

/// What has happened.
#[derive(Clone, Debug)]
pub(crate) enum Event<I, E> {
    /// The state of the connection. `epoch` counts how often it was made.
    Connection { epoch: u64, is_up: bool },
    /// The NATS client has ended, and the inbox with it.
    ClientEnded,
    /// Whether another inbox could be opened.
    InboxOpened(bool),
    /// Until this time small batches are expected under the same concurrency limit.
    SmallBatchesExpectedUntil(Time),
    /// The permits of the last [`Action::AcquirePermits`] are here.
    PermitsGranted(usize),
    /// What came of the last [`Action::Send`]: how many of its items were sent, and why not all.
    Sent {
        count: usize,
        failure: Option<SendFailure<E>>,
    },
    Answer {
        token: usize,
        outcome: AnswerOutcome<E>,
    },
    /// The server denies this login these items of a group in flight. They are in order.
    ItemsDenied {
        token: usize,
        denied: Vec<(usize, E)>,
    },
    /// The server denies this login the inbox, so no answer can come.
    InboxDenied(E),
    /// What came of the last [`Action::RefreshInfo`].
    Refreshed(RefreshOutcome<I, E>),
    /// Time has passed. The driver has told all answers that have come.
    Tick,
}

/// Why an item failed.
#[derive(Clone, Debug)]
pub(crate) enum FailReason<E> {
    /// The call's send deadline or call deadline has passed.
    DeadlinePassed,
    /// The item's resend window is over: a second attempt could be stored besides the first.
    ResendUnsafe,
    Error(E),
}

/// What the driver has to do.
#[derive(Clone, Debug)]
pub(crate) enum Action<I, E> {
    /// Publish these items in order, with the token's reply subject. Then tell [`Event::Sent`]
    /// before any other event.
    Send {
        token: usize,
        items: Range<usize>,
        /// From this time on it is too late to send them.
        send_before: Time,
        /// Whether an earlier attempt may be stored.
        may_duplicate: bool,
        /// Why they are sent again. `None`: they were never sent before.
        why_again: Option<RetryReason>,
    },
    /// Wait for this many permits. There is never more than one such wait.
    AcquirePermits(usize),
    /// Stop waiting for permits.
    CancelAcquire,
    /// Give this many permits back.
    ReleasePermits(usize),
    /// Fetch the stream info, unless it has been fetched since `stale` was.
    RefreshInfo {
        stale: Arc<I>,
        /// Whether to give up after a short time, with [`RefreshOutcome::TimedOut`].
        with_timeout: bool,
    },
    /// Open another inbox.
    OpenInbox,
    /// Note that the connection was lost while items were in flight.
    ConnectionLost,
    /// Note that these items are done. (The operation has taken their answers already. This is for
    /// the driver's check that each item ends once.)
    Done(Range<usize>),
    /// Note that these items failed.
    Failed {
        items: Range<usize>,
        /// Whether an attempt may be stored, or may still be stored later.
        maybe_stored: bool,
        reason: FailReason<E>,
    },
    /// End the run: nothing is in flight, and the machine holds no permit.
    Finish {
        /// Whether every request was answered, so that no answer can come late.
        all_answered: bool,
    },
}
