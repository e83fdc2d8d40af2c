//! The pipeline: how requests for single keys go to the server, many on one inbox. It carries reads
//! of single keys, and all writes but atomic batches (`write/atomic` has its own loop).
//!
//! One run of the pipeline carries out an [`Operation`]: the items of a batch, or the rest of them.
//! One subscription serves the whole run. The last token of a reply subject tells which request an
//! answer is to. [`machine`] decides what to send, to send again, and to fail. [`run`] does what
//! the machine decides, in one future for the whole run. When the future is dropped, its
//! subscription ends.
//!
//! Requests share a reply subject in groups, because a new reply subject is costly for the server.
//! It caches which subscription a subject has. Looking up a new subject is a sixth of the work of a
//! small write.

mod machine;
mod run;
#[cfg(test)]
mod simulation;

use std::ops::ControlFlow;

use async_nats::Message;
use async_nats::header::HeaderMap;
use bytes::Bytes;

use super::bucket_state::BucketState;
use super::connection::Connection;
use super::error::Error;
use super::stream_info::StreamInfo;

pub(super) use machine::{AnswerOutcome, Items};
pub(super) use run::run;

/// One request, without its reply subject.
pub(super) struct RequestMessage {
    pub(super) subject: String,
    pub(super) headers: Option<HeaderMap>,
    pub(super) payload: Bytes,
}

/// How the items of a run become requests, and what the answers mean.
pub(super) trait Operation: Items<Info = StreamInfo> {
    fn request(&self, item: usize, info: &StreamInfo) -> RequestMessage;

    /// The subject of the item's request.
    fn subject(&self, item: usize, info: &StreamInfo) -> String;

    /// The connection that the requests of one run go over.
    fn connection<'b>(&self, bucket: &'b BucketState) -> &'b Connection {
        bucket.connection()
    }

    /// Takes an answer to one of the requests of a group of several. Returns the sequence of the stored
    /// message if the answer says that the request was carried out.
    fn shared_answer(&mut self, message: &Message, info: &StreamInfo) -> Option<u64>;

    /// Takes the answer to a request that was sent by itself, and made from this stream info.
    fn answer(&mut self, item: usize, message: Message, info: &StreamInfo) -> AnswerOutcome<Error>;

    /// Notes that the connection was lost while some items were in flight.
    fn connection_lost(&mut self) {}

    /// Notes that the server may have taken a request more than once, or may with the next send.
    fn note_possible_duplicate(&mut self) {}

    /// Turns the error of an item into one that says that an attempt may be stored.
    fn to_unclear_error(&self, error: Error) -> Error;

    /// Notes that an item failed. `Break` ends the whole run with that error.
    fn failed(&mut self, item: usize, error: Error) -> ControlFlow<Error>;
}
