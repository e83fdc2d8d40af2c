//! One request for many keys: `multi_last`, "the last message of each of these subjects" (ADR-31,
//! server ≥ 2.11).
//!
//! The request answers most keys fast, but it never proves that a key is missing. A key without an
//! answer stays unknown and is read one by one afterwards, for three reasons: the server may leave out a
//! key that is overwritten while it looks; it ends early when a message is removed meanwhile ("404 Message
//! Not Found"); and an older server in a mixed cluster does not know the request at all.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_nats::Message;
use async_nats::header::NATS_SUBJECT;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use super::ReadBatch;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::handle::BucketHandle;
use crate::message::is_marker;
use crate::stream_info::StreamInfo;
use crate::tuning;

/// How many messages of the batch come after this one. Only a server that knows `multi_last` says.
const NUM_PENDING: &str = "Nats-Num-Pending";

/// The end of a `multi_last` answer.
const END_OF_BATCH: u16 = 204;

/// Reads what it can of the batch's keys.
///
/// # Errors
///
/// Only that the answer is over a limit. Whatever else goes wrong leaves keys unknown.
pub(super) async fn read(
    bucket: &BucketHandle,
    info: &StreamInfo,
    batch: &mut ReadBatch<'_>,
    deadline: &Deadline,
) -> Result<(), Error> {
    let share = bucket.limits().max_concurrency / tuning::MULTI_LAST_ROUNDS;
    let client = bucket.connection().client();
    if share < tuning::MULTI_LAST_MIN
        || info.multi_last_denied.load(Ordering::Relaxed)
        || !client.is_server_compatible(2, 11, 0)
    {
        return Ok(());
    }
    let mut left = VecDeque::from(batch.unknown());
    let all = left.len();
    bucket.concurrency().batch_started(batch.total_items);
    let mut requests = FuturesUnordered::new();
    let mut lost = false;
    loop {
        while !left.is_empty() {
            let (most, size) =
                match bucket
                    .concurrency()
                    .fair_share(all - left.len(), all, deadline)
                {
                    Some(window) => (1, window),
                    None => (tuning::MULTI_LAST_ROUNDS, tuning::MULTI_LAST_SUBJECTS),
                };
            if requests.len() >= most {
                break;
            }
            let size = size.min(share).min(left.len());
            let subjects = left
                .drain(..size)
                .map(|index| (subject(info, batch, index), index))
                .collect();
            requests.push(request(bucket, info, subjects, deadline));
        }
        let Some(response) = requests.next().await else {
            // Requests that were in flight together have lost the same connection.
            if lost {
                batch.lost.record();
            }
            return Ok(());
        };
        for (index, value) in response.answered {
            match value {
                Some(value) => batch.found(index, value)?,
                None => batch.missing(index),
            }
        }
        lost |= response.lost;
        if response.unanswered {
            // The rest would wait as long, and the keys can be read one by one.
            left.clear();
            let to = endpoint(info);
            let refused = bucket.connection().refused(deadline.start(), |it| it == to);
            if refused.is_some() {
                info.multi_last_denied.store(true, Ordering::Relaxed);
            }
        }
        left.extend(response.rest);
    }
}

/// Where the request goes.
fn endpoint(info: &StreamInfo) -> String {
    format!("{}.DIRECT.GET.{}", info.api_prefix, info.stream)
}

fn subject(info: &StreamInfo, batch: &ReadBatch<'_>, index: usize) -> String {
    format!("{}{}", info.read_prefix, batch.keys[index].encoded)
}

/// The request of `$JS.API.DIRECT.GET.<stream>`.
#[derive(Serialize)]
struct MultiLast<'a> {
    multi_last: Vec<&'a str>,
    max_bytes: usize,
}

/// What one request brought.
#[derive(Default)]
struct Response {
    /// Each answered key, and its value if it has one.
    answered: Vec<(usize, Option<Bytes>)>,
    /// The keys to ask for again, because the answer was cut off at `max_bytes`.
    rest: Vec<usize>,
    /// The server did not answer to the end.
    unanswered: bool,
    /// For the connection was lost.
    lost: bool,
}

async fn request(
    bucket: &BucketHandle,
    info: &StreamInfo,
    mut subjects: HashMap<String, usize>,
    deadline: &Deadline,
) -> Response {
    let mut response = Response::default();
    let permits = u32::try_from(subjects.len()).unwrap_or(u32::MAX);
    let permits = Arc::clone(bucket.concurrency().permits()).acquire_many_owned(permits);
    let Ok(Ok(_permits)) = timeout_at(deadline.send_deadline(), permits).await else {
        return response;
    };
    if !bucket.connection().is_up() {
        return response;
    }
    let body = serde_json::to_vec(&MultiLast {
        multi_last: subjects.keys().map(String::as_str).collect(),
        max_bytes: tuning::WINDOW_BYTES,
    });
    let connection = bucket.connection();
    let epoch = connection.epoch();
    let Ok(body) = body else {
        return response;
    };
    let to = endpoint(info);
    // The client's queue is full while the server reads nothing.
    let asked = timeout_at(deadline.send_deadline(), async {
        let inbox = connection.open_inbox(1).await?;
        let reply = inbox.reply_subject(0);
        let sent = inbox
            .client()
            .publish_with_reply(to.clone(), reply, body.into());
        sent.await.ok()?;
        Some(inbox)
    });
    let Ok(Some(mut inbox)) = asked.await else {
        return response;
    };
    let stopped = async {
        tokio::select! {
            () = connection.until_lost(epoch) => true,
            // Who may not ask for many keys at once may still read each of them.
            _ = connection.until_refused(deadline.start(), |it| it == to) => false,
        }
    };
    tokio::pin!(stopped);
    loop {
        let message = match inbox.next_now() {
            // Most messages are here already, and need no timer.
            Some(message) => Some(message),
            None => tokio::select! {
                biased;
                message = timeout_at(
                    (Instant::now() + deadline.answer_timeout()).min(deadline.send_deadline()),
                    inbox.next(),
                ) => {
                    // The answers end when the client has ended.
                    response.lost = matches!(message, Ok(None));
                    message.ok().flatten()
                }
                is_lost = &mut stopped => {
                    response.lost = is_lost;
                    None
                }
            },
        };
        let Some(message) = message else {
            response.unanswered = true;
            break;
        };
        if inbox.token_of(&message).is_none() {
            continue;
        }
        match part(message) {
            Part::Of { subject, value } => {
                if let Some(index) = subjects.remove(&subject) {
                    response.answered.push((index, value));
                }
            }
            // Without progress, asking again would go on for ever.
            Part::Cut if !response.answered.is_empty() => {
                response.rest = subjects.into_values().collect();
                break;
            }
            Part::Cut => break,
            Part::End => {
                connection.return_inbox(inbox);
                break;
            }
        }
    }
    response
}

/// What one message of the answer is.
enum Part {
    /// The last message of a subject, and its value unless it is a marker.
    Of {
        subject: String,
        value: Option<Bytes>,
    },
    /// The end, with more to come in another request.
    Cut,
    /// The end, or no answer to this kind of request.
    End,
}

fn part(message: Message) -> Part {
    // The server's headers come last. One of the same name may be part of the stored message.
    let header = |name: &str| message.headers.as_ref()?.get_last(name);
    let Some(pending) = header(NUM_PENDING) else {
        return Part::End;
    };
    if let Some(subject) = header(NATS_SUBJECT.as_ref()) {
        return Part::Of {
            subject: subject.as_str().to_owned(),
            value: (!is_marker(message.headers.as_ref())).then_some(message.payload),
        };
    }
    let is_end = message
        .status
        .is_some_and(|status| status.as_u16() == END_OF_BATCH);
    if is_end && pending.as_str() != "0" {
        Part::Cut
    } else {
        Part::End
    }
}
