//! Many requests on one inbox: the way single-key reads and all writes go to the server.
//!
//! One subscription serves a whole batch; the last token of a reply subject tells which request an
//! answer is to. There is no task for a key: one loop ([`run`]) sends while there is room, takes
//! answers, and sends again what stayed unanswered. When it is dropped, the subscription ends with
//! it.
//!
//! Where it does not matter which answer is to which request, as long as all are good, requests are
//! sent in groups that share a reply subject: a server finds its way to a subject it has just seen
//! in a fraction of the time, which is a sixth of all that a small write costs it. If not all the
//! answers of a group are good, or do not come, its requests are sent again one by one.

mod in_flight;
mod run;

use std::ops::ControlFlow;

use async_nats::Message;
use async_nats::header::HeaderMap;
use bytes::Bytes;
use tokio::time::Instant;

use super::error::Error;
use super::stream_info::StreamInfo;

pub(super) use run::run;

/// One request, without its reply subject.
pub(super) struct Request {
    pub(super) subject: String,
    pub(super) headers: Option<HeaderMap>,
    pub(super) payload: Bytes,
}

/// What an answer means.
pub(super) enum Answer {
    /// The item is done.
    Done,
    /// Ask again after a pause.
    Again,
    /// The item failed.
    Failed(Error),
    /// The item failed, unless the bucket has been changed since it was last looked at.
    Outdated(Error),
    /// There is no such stream: the bucket is to be looked at again.
    Gone,
}

/// A batch of items, each one request and one answer.
pub(super) trait Operation {
    /// How many items there are.
    fn len(&self) -> usize;

    /// About how many bytes of values the item keeps in flight.
    fn weight(&self, item: usize) -> usize;

    fn request(&self, item: usize, info: &StreamInfo) -> Request;

    /// Whether the item may be sent in a group: it may be sent again for some time, whatever became
    /// of it, and an answer shows by itself that a request was carried out.
    fn groups(&self, item: usize, info: &StreamInfo) -> bool;

    /// Whether an answer to one of a group says that the request was carried out.
    fn is_done(&self, message: &Message, info: &StreamInfo) -> bool;

    /// Takes an answer to a request that was made for the bucket as it was in `info`.
    fn answer(&mut self, item: usize, message: Message, info: &StreamInfo) -> Answer;

    /// Takes note that the connection was lost while some items were in flight.
    fn connection_lost(&mut self) {}

    /// Whether an item that was first sent at `sent`, and may have been carried out, may be sent
    /// again.
    fn repeatable(&self, item: usize, sent: Instant, info: &StreamInfo) -> bool;

    /// The error of an item that was sent and stayed unanswered, for the reason `why`.
    fn unanswered(&self, why: Error) -> Error;

    /// Takes note that an item failed. `Break` gives the whole batch up, with that error.
    fn failed(&mut self, item: usize, error: Error) -> ControlFlow<Error>;
}
