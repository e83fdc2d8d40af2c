//! A page of a bucket's keys. It starts after a sequence of the stream.
//!
//! The page reads the messages after that sequence in order. A key that is overwritten meanwhile
//! moves towards the end of the stream, so it comes on this page or on a later one. So the pages
//! miss no key that had a value the whole time. No process keeps any state between two pages. A
//! message that is not the last one of its key is ignored, because the last one is still to come.

use std::collections::HashMap;

use async_nats::jetstream::consumer::{DeliverPolicy, PullConsumer};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};
use tokio::time::{Instant, timeout_at};

use super::pull_consumer::{NextMessage, PullRequest};
use super::{ListError, consumer};
use crate::bucket_state::BucketState;
use crate::deadline::Deadline;
use crate::message::is_marker;
use crate::read::revisions;
use crate::stream_info::StreamInfo;
use crate::tuning;

/// A page of a bucket's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The keys, each once.
    pub keys: Vec<String>,
    /// The `after` of the next page. `None`: this is the last page.
    pub next: Option<u64>,
}

pub(super) async fn read(
    bucket: &BucketState,
    info: &StreamInfo,
    after: u64,
    interrupted: usize,
    deadline: &Deadline,
) -> Result<Page, ListError> {
    let stream = bucket
        .context()
        .get_stream(&info.stream)
        .await
        .map_err(|_| ListError::Interrupted)?;
    let mut scan = Scan {
        bucket,
        prefix: &info.read_prefix,
        reached: after,
        last: HashMap::new(),
        bytes: 0,
    };
    if after < stream.cached_info().state.last_sequence {
        // It has no filter, because every message of the stream is a key's, and a server spends
        // time on counting the matches of a filter.
        let policy = DeliverPolicy::ByStartSequence {
            start_sequence: after + 1,
        };
        let consumer = consumer::create(&stream, policy, String::new()).await?;
        let scanned = scan.run(&consumer, deadline).await;
        consumer::delete(bucket, info, &consumer.cached_info().name, deadline).await;
        scanned?;
    }
    let next = first_after(&stream, info, scan.reached).await?;
    let more = next.is_some();
    if let Some(next) = next
        && scan.reached == after
    {
        // The leader has a message, and the consumer had none. So the consumer is on a follower
        // that lags. If that happens again, the page is only the message of the leader.
        if interrupted < tuning::LIST_INTERRUPTIONS {
            return Err(ListError::Interrupted);
        }
        let is_value = !is_marker(Some(&next.headers));
        scan.add_message(&next.subject, is_value, next.sequence)?;
    }
    let history = stream.cached_info().config.max_messages_per_subject > 1;
    if more && history {
        return scan.without_overwritten(deadline).await;
    }
    Ok(Page {
        next: more.then_some(scan.reached),
        keys: scan.keys()?,
    })
}

/// The leader's first message after this sequence.
async fn first_after(
    stream: &Stream,
    info: &StreamInfo,
    reached: u64,
) -> Result<Option<StreamMessage>, ListError> {
    let next = stream
        .raw_message_builder()
        .sequence(reached.saturating_add(1))
        .next_by_subject(format!("{}>", info.read_prefix))
        .send();
    match next.await {
        Ok(message) => Ok(Some(message)),
        Err(error) if matches!(error.kind(), LastRawMessageErrorKind::NoMessageFound) => Ok(None),
        Err(_) => Err(ListError::Interrupted),
    }
}

/// The keys of a page, so far.
struct Scan<'a> {
    bucket: &'a BucketState,
    prefix: &'a str,
    /// The sequence of the last message that was read.
    reached: u64,
    /// For each key, encoded as in the bucket: the sequence of its last message on the page, and
    /// whether that message is a value.
    last: HashMap<String, (u64, bool)>,
    bytes: usize,
}

impl Scan<'_> {
    /// Reads the messages of one page. If this ends early, the page is only shorter.
    async fn run(&mut self, consumer: &PullConsumer, deadline: &Deadline) -> Result<(), ListError> {
        let pending = usize::try_from(consumer.cached_info().num_pending).unwrap_or(usize::MAX);
        let limits = self.bucket.limits();
        let max = tuning::PAGE_MESSAGES
            .min(limits.max_batch_keys)
            .min(pending);
        if max == 0 {
            return Ok(());
        }
        let permit = timeout_at(
            deadline.send_deadline(),
            self.bucket.concurrency().permits().acquire(),
        );
        let Ok(Ok(_permit)) = permit.await else {
            return Err(ListError::Interrupted);
        };
        let mut messages = PullRequest::request(self.bucket, consumer, max).await?;
        let mut delivered = 0;
        let end = step_deadline(deadline);
        loop {
            let wait_until = || (Instant::now() + deadline.answer_timeout()).min(end);
            let Ok(NextMessage::Message(message)) = messages.next(wait_until).await else {
                return Ok(());
            };
            let info = message.info().map_err(|_| ListError::Interrupted)?;
            delivered += 1;
            // A message was lost on the way. The page has to end before it.
            if info.consumer_sequence != delivered {
                return Ok(());
            }
            let is_value = !is_marker(message.headers.as_ref());
            if !self.add_message(&message.subject, is_value, info.stream_sequence)? {
                return Ok(());
            }
        }
    }

    /// Adds a message. Returns whether the page had room for it.
    fn add_message(
        &mut self,
        subject: &str,
        is_value: bool,
        sequence: u64,
    ) -> Result<bool, ListError> {
        if let Some(key) = subject.strip_prefix(self.prefix) {
            self.bytes += key.len();
            match self.bucket.limits().check_bytes(self.bytes) {
                Err(error) if self.last.is_empty() => return Err(error.into()),
                Err(_) => return Ok(false),
                Ok(()) => {}
            }
            self.last.insert(key.to_owned(), (sequence, is_value));
        }
        self.reached = sequence;
        Ok(true)
    }

    /// The page without the keys that have a newer message after the page.
    ///
    /// Only a read of a key's last message tells its sequence. (If a lagging follower answers, the
    /// message on the page may be the newer one.) The read brings the value too, which may be
    /// large. So the page ends early when enough bytes have come or the time is short.
    async fn without_overwritten(self, deadline: &Deadline) -> Result<Page, ListError> {
        let values = self.last.iter().filter(|(_, (_, is_value))| *is_value);
        let mut values: Vec<_> = values
            .map(|(key, (sequence, _))| (*sequence, key.as_str()))
            .collect();
        values.sort_unstable();
        let end = step_deadline(deadline);
        let mut keys = Vec::with_capacity(values.len());
        let mut bytes = 0;
        let mut chunks = values.chunks(tuning::PAGE_CHECK_KEYS).peekable();
        // A page counts as a large call, although it reads few keys at a time.
        let total_items = values.len().max(tuning::LARGE_BATCH);
        while let Some(chunk) = chunks.next() {
            let encoded: Vec<_> = chunk.iter().map(|(_, key)| *key).collect();
            let (last, size) = revisions(self.bucket, &encoded, total_items, deadline).await?;
            for ((on_page, key), last) in chunk.iter().zip(last) {
                if last <= *on_page {
                    keys.push(self.decode(key)?);
                }
            }
            bytes += size;
            let is_enough = bytes >= tuning::PAGE_CHECK_BYTES || Instant::now() > end;
            if let (true, Some(next)) = (is_enough, chunks.peek()) {
                let next = next[0].0 - 1;
                return Ok(Page {
                    keys,
                    next: Some(next),
                });
            }
        }
        Ok(Page {
            keys,
            next: Some(self.reached),
        })
    }

    /// The keys whose last message on the page is a value.
    fn keys(self) -> Result<Vec<String>, ListError> {
        let values = self.last.iter().filter(|(_, (_, is_value))| *is_value);
        values.map(|(key, _)| self.decode(key)).collect()
    }

    fn decode(&self, key: &str) -> Result<String, ListError> {
        Ok(self.bucket.encoding().decode(key)?)
    }
}

/// When a step of a page has to end, so that there is time for the other steps: after a third of
/// the remaining time for sending.
fn step_deadline(deadline: &Deadline) -> Instant {
    let now = Instant::now();
    now + deadline.send_deadline().saturating_duration_since(now) / 3
}
