//! Many requests on one inbox: the way single-key reads and all writes go to the server.
//!
//! One subscription serves a whole batch; the last token of a reply subject tells which request an
//! answer is to. There is no task for a key. [`machine`] decides what is sent, sent again or given
//! up; [`run`] does what it decides. When it is dropped, the subscription ends with it.
//!
//! Groups of requests share a reply subject, because a server finds its way to a subject that it has
//! just seen in a fraction of the time, which is a sixth of all that a small write costs it.

mod machine;
mod run;
#[cfg(test)]
mod simulation;

use std::ops::ControlFlow;

use async_nats::Message;
use async_nats::header::HeaderMap;
use bytes::Bytes;

use super::error::Error;
use super::stream_info::StreamInfo;

pub(super) use machine::Items;
pub(super) use run::run;

/// One request, without its reply subject.
pub(super) struct RequestMessage {
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
    /// The item failed, unless the bucket has been changed since its stream info was fetched.
    Outdated(Error),
    /// There is no such stream: the stream info has to be fetched again.
    Gone,
}

/// A batch of items, each one request and one answer.
pub(super) trait Operation: Items<Info = StreamInfo> {
    fn request(&self, item: usize, info: &StreamInfo) -> RequestMessage;

    /// The subject of the item's request.
    fn subject(&self, item: usize, info: &StreamInfo) -> String;

    /// Where in the stream a request of a group stands, if the answer says that it was carried out.
    fn place(&self, message: &Message, info: &StreamInfo) -> Option<u64>;

    /// Takes an answer to a request that was made for the bucket as it was in `info`.
    fn answer(&mut self, item: usize, message: Message, info: &StreamInfo) -> Answer;

    /// Takes note that the connection was lost while some items were in flight.
    fn connection_lost(&mut self) {}

    /// Takes note that an item is sent again of which an earlier copy may have been carried out.
    fn sent_again(&mut self) {}

    /// The error of an item that was sent and stayed unanswered, for the reason `why`.
    fn unanswered(&self, why: Error) -> Error;

    /// Takes note that an item failed. `Break` gives the whole batch up, with that error.
    fn failed(&mut self, item: usize, error: Error) -> ControlFlow<Error>;
}
