//! Reading many keys.

mod leader;
mod multi_last;
mod one_by_one;

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::Bytes;

use super::concurrency::yield_periodically;
use super::deadline::Deadline;
use super::error::Error;
use super::handle::BucketHandle;
use super::limits::Limits;
use super::message::Stored;
use super::pipeline;
use super::stream_info::{ReadPath, StreamInfo};
use super::tuning;

pub(crate) use leader::{exists, read_leader, read_one, revisions};

pub(super) async fn get_many(
    bucket: &BucketHandle,
    keys: &[String],
    deadline: &Deadline,
) -> Result<Vec<Option<Bytes>>, Error> {
    let limits = bucket.limits();
    limits.check_keys(keys.len())?;
    limits.check_bytes(keys.iter().map(String::len).sum())?;
    let mut wanted = ReadBatch::new(bucket, keys).await?;
    if !wanted.keys.is_empty() {
        let info = bucket.stream_info(deadline).await?;
        read(bucket, &info, &mut wanted, deadline).await?;
    }
    wanted.into_answer().await
}

/// Those of `encoded`, keys as they stand in the bucket, that have a value. `losses` is how many
/// connections have been lost in trying to read them.
pub(super) async fn with_values<'a>(
    bucket: &BucketHandle,
    info: &StreamInfo,
    encoded: &'a [String],
    losses: usize,
    deadline: &Deadline,
) -> Result<Vec<&'a str>, Error> {
    let mut wanted = ReadBatch::encoded(encoded);
    wanted.losses = losses;
    if !encoded.is_empty() {
        read(bucket, info, &mut wanted, deadline).await?;
    }
    let has_value = |wants: &KeyRead<'_>| matches!(wants.known, KeyState::Value(_));
    let found = wanted.keys.iter().zip(encoded);
    Ok(found
        .filter(|(wants, _)| has_value(wants))
        .map(|(_, key)| key.as_str())
        .collect())
}

async fn read(
    bucket: &BucketHandle,
    info: &StreamInfo,
    wanted: &mut ReadBatch<'_>,
    deadline: &Deadline,
) -> Result<(), Error> {
    let direct = info.path() == ReadPath::Direct && wanted.losses < tuning::LOSSES;
    if wanted.keys.len() > 1 && direct {
        multi_last::read(bucket, info, wanted, deadline).await?;
    }
    // What is left: all of it on an older server, and the keys that `multi_last` did not find.
    let (unknown, losses) = (wanted.unknown(), wanted.losses);
    let mut reads = one_by_one::Reads::new(wanted, unknown, None).after_losses(losses);
    pipeline::run(bucket, &mut reads, deadline).await
}

/// What is known of a key's value.
#[derive(Clone)]
enum KeyState {
    Unknown,
    Missing,
    Value(Bytes),
}

/// A distinct key that is asked for.
struct KeyRead<'a> {
    key: &'a str,
    encoded: Cow<'a, str>,
    /// At how many places of the answer its value stands.
    places: usize,
    known: KeyState,
}

/// The keys of one batch, each once, and what is known of them.
struct ReadBatch<'a> {
    keys: Vec<KeyRead<'a>>,
    /// For each place of the answer, which of `keys` stands there.
    order: Vec<usize>,
    /// Whether the values matter, or only which keys have one.
    keep_values: bool,
    answer_bytes: usize,
    limits: Limits,
    /// How many connections have been lost while some of the keys were being read.
    losses: usize,
}

impl<'a> ReadBatch<'a> {
    async fn new(bucket: &BucketHandle, asked: &'a [String]) -> Result<Self, Error> {
        let mut keys: Vec<KeyRead<'a>> = Vec::with_capacity(asked.len());
        let mut seen: HashMap<&str, usize> = HashMap::with_capacity(asked.len());
        let mut order = Vec::with_capacity(asked.len());
        for (place, key) in asked.iter().enumerate() {
            yield_periodically(place).await;
            let index = match seen.get(key.as_str()) {
                Some(&index) => index,
                None => {
                    let encoded = bucket.encoding().encode(key)?;
                    keys.push(KeyRead {
                        key,
                        encoded,
                        places: 0,
                        known: KeyState::Unknown,
                    });
                    seen.insert(key, keys.len() - 1);
                    keys.len() - 1
                }
            };
            keys[index].places += 1;
            order.push(index);
        }
        Ok(Self {
            keys,
            order,
            keep_values: true,
            answer_bytes: 0,
            limits: *bucket.limits(),
            losses: 0,
        })
    }

    /// Which of these keys, as they stand in the bucket, have a value.
    fn encoded(keys: &'a [String]) -> Self {
        let wants = |key: &'a String| KeyRead {
            key,
            encoded: Cow::Borrowed(key),
            places: 0,
            known: KeyState::Unknown,
        };
        Self {
            keys: keys.iter().map(wants).collect(),
            order: Vec::new(),
            keep_values: false,
            answer_bytes: 0,
            limits: Limits::NONE,
            losses: 0,
        }
    }

    /// Takes note of a key's value.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] as soon as the answer is over the limit, before more of it is read.
    fn found(&mut self, index: usize, value: Bytes) -> Result<(), Error> {
        let wants = &mut self.keys[index];
        if matches!(wants.known, KeyState::Unknown) {
            self.answer_bytes += wants.places * (wants.key.len() + value.len());
            let kept = if self.keep_values {
                value
            } else {
                Bytes::new()
            };
            wants.known = KeyState::Value(kept);
        }
        self.limits.check_bytes(self.answer_bytes)
    }

    fn missing(&mut self, index: usize) {
        self.keys[index].known = KeyState::Missing;
    }

    fn unknown(&self) -> Vec<usize> {
        let is_unknown = |&index: &usize| matches!(self.keys[index].known, KeyState::Unknown);
        (0..self.keys.len()).filter(is_unknown).collect()
    }

    async fn into_answer(self) -> Result<Vec<Option<Bytes>>, Error> {
        let mut answer = Vec::with_capacity(self.order.len());
        for (place, index) in self.order.into_iter().enumerate() {
            yield_periodically(place).await;
            answer.push(match &self.keys[index].known {
                KeyState::Value(value) => Some(value.clone()),
                KeyState::Missing => None,
                KeyState::Unknown => {
                    return Err(Error::Unreadable("a key was left unread".to_owned()));
                }
            });
        }
        Ok(answer)
    }
}

impl one_by_one::Reader for ReadBatch<'_> {
    fn key(&self, index: usize) -> &str {
        &self.keys[index].encoded
    }

    fn take(&mut self, index: usize, last: Option<Stored>) -> Result<(), Error> {
        match last.and_then(Stored::into_value) {
            Some(value) => self.found(index, value),
            None => {
                self.missing(index);
                Ok(())
            }
        }
    }
}
