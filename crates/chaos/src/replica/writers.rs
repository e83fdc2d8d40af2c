//! Writers to the copied bucket: other clients of the server, and the provider that keeps the copy.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use testkit::async_nats::HeaderMap;
use testkit::async_nats::jetstream::Context;
use tokio::time::{sleep, timeout};

use super::CopiedState;
use crate::ledger::value;
use crate::setup::{COPIED, Linked, stream_of, subject_of};

/// Keys of each writer.
const KEYS: usize = 20;
/// Keys in a batch.
const BATCH: usize = 5;
/// How long another client waits for an acknowledgement.
const WAIT: Duration = Duration::from_secs(2);

/// Another client of the server, with keys of its own.
#[derive(Debug)]
pub(super) struct OtherWriter {
    pub(super) name: String,
    pub(super) jetstream: Context,
    pub(super) state: Arc<CopiedState>,
    pub(super) rng: Rng,
}

impl OtherWriter {
    /// Writes until it is told to stop.
    pub(super) async fn run(mut self, pace: Duration) {
        // The message that has the value of each key, if it is known.
        let mut sequences = [None; KEYS];
        while !self.state.is_stopped() {
            let slot = self.rng.usize(0..KEYS);
            let name = format!("{}.{slot}", self.name);
            let key = self.state.keys().key(&name, false);
            let choice = self.rng.u8(0..20);
            let written = match (choice, sequences[slot]) {
                (0, Some(sequence)) => {
                    self.state.keys().begin(&key, false);
                    let removed = timeout(WAIT, self.remove(sequence)).await;
                    removed.ok().flatten().map(|()| None)
                }
                (0..=2, _) => {
                    self.state.keys().begin(&key, false);
                    let mut headers = HeaderMap::new();
                    headers.insert("KV-Operation", "DEL");
                    let put = timeout(WAIT, self.put(&key, headers, Vec::new())).await;
                    put.ok().flatten().map(|_| None)
                }
                _ => {
                    let number = self.state.keys().begin(&key, true);
                    let value = value(&key, number, self.rng.usize(0..200), self.rng.bool());
                    let put = timeout(WAIT, self.put(&key, HeaderMap::new(), value)).await;
                    put.ok().flatten().map(Some)
                }
            };
            sequences[slot] = written.flatten();
            self.state.keys().end(&name, written.is_some());
            sleep(pace).await;
        }
    }

    async fn put(&self, key: &str, headers: HeaderMap, value: Vec<u8>) -> Option<u64> {
        let subject = subject_of(COPIED, key);
        let sent = self
            .jetstream
            .publish_with_headers(subject, headers, value.into());
        Some(sent.await.ok()?.await.ok()?.sequence)
    }

    /// Takes the value away without a message that would tell of it.
    async fn remove(&self, sequence: u64) -> Option<()> {
        let stream = self.jetstream.get_stream(stream_of(COPIED)).await.ok()?;
        let removed = stream.delete_message(sequence).await.ok()?;
        removed.then_some(())
    }
}

/// Writes through the process that keeps the copy, over links with and without it.
#[derive(Debug)]
pub(super) struct OwnWriter {
    pub(super) links: Vec<Linked>,
    pub(super) state: Arc<CopiedState>,
    pub(super) rng: Rng,
}

impl OwnWriter {
    /// Writes until it is told to stop.
    pub(super) async fn run(mut self, pace: Duration) {
        while !self.state.is_stopped() {
            let link = self.links[self.rng.usize(0..self.links.len())].clone();
            let chosen = self.rng.choose_multiple(0..KEYS, BATCH);
            let names: Vec<_> = chosen.iter().map(|slot| format!("own.{slot}")).collect();
            let sets = self.rng.u8(0..5) > 0;
            let mut pairs = Vec::new();
            for name in &names {
                let mut keys = self.state.keys();
                let key = keys.key(name, true);
                let number = keys.begin(&key, sets);
                let value = value(&key, number, self.rng.usize(0..200), self.rng.bool());
                pairs.push((key, value));
            }
            let what = if sets { "set-many" } else { "delete-many" };
            let what = format!("{what} over {}", link.name);
            let call = Box::pin(async {
                if sets {
                    link.caller.set_many(COPIED, &pairs).await
                } else {
                    let keys: Vec<_> = pairs.iter().map(|(key, _)| key).collect();
                    link.caller.delete_many(COPIED, &keys).await
                }
            });
            let recorder = &self.state.recorder;
            let is_ok = recorder.call(&what, link.timeout, call).await.is_some();
            for name in &names {
                self.state.keys().end(name, is_ok);
            }
            sleep(pace).await;
        }
    }
}
