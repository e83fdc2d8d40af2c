//! A page of a bucket's keys, which begins at a place in its stream.
//!
//! The messages after that place are looked at in their order. A key that is overwritten meanwhile
//! moves towards the end, so it is met on this page or a later one, and none that was there all the
//! while is missed; nobody keeps anything between two pages. A message that is not the last of its
//! key says nothing, for the last one is still to come.

use std::collections::HashMap;

use async_nats::jetstream::consumer::{DeliverPolicy, PullConsumer};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};
use tokio::time::{Instant, timeout_at};

use super::pull_consumer::{Next, Pull};
use super::{Failure, consumer};
use crate::deadline::Deadline;
use crate::handle::BucketHandle;
use crate::message::is_marker;
use crate::read::revisions;
use crate::stream_info::StreamInfo;
use crate::tuning;

/// A page of a bucket's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The keys, each once.
    pub keys: Vec<String>,
    /// Where the next page begins, unless this is the last one.
    pub next: Option<u64>,
}

pub(super) async fn read(
    bucket: &BucketHandle,
    info: &StreamInfo,
    after: u64,
    interrupted: usize,
    deadline: &Deadline,
) -> Result<Page, Failure> {
    let stream = bucket
        .context()
        .get_stream(&info.stream)
        .await
        .map_err(|_| Failure::Interrupted)?;
    let mut scan = Scan {
        bucket,
        prefix: &info.read_prefix,
        reached: after,
        last: HashMap::new(),
        bytes: 0,
    };
    if after < stream.cached_info().state.last_sequence {
        // Without a filter, which a server would count the matches of: all messages are keys'.
        let policy = DeliverPolicy::ByStartSequence {
            start_sequence: after + 1,
        };
        let consumer = consumer::create(&stream, policy, String::new()).await?;
        let scanned = scan.run(&consumer, deadline).await;
        consumer::drop_consumer(bucket, info, &consumer.cached_info().name, deadline).await;
        scanned?;
    }
    let next = next(&stream, info, scan.reached).await?;
    let more = next.is_some();
    if let Some(next) = next
        && scan.reached == after
    {
        // The consumer is at a replica that lags behind the leader; if it goes on to, the leader's
        // message is the page.
        if interrupted < tuning::LIST_INTERRUPTIONS {
            return Err(Failure::Interrupted);
        }
        let is_value = !is_marker(Some(&next.headers));
        scan.take(&next.subject, is_value, next.sequence)?;
    }
    let history = stream.cached_info().config.max_messages_per_subject > 1;
    if more && history {
        return scan.checked(deadline).await;
    }
    Ok(Page {
        next: more.then_some(scan.reached),
        keys: scan.keys()?,
    })
}

/// The message that the leader has after this place.
async fn next(
    stream: &Stream,
    info: &StreamInfo,
    reached: u64,
) -> Result<Option<StreamMessage>, Failure> {
    let next = stream
        .raw_message_builder()
        .sequence(reached.saturating_add(1))
        .next_by_subject(format!("{}>", info.read_prefix))
        .send();
    match next.await {
        Ok(message) => Ok(Some(message)),
        Err(error) if matches!(error.kind(), LastRawMessageErrorKind::NoMessageFound) => Ok(None),
        Err(_) => Err(Failure::Interrupted),
    }
}

/// What the messages of a page say of their keys.
struct Scan<'a> {
    bucket: &'a BucketHandle,
    prefix: &'a str,
    /// The last message looked at.
    reached: u64,
    /// For each key, as it stands in the bucket, its last message of the page and whether that is a
    /// value.
    last: HashMap<String, (u64, bool)>,
    bytes: usize,
}

impl Scan<'_> {
    /// Looks at as many messages as make a page. Whatever ends it early only makes the page
    /// shorter.
    async fn run(&mut self, consumer: &PullConsumer, deadline: &Deadline) -> Result<(), Failure> {
        let pending = usize::try_from(consumer.cached_info().num_pending).unwrap_or(usize::MAX);
        let limits = self.bucket.limits();
        let most = tuning::KEYS_PAGE.min(limits.max_batch_keys).min(pending);
        if most == 0 {
            return Ok(());
        }
        let slot = timeout_at(
            deadline.settle(),
            self.bucket.concurrency().permits().acquire(),
        );
        let Ok(Ok(_slot)) = slot.await else {
            return Err(Failure::Interrupted);
        };
        let mut messages = Pull::request(self.bucket, consumer, most).await?;
        let mut delivered = 0;
        let end = deadline.third();
        loop {
            let by = || (Instant::now() + deadline.patience()).min(end);
            let Ok(Next::Message(message)) = messages.next(by).await else {
                return Ok(());
            };
            let info = message.info().map_err(|_| Failure::Interrupted)?;
            delivered += 1;
            // Without those that were lost on the way, this one would end the page too far on.
            if info.consumer_sequence != delivered {
                return Ok(());
            }
            let is_value = !is_marker(message.headers.as_ref());
            if !self.take(&message.subject, is_value, info.stream_sequence)? {
                return Ok(());
            }
        }
    }

    /// Takes a message in. Answers whether there is room for it on the page.
    fn take(&mut self, subject: &str, is_value: bool, sequence: u64) -> Result<bool, Failure> {
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

    /// The page with only those keys that have no later message.
    ///
    /// Their last messages are read, for nothing else tells where they are. If a replica answers that
    /// lags, the message on the page is the later one. As values come along, which may be large, the
    /// page ends where there have been enough, or there is no time for more.
    async fn checked(self, deadline: &Deadline) -> Result<Page, Failure> {
        let values = self.last.iter().filter(|(_, (_, is_value))| *is_value);
        let mut values: Vec<_> = values
            .map(|(key, (sequence, _))| (*sequence, key.as_str()))
            .collect();
        values.sort_unstable();
        let end = deadline.third();
        let mut keys = Vec::with_capacity(values.len());
        let mut bytes = 0;
        let mut some = values.chunks(tuning::KEYS_CHECKED).peekable();
        while let Some(checked) = some.next() {
            let asked: Vec<_> = checked.iter().map(|(_, key)| *key).collect();
            let (last, size) = revisions(self.bucket, &asked, deadline).await?;
            for ((here, key), last) in checked.iter().zip(last) {
                if last <= *here {
                    keys.push(self.decode(key)?);
                }
            }
            bytes += size;
            let is_enough = bytes >= tuning::KEYS_CHECKED_BYTES || Instant::now() > end;
            if let (true, Some(next)) = (is_enough, some.peek()) {
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
    fn keys(self) -> Result<Vec<String>, Failure> {
        let values = self.last.iter().filter(|(_, (_, is_value))| *is_value);
        values.map(|(key, _)| self.decode(key)).collect()
    }

    fn decode(&self, key: &str) -> Result<String, Failure> {
        Ok(self.bucket.encoding().decode(key)?)
    }
}
