//! Counting: a key whose value is a number in decimal text.
//!
//! A key is read by its leader, and written if it has not changed since; else it is read again. The
//! calls of this process that wait for the same key are carried out together, by one of them: one
//! write adds them all up, so that they do not contend with each other but only with other
//! processes. Each gets the sum as if it had come by itself.

mod combine;
mod swap;

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::ops::ControlFlow;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout_at};

use super::deadline::Deadline;
use super::error::Error;
use super::handle::BucketHandle;
use super::message::Stored;
use super::read;
use super::stream_info::ReadPath;
use super::text::CallerText;
use super::tuning;
use super::write::{self, Replaced};

use combine::Waiting;
pub(super) use combine::{Counters, Last};
pub(super) use swap::compare_and_swap;

/// Adds `delta` to the key's number, and returns the sum.
pub(super) async fn increment(
    bucket: &BucketHandle,
    counters: &Counters,
    key: &str,
    delta: u64,
    deadline: &Deadline,
) -> Result<u64, Error> {
    let encoded = bucket.encoding().encode(key)?;
    let counter = counters.get(key, &encoded);
    let mut ticket = counter.wait(delta);
    let turn = tokio::select! {
        biased;
        answer = ticket.answer() => return answer,
        turn = timeout_at(deadline.settle(), counter.turn()) => turn,
    };
    match turn {
        Ok(mut last) => {
            let batch = counter.take_waiting();
            if !batch.is_empty() {
                Turn {
                    bucket,
                    key,
                    encoded: &encoded,
                    deadline,
                }
                .run(batch, &mut last)
                .await;
            }
        }
        Err(_) if ticket.withdraw() => return Err(bucket.explain(deadline)),
        Err(_) => {}
    }
    // Another call may have taken this one along, and be about to answer it.
    match timeout_at(deadline.end(), ticket.answer()).await {
        Ok(answer) => answer,
        Err(_) => Err(unclear(key)),
    }
}

/// One call's turn: it carries out all that have waited.
struct Turn<'a> {
    bucket: &'a BucketHandle,
    key: &'a str,
    encoded: &'a str,
    deadline: &'a Deadline,
}

impl Turn<'_> {
    async fn run(&self, mut batch: Vec<Waiting>, last: &mut Option<Last>) {
        let mut conflicts = 0;
        loop {
            match self.attempt(&mut batch, last).await {
                Ok(ControlFlow::Break(())) => return,
                Ok(ControlFlow::Continue(())) if Instant::now() < self.deadline.settle() => {
                    pause(conflicts).await;
                    conflicts += 1;
                }
                Ok(ControlFlow::Continue(())) => {
                    return fail(batch, &self.outrun());
                }
                Err(error) => return fail(batch, &error),
            }
        }
    }

    /// Adds the batch up once. `Continue`: the key has changed meanwhile.
    async fn attempt(
        &self,
        batch: &mut Vec<Waiting>,
        last: &mut Option<Last>,
    ) -> Result<ControlFlow<()>, Error> {
        let known = last.take();
        let before = match known {
            Some(known) => known,
            None => self.read().await?,
        };
        let mut sum = before.number;
        let mut sums = Vec::with_capacity(batch.len());
        for waiting in &*batch {
            sums.push(sum.checked_add(waiting.delta()));
            sum = sums.last().copied().flatten().unwrap_or(sum);
        }
        if sums.contains(&None) {
            if known.is_some() {
                return Ok(ControlFlow::Continue(()));
            }
            let key = CallerText::key(self.key);
            let mut added = sums.iter();
            for over in batch.extract_if(.., |_| added.next() == Some(&None)) {
                let key = key.clone();
                let delta = over.delta();
                over.answer(Err(Error::Overflow { key, delta }));
            }
            sums.retain(Option::is_some);
            if batch.is_empty() {
                return Ok(ControlFlow::Break(()));
            }
        }
        let Some(revision) = self.write(sum, before.revision).await? else {
            return Ok(ControlFlow::Continue(()));
        };
        *last = Some(Last {
            number: sum,
            revision,
        });
        for (waiting, sum) in batch.drain(..).zip(sums.into_iter().flatten()) {
            waiting.answer(Ok(sum));
        }
        Ok(ControlFlow::Break(()))
    }

    async fn read(&self) -> Result<Last, Error> {
        let stored = self.last().await?;
        let revision = stored.as_ref().map_or(0, Stored::revision);
        let value = stored.and_then(Stored::into_value);
        match value.as_deref() {
            // As keyvalue-nats counts an empty value.
            None | Some([]) => Some(0),
            Some(text) => std::str::from_utf8(text)
                .ok()
                .and_then(|text| text.parse().ok()),
        }
        .map(|number| Last { number, revision })
        .ok_or_else(|| Error::NotANumber {
            key: CallerText::key(self.key),
        })
    }

    async fn last(&self) -> Result<Option<Stored>, Error> {
        read::read_one(self.bucket, self.encoded, ReadPath::Origin, self.deadline).await
    }

    /// The new revision; `None` if the key has changed meanwhile.
    async fn write(&self, number: u64, expected: u64) -> Result<Option<u64>, Error> {
        let value = Bytes::from(number.to_string());
        match write::replace(self.bucket, self.key, value, expected, self.deadline).await? {
            Replaced::Written(revision) => Ok(Some(revision)),
            Replaced::Conflict(id) => {
                let last = self.last().await?;
                let is_it = |last: &Stored| last.write_id() == Some(&id);
                Ok(last.filter(is_it).map(|last| last.revision()))
            }
            // A replicated stream looks at the revision before it looks at the id.
            Replaced::Unclear(id) => match self.last().await {
                Ok(Some(last)) if last.write_id() == Some(&id) => Ok(Some(last.revision())),
                Ok(_) | Err(_) => Err(unclear(self.key)),
            },
        }
    }

    /// The error if others were quicker, time and again.
    fn outrun(&self) -> Error {
        Error::Contended {
            key: CallerText::key(self.key),
        }
    }
}

fn fail(batch: Vec<Waiting>, error: &Error) {
    for waiting in batch {
        waiting.answer(Err(error.clone()));
    }
}

/// The error of an increment of which nobody can say whether it was carried out.
fn unclear(key: &str) -> Error {
    Error::UnclearNumber {
        key: CallerText::key(key),
    }
}

/// For a random time, longer from conflict to conflict: two that contend would else go on in step.
async fn pause(conflicts: u32) {
    let (first, longest) = tuning::CONTENTION;
    let most = (first * 2_u32.saturating_pow(conflicts)).min(longest);
    let random = RandomState::new().build_hasher().finish();
    let most = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
    sleep(Duration::from_micros(random % most.max(1))).await;
}
