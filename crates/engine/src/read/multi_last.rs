//! One request for many keys: `multi_last`, "the last message of each of these subjects" (ADR-31,
//! server ≥ 2.11).
//!
//! The request answers most keys fast. A marker in the answer proves that its key is missing. But a
//! key's absence from the answer proves nothing, for three reasons. The server may leave out a key
//! that is overwritten while it looks. It ends the answer early if a message is removed meanwhile
//! ("404 Message Not Found"). And an older server in a mixed cluster does not know the request at
//! all. So a key without an answer stays unknown, and is read by itself afterwards.

mod exchange;
mod pace;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use super::ReadBatch;
use crate::bucket_state::BucketState;
use crate::connection::Connection;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::inbox::Inbox;
use crate::retries::RetryReason;
use crate::stream_info::StreamInfo;
use crate::tuning;
use exchange::{AnswerPart, AnsweredKey, Exchange, ExchangeEnd};
use pace::RequestPace;

/// Reads the keys of the batch that `multi_last` answers.
///
/// # Errors
///
/// Only that the results of the call are over a limit. Any other trouble leaves keys unknown.
pub(super) async fn read(
    bucket: &BucketState,
    info: &StreamInfo,
    batch: &mut ReadBatch<'_>,
    deadline: &Deadline,
) -> Result<(), Error> {
    let connection = bucket.connection();
    let client = connection.client();
    if max_keys_of_request(bucket) < tuning::MULTI_LAST_MIN_SUBJECTS
        || info.multi_last_denied.load(Ordering::Relaxed)
        || !client.is_server_compatible(2, 11, 0)
    {
        return Ok(());
    }
    let mut queue = VecDeque::from(batch.unknown());
    bucket.concurrency().batch_started(batch.total_items);
    let mut requests = FuturesUnordered::new();
    let mut connection_lost = false;
    let mut pace = RequestPace::default();
    loop {
        while !queue.is_empty() {
            let in_flight = requests.len();
            let key_count =
                next_request_size(bucket, batch, &pace, queue.len(), in_flight, deadline);
            let Some(key_count) = key_count else {
                break;
            };
            let subjects = queue
                .drain(..key_count)
                .map(|index| (subject(info, batch, index), index))
                .collect();
            requests.push(request(bucket, info, subjects, deadline));
        }
        let Some(exchange) = requests.next().await else {
            // Several requests may have lost the connection. It is one loss.
            if connection_lost {
                batch.lost.record();
            }
            return Ok(());
        };
        if let Some(time) = exchange.service_time {
            pace.record(exchange.answered.len(), time);
        }
        take_answered(info, batch, exchange.answered)?;
        queue.extend(exchange.cut_off);
        match exchange.end {
            // Keys without an answer stay unknown. The loop goes on with the queue.
            ExchangeEnd::Complete | ExchangeEnd::NotSent => continue,
            ExchangeEnd::Unanswered => connection.count_retry(RetryReason::NoAnswer),
            ExchangeEnd::Denied => info.multi_last_denied.store(true, Ordering::Relaxed),
            ExchangeEnd::ConnectionLost => {
                connection_lost = true;
                connection.count_retry(RetryReason::ConnectionLost);
            }
        }
        // The server is slow or denies such requests, so the queued keys are left to requests for
        // single keys.
        queue.clear();
    }
}

/// The most keys of one request. Each key holds a permit, so a request may have only its share of
/// them.
fn max_keys_of_request(bucket: &BucketState) -> usize {
    bucket.limits().max_concurrency / tuning::MULTI_LAST_PERMITS_DIVISOR
}

/// How many of the queued keys the next request asks for. `None`: so many requests are in flight
/// that no other is sent now.
fn next_request_size(
    bucket: &BucketState,
    batch: &ReadBatch<'_>,
    pace: &RequestPace,
    queued: usize,
    in_flight: usize,
    deadline: &Deadline,
) -> Option<usize> {
    let connection = bucket.connection();
    // All items that are not in this queue count as sent.
    let sent = batch.total_items.saturating_sub(queued);
    let concurrency = bucket.concurrency();
    let (max_requests, max_keys) =
        match concurrency.window_if_yielding(sent, batch.total_items, deadline) {
            Some(window) => (1, window),
            None => (
                pace.requests(connection.round_trip().get()) * bucket.read_connections(),
                tuning::MULTI_LAST_SUBJECTS,
            ),
        };
    let max_keys = max_keys.min(max_keys_of_request(bucket));
    // A request that waits for permits would stand before the next small call in the semaphore's
    // queue.
    let max_requests = max_requests.min((bucket.limits().max_concurrency / max_keys).max(1));
    (in_flight < max_requests).then(|| max_keys.min(queued))
}

/// Takes the keys that the server has answered.
///
/// # Errors
///
/// The results of the call are over a limit.
fn take_answered(
    info: &StreamInfo,
    batch: &mut ReadBatch<'_>,
    answered: Vec<AnsweredKey>,
) -> Result<(), Error> {
    let values = answered.iter().filter_map(|key| key.value.as_ref());
    let (count, bytes) = values.fold((0, 0), |(count, bytes), value| {
        (count + 1, bytes + value.len())
    });
    info.mean_value_size.record(count, bytes);
    for key in answered {
        match key.value {
            Some(value) => batch.found(key.index, value, key.sequence)?,
            None => batch.missing(key.index, key.sequence),
        }
    }
    Ok(())
}

/// The subject that the request is sent to.
fn request_subject(info: &StreamInfo) -> String {
    format!("{}.DIRECT.GET.{}", info.api_prefix, info.stream)
}

/// The subject of a key.
fn subject(info: &StreamInfo, batch: &ReadBatch<'_>, index: usize) -> String {
    format!("{}{}", info.read_prefix, batch.keys[index].encoded)
}

/// The request of `$JS.API.DIRECT.GET.<stream>`.
#[derive(Serialize)]
struct MultiLast<'a> {
    multi_last: Vec<&'a str>,
    max_bytes: usize,
}

/// Asks for the last messages of these subjects, and takes the answer.
async fn request(
    bucket: &BucketState,
    info: &StreamInfo,
    subjects: HashMap<String, usize>,
    deadline: &Deadline,
) -> Exchange {
    let mut exchange = Exchange::new(subjects);
    let keys = exchange.unanswered_count();
    let permits = u32::try_from(keys).unwrap_or(u32::MAX);
    let permits = Arc::clone(bucket.concurrency().permits()).acquire_many_owned(permits);
    let Ok(Ok(_permits)) = timeout_at(deadline.send_deadline(), permits).await else {
        return exchange;
    };
    let connection = bucket.next_read_connection();
    // One answer shows a writer's atomic batch whole or not at all. If it were cut off, a second
    // request would go on, maybe after another batch. So it may be as large as any.
    let max_bytes = if info.takes_atomic_batches() {
        tuning::WINDOW_BYTES
    } else {
        info.mean_value_size.max_answer_bytes(keys)
    };
    let room = connection.room_for_answer(max_bytes);
    let Ok(Some(_room)) = timeout_at(deadline.send_deadline(), room).await else {
        return exchange;
    };
    // Not sent: the keys stay unknown, and the pipeline reads or fails them.
    if !connection.is_up() || Instant::now() >= deadline.send_deadline() {
        return exchange;
    }
    let epoch = connection.epoch();
    let to = request_subject(info);
    let Some(mut inbox) = send(connection, &to, &exchange, max_bytes, deadline).await else {
        return exchange;
    };
    let sent = Instant::now();
    let mut first_answer = None;
    let lost_or_denied = async {
        tokio::select! {
            () = connection.until_reconnected(epoch) => ExchangeEnd::ConnectionLost,
            // The login may still be allowed to read each key.
            _ = connection.until_permission_error(deadline.start(), |subject| subject == to) => {
                // The error may be that of the inbox.
                if connection.is_denied(&to, deadline.start()) {
                    ExchangeEnd::Denied
                } else {
                    ExchangeEnd::Unanswered
                }
            }
        }
    };
    tokio::pin!(lost_or_denied);
    loop {
        let message = match inbox.next_now() {
            // Most messages are here already, and need no timer.
            Some(message) => message,
            None => tokio::select! {
                biased;
                message = timeout_at(
                    (Instant::now() + deadline.answer_timeout()).min(deadline.call_deadline()),
                    inbox.next(),
                ) => match message {
                    Ok(Some(message)) => message,
                    // The NATS client has ended.
                    Ok(None) => return exchange.ended(ExchangeEnd::ConnectionLost),
                    Err(_) => return exchange.ended(ExchangeEnd::Unanswered),
                },
                end = &mut lost_or_denied => return exchange.ended(end),
            },
        };
        if inbox.token_of(&message).is_none() {
            continue;
        }
        let first_answer = *first_answer.get_or_insert_with(|| {
            let now = Instant::now();
            connection.round_trip().record(epoch, now - sent);
            now
        });
        if exchange.add(AnswerPart::from(message)).is_break() {
            connection.return_inbox(inbox);
            exchange.service_time = Some(first_answer.elapsed());
            return exchange;
        }
    }
}

/// Sends the request. Returns the inbox for the answer; `None` if the request could not be sent.
async fn send(
    connection: &Connection,
    to: &str,
    exchange: &Exchange,
    max_bytes: usize,
    deadline: &Deadline,
) -> Option<Inbox> {
    let body = serde_json::to_vec(&MultiLast {
        multi_last: exchange.subjects().collect(),
        max_bytes,
    });
    let body = body.ok()?;
    // While the server reads nothing, the NATS client's queue is full.
    let sent = timeout_at(deadline.send_deadline(), async {
        let inbox = connection.open_inbox(1).await?;
        let reply = inbox.reply_subject(0);
        let client = inbox.client();
        let sent = client.publish_with_reply(to.to_owned(), reply, body.into());
        sent.await.ok()?;
        Some(inbox)
    });
    sent.await.ok().flatten()
}
