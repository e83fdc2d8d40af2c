//! One request for many keys: `multi_last`, "the last message of each of these subjects" (ADR-31,
//! server ≥ 2.11).
//!
//! It is a quick way to most of the answer and never the last word. A key it does not answer is
//! left unknown and read by itself: the server may leave out a key that was overwritten while it
//! looked, and ends early when a message goes away under it ("404 Message Not Found"); and an older
//! server in a mixed cluster does not know the request at all.

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

/// Reads what it can of the wanted keys.
///
/// # Errors
///
/// Only that the answer is over the link's limit. Whatever else goes wrong leaves keys unknown.
pub(super) async fn read(
    bucket: &BucketHandle,
    info: &StreamInfo,
    wanted: &mut ReadBatch<'_>,
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
    let mut left = VecDeque::from(wanted.unknown());
    let all = left.len();
    bucket.concurrency().begins(all);
    let mut rounds = FuturesUnordered::new();
    let mut lost = false;
    loop {
        while !left.is_empty() {
            let slots = bucket.concurrency();
            let (most, size) = match slots.fair_share(all - left.len(), all, deadline) {
                Some(window) => (1, window),
                None => (tuning::MULTI_LAST_ROUNDS, tuning::MULTI_LAST_SUBJECTS),
            };
            if rounds.len() >= most {
                break;
            }
            let size = size.min(share).min(left.len());
            let subjects = left
                .drain(..size)
                .map(|index| (subject(info, wanted, index), index))
                .collect();
            rounds.push(round(bucket, info, subjects, deadline));
        }
        let Some(round) = rounds.next().await else {
            // Rounds that were under way together have lost the same connection.
            wanted.losses += usize::from(lost);
            return Ok(());
        };
        for (index, value) in round.answered {
            match value {
                Some(value) => wanted.found(index, value)?,
                None => wanted.missing(index),
            }
        }
        lost |= round.lost;
        if round.unanswered {
            // The rest would wait as long, and the keys can be read one by one.
            left.clear();
            let to = endpoint(info);
            let refused = bucket.connection().refused(deadline.start(), |it| it == to);
            if refused.is_some() {
                info.multi_last_denied.store(true, Ordering::Relaxed);
            }
        }
        left.extend(round.rest);
    }
}

/// Where the request goes.
fn endpoint(info: &StreamInfo) -> String {
    format!("{}.DIRECT.GET.{}", info.api_prefix, info.stream)
}

fn subject(info: &StreamInfo, wanted: &ReadBatch<'_>, index: usize) -> String {
    format!("{}{}", info.read_prefix, wanted.keys[index].encoded)
}

/// The request of `$JS.API.DIRECT.GET.<stream>`.
#[derive(Serialize)]
struct MultiLast<'a> {
    multi_last: Vec<&'a str>,
    max_bytes: usize,
}

/// What one request brought.
#[derive(Default)]
struct Round {
    /// Each answered key, and its value if it has one.
    answered: Vec<(usize, Option<Bytes>)>,
    /// The keys to ask for again, because the answer was cut off at `max_bytes`.
    rest: Vec<usize>,
    /// The server did not answer to the end.
    unanswered: bool,
    /// For the connection was lost.
    lost: bool,
}

async fn round(
    bucket: &BucketHandle,
    info: &StreamInfo,
    mut subjects: HashMap<String, usize>,
    deadline: &Deadline,
) -> Round {
    let mut round = Round::default();
    let permits = u32::try_from(subjects.len()).unwrap_or(u32::MAX);
    let slots = Arc::clone(bucket.concurrency().permits()).acquire_many_owned(permits);
    let Ok(Ok(_permits)) = timeout_at(deadline.settle(), slots).await else {
        return round;
    };
    if !bucket.connection().is_up() {
        return round;
    }
    let request = serde_json::to_vec(&MultiLast {
        multi_last: subjects.keys().map(String::as_str).collect(),
        max_bytes: tuning::WINDOW_BYTES,
    });
    let connection = bucket.connection();
    let epoch = connection.epoch();
    let Ok(request) = request else {
        return round;
    };
    let to = endpoint(info);
    // The client's queue is full while the server reads nothing.
    let asked = timeout_at(deadline.settle(), async {
        let inbox = connection.open_inbox(1).await?;
        let reply = inbox.reply_subject(0);
        let sent = inbox
            .client()
            .publish_with_reply(to.clone(), reply, request.into());
        sent.await.ok()?;
        Some(inbox)
    });
    let Ok(Some(mut inbox)) = asked.await else {
        return round;
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
            // Most are there when the one before them has been taken; no timer is set for these.
            Some(message) => Some(message),
            None => tokio::select! {
                biased;
                message = timeout_at(
                    (Instant::now() + deadline.patience()).min(deadline.settle()),
                    inbox.next(),
                ) => {
                    // The answers end when the client has ended.
                    round.lost = matches!(message, Ok(None));
                    message.ok().flatten()
                }
                is_lost = &mut stopped => {
                    round.lost = is_lost;
                    None
                }
            },
        };
        let Some(message) = message else {
            round.unanswered = true;
            break;
        };
        if inbox.token_of(&message).is_none() {
            continue;
        }
        match part(message) {
            Part::Of { subject, value } => {
                if let Some(index) = subjects.remove(&subject) {
                    round.answered.push((index, value));
                }
            }
            // Without progress, asking again would go on for ever.
            Part::Cut if !round.answered.is_empty() => {
                round.rest = subjects.into_values().collect();
                break;
            }
            Part::Cut => break,
            Part::End => {
                connection.return_inbox(inbox);
                break;
            }
        }
    }
    round
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
