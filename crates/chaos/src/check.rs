//! Compares the bucket with the ledger.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::StreamExt as _;
use testkit::async_nats::Message;
use testkit::async_nats::jetstream::consumer::pull::OrderedConfig;
use tokio::time::{Instant, sleep};

use crate::ledger::{Effect, Ledger, Verdict, number};
use crate::load::is_fresh;
use crate::setup::{BUCKET, Setup, stream_of, subject_of};

const WAIT_LIMIT: Duration = Duration::from_secs(60);

/// The result of a comparison.
#[derive(Clone, Copy, Debug, Default)]
pub struct Compared {
    /// How many keys were compared.
    pub keys: usize,
    /// How many revisions of these keys the bucket has.
    pub revisions: usize,
    /// Keys whose value was answered with an error: the server carried that write out late, after a
    /// newer write that was answered `ok`.
    pub overtaken: usize,
}

/// Compares every revision that the bucket has with the ledger, by a connection of its own, and tells
/// `broken` what is wrong. Only while nobody writes.
///
/// # Errors
/// If the stream cannot be read.
pub async fn compare<'a>(
    setup: &Setup,
    ledger: impl Iterator<Item = &'a Ledger>,
    mut broken: impl FnMut(String),
) -> Result<Compared> {
    let found = retry(async || revisions(setup).await).await?;
    let mut compared = Compared::default();
    for (key, ledger) in ledger.flatten() {
        let revisions = found.get(key).map_or(&[][..], Vec::as_slice);
        let mut effects = Vec::with_capacity(revisions.len());
        for revision in revisions {
            match revision {
                Some(effect) => effects.push(*effect),
                None => broken(format!("{key} has a value that is not its own")),
            }
        }
        compared.keys += 1;
        compared.revisions += effects.len();
        match ledger.compare(&effects) {
            Verdict::Agrees => {}
            Verdict::Overtaken => compared.overtaken += 1,
            Verdict::Wrong(why) => broken(format!("{key}: {why}")),
        }
    }
    Ok(compared)
}

/// The revisions of each key, oldest first; `None` for a value that is not the key's own.
async fn revisions(setup: &Setup) -> Result<HashMap<String, Vec<Option<Effect>>>> {
    let mut found: HashMap<String, Vec<Option<Effect>>> = HashMap::new();
    each_message(setup, BUCKET, |key, message| {
        let effect = if is_marker(message) {
            Some(Effect::Deleted)
        } else {
            number(key, &message.payload).map(Effect::Set)
        };
        found.entry(key.to_owned()).or_default().push(effect);
    })
    .await?;
    Ok(found)
}

/// What the last message of each key has done, by a connection of its own. Only while nobody writes.
///
/// # Errors
/// If the stream cannot be read.
pub async fn last_effects(setup: &Setup) -> Result<HashMap<String, Effect>> {
    let found = retry(async || revisions(setup).await).await?;
    let last = |(key, effects): (String, Vec<Option<Effect>>)| Some((key, (*effects.last()?)?));
    Ok(found.into_iter().filter_map(last).collect())
}

/// The values of each key that begins so, oldest first, by a connection of its own.
///
/// # Errors
/// If the stream cannot be read.
pub async fn values_of(setup: &Setup, prefix: &str) -> Result<HashMap<String, Vec<Vec<u8>>>> {
    retry(async || {
        let mut found: HashMap<String, Vec<Vec<u8>>> = HashMap::new();
        each_message(setup, BUCKET, |key, message| {
            if key.starts_with(prefix) {
                let values = found.entry(key.to_owned()).or_default();
                values.push(message.payload.to_vec());
            }
        })
        .await?;
        Ok(found)
    })
    .await
}

/// What each key of a bucket has last: its value, or a marker. By a connection of its own. Only while
/// nobody writes.
///
/// # Errors
/// If the stream cannot be read.
pub async fn last_values(setup: &Setup, bucket: &str) -> Result<HashMap<String, Option<Vec<u8>>>> {
    retry(async || {
        let mut found = HashMap::new();
        each_message(setup, bucket, |key, message| {
            let value = (!is_marker(message)).then(|| message.payload.to_vec());
            found.insert(key.to_owned(), value);
        })
        .await?;
        Ok(found)
    })
    .await
}

fn is_marker(message: &Message) -> bool {
    let headers = message.headers.as_ref();
    headers.is_some_and(|headers| headers.get("KV-Operation").is_some())
}

/// Shows each message of a bucket and its key, in order.
async fn each_message(
    setup: &Setup,
    bucket: &str,
    mut show: impl FnMut(&str, &Message),
) -> Result<()> {
    let (jetstream, subjects) = (setup.cluster.jetstream(0).await?, subject_of(bucket, ""));
    let mut stream = jetstream.get_stream(stream_of(bucket)).await?;
    let last = stream.info().await?.state.last_sequence;
    let consumer = stream
        .create_consumer(OrderedConfig {
            filter_subject: format!("{subjects}>"),
            ..OrderedConfig::default()
        })
        .await?;
    let mut messages = consumer.messages().await?;
    while let Some(message) = messages.next().await {
        let message = message.context("cannot read the stream")?;
        let info = message
            .info()
            .map_err(|error| anyhow::anyhow!("no message of a stream: {error}"))?;
        // The last messages of the stream may have been purged.
        let is_last = info.stream_sequence >= last || info.pending == 0;
        if let Some(key) = message.subject.strip_prefix(&subjects) {
            show(key, &message.message);
        }
        if is_last {
            break;
        }
    }
    Ok(())
}

/// Tries again until the limit: the cluster may still be electing its leader.
async fn retry<T>(work: impl AsyncFn() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + WAIT_LIMIT;
    loop {
        match work().await {
            Ok(done) => return Ok(done),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Removes the keys that are written only once, so that the bucket does not grow without end.
///
/// # Errors
/// If the stream does not take it.
pub async fn purge_fresh<'a>(
    setup: &Setup,
    ledger: impl Iterator<Item = &'a Ledger>,
) -> Result<()> {
    if !ledger.flatten().any(|(key, _)| is_fresh(key)) {
        return Ok(());
    }
    purge(setup, BUCKET, "*.f.>").await
}

/// Removes these keys of a bucket.
///
/// # Errors
/// If the stream does not take it.
pub async fn purge(setup: &Setup, bucket: &str, keys: &str) -> Result<()> {
    retry(async || {
        let jetstream = setup.cluster.jetstream(0).await?;
        let stream = jetstream.get_stream(stream_of(bucket)).await?;
        let purged = stream.purge().filter(subject_of(bucket, keys)).await;
        purged.with_context(|| format!("cannot purge {keys}"))?;
        Ok(())
    })
    .await
}
