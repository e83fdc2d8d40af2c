//! What goes into the machine and what comes out of it.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::time::Time;

/// What the machine asks about the items of a batch.
pub(crate) trait Items {
    /// What is known of the stream that the items are in.
    type Info;

    /// How many items there are.
    fn len(&self) -> usize;

    /// How many items the whole call has, of which this batch may be what is left over. Whether a
    /// batch is small or large is decided by this.
    fn call_len(&self) -> usize {
        self.len()
    }

    /// About how many bytes of values the item keeps in flight.
    fn weight(&self, item: usize) -> usize;

    /// Whether the item may be sent in a group: a second copy does no harm for some time, and an
    /// answer shows by itself that a request was carried out.
    fn groups(&self, item: usize, info: &Self::Info) -> bool;

    /// For how long after its first copy was sent the item may be sent again, although an earlier
    /// copy may have been carried out.
    fn repeat_within(&self, item: usize, info: &Self::Info) -> Duration;
}

/// What an answer means.
#[derive(Clone, Debug)]
pub(crate) enum Reply<E> {
    /// The request was carried out. Of one in a group: at this place in the stream.
    Done { place: u64 },
    /// Nobody took the request.
    NoResponders,
    /// There is no such stream: the stream info has to be fetched again.
    Gone,
    /// Ask again after a pause.
    Again,
    /// The item failed.
    Failed(E),
    /// The item failed, unless the stream has been changed since its info was fetched.
    Outdated(E),
    /// One of a group was not carried out, or the answer does not say so.
    NotDone,
}

/// Why a request was not sent.
#[derive(Clone, Debug)]
pub(crate) enum Unsent<E> {
    /// The client does not take such a request.
    Refused(E),
    /// The client's queue stayed full until it was too late to send the request.
    QueueFull,
    ClientEnded,
}

/// What came of fetching the stream info.
#[derive(Clone, Debug)]
pub(crate) enum Refreshed<I, E> {
    Info {
        info: Arc<I>,
        /// Whether the stream takes messages of another size than when its info was stale.
        max_message_changed: bool,
    },
    /// The stream is gone, or cannot be used.
    Failed(E),
    /// There was no answer in time.
    Silent,
}

/// What has happened.
#[derive(Clone, Debug)]
pub(crate) enum Event<I, E> {
    /// What the connection is like now. `epoch` counts connects.
    Connection {
        epoch: u64,
        up: bool,
    },
    /// The client has ended, and with it the inbox.
    ClientEnded,
    /// Whether another inbox could be opened.
    InboxOpened(bool),
    /// Small batches are expected on this link until then.
    SmallBatchesUntil(Time),
    /// So many permits are granted of those that were asked for.
    Granted(usize),
    /// What came of the last [`Action::Send`]: so many of its items were sent, and why no more.
    Sent {
        count: usize,
        stopped: Option<Unsent<E>>,
    },
    Answer {
        token: usize,
        reply: Reply<E>,
    },
    /// The server refuses this login these items of a group in flight. They are in order.
    ItemsDenied {
        token: usize,
        denied: Vec<(usize, E)>,
    },
    /// The server refuses this login to hear answers.
    InboxDenied(E),
    /// What came of the last [`Action::Refresh`].
    Refreshed(Refreshed<I, E>),
    /// Time has passed. All answers that have come have been told.
    Tick,
}

/// Why an item failed.
#[derive(Clone, Debug)]
pub(crate) enum Why<E> {
    /// The time of the call is over.
    TimeOver,
    /// There was no answer in time, and to send the item again could carry it out twice.
    NotRepeatable,
    Given(E),
}

/// What is to be done.
#[derive(Clone, Debug)]
pub(crate) enum Action<I, E> {
    /// Publish these items, in order, with the token's reply subject, and tell [`Event::Sent`] before
    /// anything else.
    Send {
        token: usize,
        items: Range<usize>,
        /// When it is too late to send them.
        by: Time,
        /// Whether an earlier copy may have been carried out.
        repeat: bool,
    },
    /// Wait for so many permits. There is one such wait at a time.
    Ask(usize),
    /// Leave the queue for permits.
    StopAsking,
    /// Give back so many permits.
    Release(usize),
    /// Fetch the stream info, unless somebody has done so since `stale` was fetched. If it is to be
    /// brief, do not hold the batch up for long.
    Refresh {
        stale: Arc<I>,
        brief: bool,
    },
    /// Open another inbox.
    OpenInbox,
    /// The connection was lost while items were in flight.
    ConnectionLost,
    Done(Range<usize>),
    Failed {
        items: Range<usize>,
        /// Whether a copy was sent that may have been carried out.
        unanswered: bool,
        why: Why<E>,
    },
    /// The batch is over: nothing is in flight, and all permits have been given back.
    Finish {
        /// Whether no answer to this batch is still to come.
        all_answered: bool,
    },
}

/// Sizes and pauses.
#[derive(Clone, Debug)]
pub(crate) struct Sizes {
    /// Requests in flight, at most.
    pub(crate) window: usize,
    /// Bytes of values in flight, at most (always at least one value).
    pub(crate) window_bytes: usize,
    /// Requests that are sent at a time, at most: not more than the window, nor than the link's
    /// permits.
    pub(crate) burst: usize,
    /// Requests that share a reply subject, at most.
    pub(crate) group: usize,
    /// A call of at least so many items is large.
    pub(crate) large: usize,
    /// Requests of a large call in flight while small batches are expected, at most.
    pub(crate) window_beside_small: usize,
    /// The same if the large call is late.
    pub(crate) window_of_late: usize,
    /// The first pause before an item is sent again that nobody took, and the longest.
    pub(crate) backoff: (Duration, Duration),
    /// Requests in flight once the server has refused one for want of a permission.
    pub(crate) window_once_denied: usize,
    /// How long an answer is waited for then.
    pub(crate) patience_once_denied: Duration,
}
