//! One request for each key: by direct get (ADR-31), or through the stream's leader.

use std::ops::ControlFlow;

use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::RawMessage;
use async_nats::jetstream::{self, ErrorCode};
use async_nats::{Message, StatusCode};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::Wanted;
use crate::engine::error::Error;
use crate::engine::exchange::{Answer, Exchange, Request};
use crate::engine::message::{is_marker, is_transient};
use crate::engine::open::{Opened, ReadPath};
use crate::engine::tuning;

/// Reads of the keys whose values are not known yet.
pub(super) struct Reads<'w, 'a> {
    wanted: &'w mut Wanted<'a>,
    /// Which of the wanted keys each item is.
    items: Vec<usize>,
    /// The mean size of the values that have come: what an unanswered read is taken to weigh.
    bytes_seen: usize,
    values_seen: usize,
}

impl<'w, 'a> Reads<'w, 'a> {
    pub(super) fn of_unknown(wanted: &'w mut Wanted<'a>) -> Self {
        Self {
            items: wanted.unknown(),
            wanted,
            bytes_seen: 0,
            values_seen: 0,
        }
    }

    fn value(&mut self, item: usize, value: Bytes) -> Answer {
        self.bytes_seen += value.len();
        self.values_seen += 1;
        match self.wanted.found(self.items[item], value) {
            Ok(()) => Answer::Done,
            Err(error) => Answer::Failed(error),
        }
    }

    fn missing(&mut self, item: usize) -> Answer {
        self.wanted.missing(self.items[item]);
        Answer::Done
    }
}

/// The request of `$JS.API.STREAM.MSG.GET`.
#[derive(Serialize)]
struct LastBySubject<'a> {
    last_by_subj: &'a str,
}

/// Its answer.
#[derive(Deserialize)]
struct LeaderAnswer {
    message: Option<RawMessage>,
    error: Option<jetstream::Error>,
}

impl Exchange for Reads<'_, '_> {
    fn len(&self) -> usize {
        self.items.len()
    }

    fn weight(&self, _item: usize) -> usize {
        self.bytes_seen
            .checked_div(self.values_seen)
            .unwrap_or(tuning::UNSEEN_VALUE_BYTES)
    }

    fn request(&self, item: usize, opened: &Opened) -> Request {
        let Opened {
            api_prefix,
            stream,
            read_prefix,
            ..
        } = opened;
        let key = &self.wanted.keys[self.items[item]].encoded;
        let (subject, payload) = match opened.read_path {
            ReadPath::Direct => (
                format!("{api_prefix}.DIRECT.GET.{stream}.{read_prefix}{key}"),
                Bytes::new(),
            ),
            ReadPath::Leader => {
                let last_by_subj = &format!("{read_prefix}{key}");
                let request = serde_json::to_vec(&LastBySubject { last_by_subj });
                (
                    format!("{api_prefix}.STREAM.MSG.GET.{stream}"),
                    request.unwrap_or_default().into(),
                )
            }
        };
        Request {
            subject,
            headers: None,
            payload,
        }
    }

    fn groups(&self, _item: usize, _opened: &Opened) -> bool {
        false
    }

    fn is_done(&self, _message: &Message, _opened: &Opened) -> bool {
        false
    }

    fn answer(&mut self, item: usize, message: Message, _opened: &Opened) -> Answer {
        match message.status {
            Some(StatusCode::NOT_FOUND) => return self.missing(item),
            Some(status) => {
                return Answer::Failed(Error::Refused {
                    what: "a read",
                    reason: format!("{status} {}", message.description.unwrap_or_default()),
                });
            }
            None => {}
        }
        // A direct get answers with the stored message, whose headers name its stream.
        if let Some(headers) = &message.headers
            && headers.get(async_nats::header::NATS_STREAM).is_some()
        {
            return if is_marker(Some(headers)) {
                self.missing(item)
            } else {
                self.value(item, message.payload)
            };
        }
        match serde_json::from_slice(&message.payload) {
            Ok(LeaderAnswer {
                message: Some(raw), ..
            }) => match StreamMessage::try_from(raw) {
                Ok(stored) if is_marker(Some(&stored.headers)) => self.missing(item),
                Ok(stored) => self.value(item, stored.payload),
                Err(error) => unreadable(&error),
            },
            Ok(LeaderAnswer {
                error: Some(error), ..
            }) => match error.error_code() {
                ErrorCode::NO_MESSAGE_FOUND => self.missing(item),
                _ if is_transient(&error) => Answer::Again,
                _ => Answer::Failed(Error::Refused {
                    what: "a read",
                    reason: error.to_string(),
                }),
            },
            Ok(_) => unreadable(&"it is empty"),
            Err(error) => unreadable(&error),
        }
    }

    fn repeatable(&self, _item: usize, _sent: Instant, _opened: &Opened) -> bool {
        true
    }

    fn unanswered(&self, why: Error) -> Error {
        why
    }

    /// One key that cannot be read makes the answer an error.
    fn failed(&mut self, _item: usize, error: Error) -> ControlFlow<Error> {
        ControlFlow::Break(error)
    }
}

fn unreadable(why: &dyn std::fmt::Display) -> Answer {
    Answer::Failed(Error::Refused {
        what: "a read",
        reason: format!("its answer cannot be read: {why}"),
    })
}
