//! Listing a bucket: the last message of each key, headers only, by a consumer of its own.
//!
//! A pull consumer, because its answers come in pages that end by themselves: nothing is pushed
//! faster than it is read, and the end is what the server says it is, not a count that goes wrong
//! when keys are overwritten meanwhile.

use std::collections::HashMap;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::{self, ErrorCode};
use futures::StreamExt as _;
use tokio::time::{Instant, sleep, timeout_at};

use super::bucket::Bucket;
use super::deadline::Deadline;
use super::error::Error;
use super::message::{is_marker, is_transient};
use super::open::Opened;
use super::tuning;

pub(super) async fn keys(bucket: &Bucket, deadline: &Deadline) -> Result<Vec<String>, Error> {
    let mut opened = bucket.opened(deadline).await?;
    let mut backoff = tuning::BACKOFF.0;
    loop {
        bucket.connection().ready(deadline).await?;
        let listed = timeout_at(deadline.end(), list(bucket, &opened, deadline));
        match listed.await {
            Ok(Ok(keys)) => {
                return keys
                    .into_iter()
                    .map(|key| bucket.encoding().decode(&key))
                    .collect();
            }
            Ok(Err(Failure::Final(error))) => return Err(error),
            Ok(Err(Failure::Interrupted)) if Instant::now() < deadline.settle() => {
                sleep(backoff).await;
                backoff = (backoff * 2).min(tuning::BACKOFF.1);
                opened = bucket.look_again(Some(&opened), deadline).await?;
            }
            Ok(Err(Failure::Interrupted)) | Err(_) => {
                return Err(bucket.connection().explain(deadline));
            }
        }
    }
}

enum Failure {
    /// Something is missing of the listing: it has to begin again.
    Interrupted,
    Final(Error),
}

async fn list(
    bucket: &Bucket,
    opened: &Opened,
    deadline: &Deadline,
) -> Result<Vec<String>, Failure> {
    // The handle only carries the name: what is listed is what the stream holds now.
    let stream = opened
        .context
        .get_stream_no_info(&opened.stream)
        .await
        .map_err(|_| Failure::Interrupted)?;
    let consumer = stream
        .create_consumer(pull::Config {
            filter_subject: format!("{}>", opened.read_prefix),
            deliver_policy: DeliverPolicy::LastPerSubject,
            ack_policy: AckPolicy::None,
            headers_only: true,
            memory_storage: true,
            num_replicas: 1,
            inactive_threshold: tuning::LIST_INACTIVE,
            ..pull::Config::default()
        })
        .await
        .map_err(|error| refused(&error))?;
    let name = consumer.cached_info().name.clone();
    let listed = read_pages(bucket, opened, &consumer, deadline).await;
    // Only tidiness: the server drops the consumer by itself when it is not used.
    let _ = timeout_at(deadline.end(), stream.delete_consumer(&name)).await;
    listed
}

fn refused(error: &jetstream::stream::ConsumerError) -> Failure {
    use jetstream::stream::ConsumerErrorKind;
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
    bucket: &Bucket,
    opened: &Opened,
    consumer: &jetstream::consumer::PullConsumer,
    deadline: &Deadline,
) -> Result<Vec<String>, Failure> {
    let mut listing = Listing::new(bucket, opened);
    if consumer.cached_info().num_pending == 0 {
        return Ok(Vec::new());
    }
    loop {
        let Ok(_slot) = bucket.slots().acquire().await else {
            return Err(Failure::Interrupted);
        };
        let mut page = consumer
            .fetch()
            .max_messages(tuning::LIST_PAGE)
            .messages()
            .await
            .map_err(|_| Failure::Interrupted)?;
        let mut count = 0;
        loop {
            let patience = (Instant::now() + deadline.patience()).min(deadline.end());
            match timeout_at(patience, page.next()).await {
                Ok(Some(Ok(message))) => listing.add(&message)?,
                Ok(None) => break,
                Ok(Some(Err(_))) | Err(_) => return Err(Failure::Interrupted),
            }
            count += 1;
        }
        if count < tuning::LIST_PAGE {
            return Ok(listing.into_keys());
        }
    }
}

/// The keys seen so far, and whether each has a value.
///
/// A key that is written while the listing is under way comes again; the last message counts.
struct Listing<'a> {
    bucket: &'a Bucket,
    prefix: &'a str,
    keys: HashMap<String, bool>,
    bytes: usize,
    live: usize,
    delivered: u64,
}

impl<'a> Listing<'a> {
    fn new(bucket: &'a Bucket, opened: &'a Opened) -> Self {
        Self {
            bucket,
            prefix: &opened.read_prefix,
            keys: HashMap::new(),
            bytes: 0,
            live: 0,
            delivered: 0,
        }
    }

    fn add(&mut self, message: &jetstream::Message) -> Result<(), Failure> {
        let info = message.info().map_err(|_| Failure::Interrupted)?;
        self.delivered += 1;
        if info.consumer_sequence != self.delivered {
            return Err(Failure::Interrupted);
        }
        let Some(key) = message.subject.strip_prefix(self.prefix) else {
            return Ok(());
        };
        let live = !is_marker(message.headers.as_ref());
        let was_live = match self.keys.get_mut(key) {
            Some(known) => std::mem::replace(known, live),
            None => {
                self.keys.insert(key.to_owned(), live);
                false
            }
        };
        if live && !was_live {
            self.live += 1;
            self.bytes += key.len();
        } else if was_live && !live {
            self.live -= 1;
            self.bytes -= key.len();
        }
        let limits = self.bucket.limits();
        limits
            .check_keys(self.live)
            .and_then(|()| limits.check_bytes(self.bytes))
            .map_err(Failure::Final)
    }

    fn into_keys(self) -> Vec<String> {
        let if_live = |(key, live): (String, bool)| live.then_some(key);
        self.keys.into_iter().filter_map(if_live).collect()
    }
}
