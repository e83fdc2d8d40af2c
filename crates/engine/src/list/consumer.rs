//! Reads the last message of each key from a pull consumer.
//!
//! When the consumer is created, the server makes a list of the last messages. It delivers them in
//! order. A message may be gone when its turn comes, because its key was overwritten or has
//! expired. Then the server answers the request with "no more messages" in the middle of the list.
//! So the end of an answer does not mean the end of the list. The listing is complete when every
//! message of the list has come.

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::{ConsumerError, ConsumerErrorKind, Stream};
use async_nats::jetstream::{self, ErrorCode};
use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::pull_consumer::{NextMessage, PullRequest};
use super::{ListError, Listing};
use crate::bucket_state::BucketState;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::message::is_transient;
use crate::stream_info::StreamInfo;
use crate::text::LogText;
use crate::tuning;

/// Whether a listing sends requests to this subject.
pub(super) fn is_request(info: &StreamInfo, subject: &str) -> bool {
    let StreamInfo {
        api_prefix, stream, ..
    } = info;
    let is_about = |what: &str| {
        let after = subject.strip_prefix(&format!("{api_prefix}.{what}.{stream}"));
        after.is_some_and(|after| after.is_empty() || after.starts_with('.'))
    };
    is_about("STREAM.INFO") || is_about("CONSUMER.CREATE") || is_about("CONSUMER.MSG.NEXT")
}

/// Reads the keys into the listing. Returns whether they are complete.
pub(super) async fn read(
    listing: &mut Listing<'_>,
    info: &StreamInfo,
    deadline: &Deadline,
) -> Result<bool, ListError> {
    let stream = listing
        .bucket
        .context()
        .get_stream(&info.stream)
        .await
        .map_err(|_| ListError::Interrupted)?;
    // This is read before the consumer is created. So a message after it is not in the consumer's
    // list.
    let last = stream.cached_info().state.last_sequence;
    if stream.cached_info().state.messages == 0 {
        return Ok(true);
    }
    let filter = format!("{}>", info.read_prefix);
    let consumer = create(&stream, DeliverPolicy::LastPerSubject, filter).await?;
    let complete = read_list(listing, &consumer, last, deadline).await;
    delete(listing.bucket, info, &consumer.cached_info().name, deadline).await;
    complete
}

/// Deletes the consumer, without waiting for the answer. If the request is lost, the server deletes
/// the consumer a few seconds later.
pub(super) async fn delete(
    bucket: &BucketState,
    info: &StreamInfo,
    name: &str,
    deadline: &Deadline,
) {
    let StreamInfo {
        api_prefix, stream, ..
    } = info;
    let client = bucket.connection().client();
    let request = client.publish_with_reply(
        format!("{api_prefix}.CONSUMER.DELETE.{stream}.{name}"),
        client.new_inbox(),
        Bytes::new(),
    );
    let _ = timeout_at(deadline.call_deadline(), request).await;
}

pub(super) async fn create(
    stream: &Stream,
    deliver_policy: DeliverPolicy,
    filter_subject: String,
) -> Result<PullConsumer, ListError> {
    let consumer = stream.create_consumer(pull::Config {
        filter_subject,
        deliver_policy,
        ack_policy: AckPolicy::None,
        headers_only: true,
        memory_storage: true,
        num_replicas: 1,
        inactive_threshold: tuning::LIST_INACTIVE_THRESHOLD,
        ..pull::Config::default()
    });
    consumer.await.map_err(|error| refused(&error))
}

fn refused(error: &ConsumerError) -> ListError {
    match error.kind() {
        ConsumerErrorKind::JetStream(error)
            if !is_transient(&error) && error.error_code() != ErrorCode::STREAM_NOT_FOUND =>
        {
            ListError::Final(Error::Refused {
                what: "to list the bucket",
                reason: LogText::of_jetstream(&error),
            })
        }
        _ => ListError::Interrupted,
    }
}

async fn read_list(
    listing: &mut Listing<'_>,
    consumer: &PullConsumer,
    last: u64,
    deadline: &Deadline,
) -> Result<bool, ListError> {
    let expected = consumer.cached_info().num_pending;
    listing.reserve(expected);
    let mut progress = Progress::default();
    let mut short_answers = 0;
    while progress.from_list < expected {
        let permit = listing.bucket.concurrency().permits().acquire();
        let Ok(Ok(_permit)) = timeout_at(deadline.send_deadline(), permit).await else {
            return Err(ListError::Interrupted);
        };
        // One request at a time. A server alternates between requests, so their messages would mix.
        let mut answer =
            PullRequest::request(listing.bucket, consumer, tuning::LIST_REQUEST_KEYS).await?;
        let mut count = 0;
        loop {
            // Some servers up to 2.12.1 do not answer a request if there is no message for it.
            let may_be_empty = count == 0 && progress.delivered > 0;
            let wait_until = || {
                let timeout = if may_be_empty {
                    tuning::LIST_EMPTY_TIMEOUT
                } else {
                    deadline.answer_timeout()
                };
                (Instant::now() + timeout).min(deadline.call_deadline())
            };
            match answer.next(wait_until).await? {
                NextMessage::Message(message) => {
                    progress.count(message, last)?;
                    listing.add_message(message)?;
                }
                NextMessage::End => break,
                NextMessage::TimedOut if may_be_empty => break,
                NextMessage::TimedOut => return Err(ListError::Interrupted),
            }
            count += 1;
        }
        if count < tuning::LIST_REQUEST_KEYS {
            short_answers += 1;
        }
        let is_past_the_list = progress.delivered > progress.from_list;
        if is_past_the_list || short_answers == tuning::LIST_SHORT_ANSWERS {
            break;
        }
    }
    Ok(progress.from_list >= expected)
}

/// How far the consumer has come.
#[derive(Default)]
struct Progress {
    delivered: u64,
    /// How many of the delivered messages are from the consumer's list.
    from_list: u64,
}

impl Progress {
    fn count(&mut self, message: &jetstream::Message, last: u64) -> Result<(), ListError> {
        let info = message.info().map_err(|_| ListError::Interrupted)?;
        self.delivered += 1;
        // Otherwise a message was lost on the way.
        if info.consumer_sequence != self.delivered {
            return Err(ListError::Interrupted);
        }
        if info.stream_sequence <= last {
            self.from_list += 1;
        }
        Ok(())
    }
}
