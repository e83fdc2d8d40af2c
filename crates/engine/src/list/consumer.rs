//! Reads the last message of each key by a pull consumer.
//!
//! The server makes a list of the last messages when the consumer is created, and goes through it.
//! When it finds that one of them is gone, because its key was overwritten or has expired, it tells
//! the waiting request that there are no more messages, in the midst of the list. So the end of a
//! page is no sign of the end of the list; that every message of the list has come, is.

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::{ConsumerError, ConsumerErrorKind, Stream};
use async_nats::jetstream::{self, ErrorCode};
use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::pull_consumer::{Next, Pull};
use super::{Failure, Listing};
use crate::deadline::Deadline;
use crate::error::Error;
use crate::handle::BucketHandle;
use crate::message::is_transient;
use crate::stream_info::StreamInfo;
use crate::tuning;

/// Whether a listing cannot do without a request to this subject.
pub(super) fn asks_for(info: &StreamInfo, subject: &str) -> bool {
    let StreamInfo {
        api_prefix, stream, ..
    } = info;
    let is_about = |what: &str| {
        let after = subject.strip_prefix(&format!("{api_prefix}.{what}.{stream}"));
        after.is_some_and(|after| after.is_empty() || after.starts_with('.'))
    };
    is_about("STREAM.INFO") || is_about("CONSUMER.CREATE") || is_about("CONSUMER.MSG.NEXT")
}

/// Reads the keys into the listing. Answers whether they are all there.
pub(super) async fn read(
    listing: &mut Listing<'_>,
    info: &StreamInfo,
    deadline: &Deadline,
) -> Result<bool, Failure> {
    let stream = listing
        .bucket
        .context()
        .get_stream(&info.stream)
        .await
        .map_err(|_| Failure::Interrupted)?;
    // Before the consumer is created: what is later than this is not in its list.
    let last = stream.cached_info().state.last_sequence;
    if stream.cached_info().state.messages == 0 {
        return Ok(true);
    }
    let filter = format!("{}>", info.read_prefix);
    let consumer = create(&stream, DeliverPolicy::LastPerSubject, filter).await?;
    let complete = read_pages(listing, &consumer, last, deadline).await;
    drop_consumer(listing.bucket, info, &consumer.cached_info().name, deadline).await;
    complete
}

/// Only tidiness, for which nobody waits: the server drops the consumer by itself when it is not
/// used.
pub(super) async fn drop_consumer(
    bucket: &BucketHandle,
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
    let _ = timeout_at(deadline.end(), request).await;
}

pub(super) async fn create(
    stream: &Stream,
    deliver_policy: DeliverPolicy,
    filter_subject: String,
) -> Result<PullConsumer, Failure> {
    let consumer = stream.create_consumer(pull::Config {
        filter_subject,
        deliver_policy,
        ack_policy: AckPolicy::None,
        headers_only: true,
        memory_storage: true,
        num_replicas: 1,
        inactive_threshold: tuning::LIST_INACTIVE,
        ..pull::Config::default()
    });
    consumer.await.map_err(|error| refused(&error))
}

fn refused(error: &ConsumerError) -> Failure {
    match error.kind() {
        ConsumerErrorKind::JetStream(error)
            if !is_transient(&error) && error.error_code() != ErrorCode::STREAM_NOT_FOUND =>
        {
            Failure::Final(Error::Refused {
                what: "to list the bucket",
                reason: error.to_string(),
            })
        }
        _ => Failure::Interrupted,
    }
}

async fn read_pages(
    listing: &mut Listing<'_>,
    consumer: &PullConsumer,
    last: u64,
    deadline: &Deadline,
) -> Result<bool, Failure> {
    let expected = consumer.cached_info().num_pending;
    listing.reserve(expected);
    let mut progress = Progress::default();
    let mut cut_short = 0;
    while progress.of_list < expected {
        let slots = listing.bucket.concurrency().permits().acquire();
        let Ok(Ok(_slot)) = timeout_at(deadline.settle(), slots).await else {
            return Err(Failure::Interrupted);
        };
        // One at a time: a server takes turns between requests, and their messages would mingle.
        let mut page = Pull::request(listing.bucket, consumer, tuning::LIST_PAGE).await?;
        let mut count = 0;
        loop {
            // Some servers up to 2.12.1 do not say that a page is empty.
            let may_be_empty = count == 0 && progress.delivered > 0;
            let by = || {
                let patience = if may_be_empty {
                    tuning::LIST_EMPTY
                } else {
                    deadline.patience()
                };
                (Instant::now() + patience).min(deadline.end())
            };
            match page.next(by).await? {
                Next::Message(message) => {
                    progress.take(message, last)?;
                    listing.take(message)?;
                }
                Next::End => break,
                Next::Late if may_be_empty => break,
                Next::Late => return Err(Failure::Interrupted),
            }
            count += 1;
        }
        if count < tuning::LIST_PAGE {
            cut_short += 1;
        }
        let list_is_through = progress.delivered > progress.of_list;
        if list_is_through || cut_short == tuning::LIST_CUT_SHORT {
            break;
        }
    }
    Ok(progress.of_list >= expected)
}

#[derive(Default)]
struct Progress {
    delivered: u64,
    /// How many of them are of the list that was made when the consumer was created.
    of_list: u64,
}

impl Progress {
    fn take(&mut self, message: &jetstream::Message, last: u64) -> Result<(), Failure> {
        let info = message.info().map_err(|_| Failure::Interrupted)?;
        self.delivered += 1;
        if info.consumer_sequence != self.delivered {
            return Err(Failure::Interrupted);
        }
        if info.stream_sequence <= last {
            self.of_list += 1;
        }
        Ok(())
    }
}
