//! Reading many keys.

mod multi_last;
mod single;

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::Bytes;

use super::bucket::Bucket;
use super::deadline::Deadline;
use super::error::Error;
use super::exchange;
use super::open::ReadPath;

pub(super) async fn get_many(
    bucket: &Bucket,
    keys: &[String],
    deadline: &Deadline,
) -> Result<Vec<Option<Bytes>>, Error> {
    let limits = bucket.limits();
    limits.check_keys(keys.len())?;
    limits.check_bytes(keys.iter().map(String::len).sum())?;
    let mut wanted = Wanted::new(bucket, keys)?;
    if wanted.keys.is_empty() {
        return Ok(Vec::new());
    }
    let opened = bucket.opened(deadline).await?;
    if wanted.keys.len() > 1
        && opened.read_path == ReadPath::Direct
        && bucket.connection().client().is_server_compatible(2, 11, 0)
    {
        multi_last::read(bucket, &opened, &mut wanted, deadline).await?;
    }
    // What is left: all of it on an older server, and the keys that `multi_last` did not find.
    let mut reads = single::Reads::of_unknown(&mut wanted);
    exchange::run(bucket, &mut reads, deadline).await?;
    Ok(wanted.into_answer())
}

/// What is known of a key's value.
#[derive(Clone)]
enum Known {
    Unknown,
    Missing,
    Value(Bytes),
}

/// A distinct key that is asked for.
struct Wants<'a> {
    key: &'a str,
    encoded: Cow<'a, str>,
    /// At how many places of the answer its value stands.
    places: usize,
    known: Known,
}

/// The keys of one batch, each once, and what is known of them.
struct Wanted<'a> {
    keys: Vec<Wants<'a>>,
    /// For each place of the answer, which of `keys` stands there.
    order: Vec<usize>,
    answer_bytes: usize,
    limits: super::Limits,
}

impl<'a> Wanted<'a> {
    fn new(bucket: &Bucket, asked: &'a [String]) -> Result<Self, Error> {
        let mut keys: Vec<Wants<'a>> = Vec::new();
        let mut seen: HashMap<&str, usize> = HashMap::with_capacity(asked.len());
        let mut order = Vec::with_capacity(asked.len());
        for key in asked {
            let index = match seen.get(key.as_str()) {
                Some(&index) => index,
                None => {
                    let encoded = bucket.encoding().encode(key)?;
                    keys.push(Wants {
                        key,
                        encoded,
                        places: 0,
                        known: Known::Unknown,
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
            answer_bytes: 0,
            limits: *bucket.limits(),
        })
    }

    /// Takes note of a key's value.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] as soon as the answer is over the limit, before more of it is read.
    fn found(&mut self, index: usize, value: Bytes) -> Result<(), Error> {
        let wants = &mut self.keys[index];
        if matches!(wants.known, Known::Unknown) {
            self.answer_bytes += wants.places * (wants.key.len() + value.len());
            wants.known = Known::Value(value);
        }
        self.limits.check_bytes(self.answer_bytes)
    }

    fn missing(&mut self, index: usize) {
        self.keys[index].known = Known::Missing;
    }

    fn unknown(&self) -> Vec<usize> {
        let is_unknown = |&index: &usize| matches!(self.keys[index].known, Known::Unknown);
        (0..self.keys.len()).filter(is_unknown).collect()
    }

    fn into_answer(self) -> Vec<Option<Bytes>> {
        self.order
            .into_iter()
            .map(|index| match &self.keys[index].known {
                Known::Value(value) => Some(value.clone()),
                Known::Missing | Known::Unknown => None,
            })
            .collect()
    }
}
