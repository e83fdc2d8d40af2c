//! Writers and readers that call all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use fastrand::Rng;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::counts::Recorder;
use crate::ledger::{Effect, Ledger, number, value};
use crate::setup::{BUCKET, Linked};

/// Keys of each writer that are written over and over.
const HOT: usize = 60;
/// Keys in a batch.
const BATCH: usize = 20;

/// The load on all links.
#[derive(Debug)]
pub struct Workload {
    recorder: Arc<Recorder>,
    writers: Vec<LoadWriter>,
    readers: Vec<LoadReader>,
    running: Option<RunningLoad>,
}

#[derive(Debug)]
struct RunningLoad {
    stop: Arc<AtomicBool>,
    writers: Vec<JoinHandle<LoadWriter>>,
    readers: Vec<JoinHandle<LoadReader>>,
}

/// A writer, with its own keys and its own ledger.
#[derive(Debug)]
struct LoadWriter {
    name: String,
    link: Linked,
    recorder: Arc<Recorder>,
    rng: Rng,
    pace: Duration,
    /// The last number that it has used; readers look at it.
    used: Arc<AtomicU64>,
    fresh: u64,
    ledger: Ledger,
}

#[derive(Debug)]
struct LoadReader {
    link: Linked,
    recorder: Arc<Recorder>,
    rng: Rng,
    pace: Duration,
    writers: Vec<(String, Arc<AtomicU64>)>,
}

impl Workload {
    /// A writer and a reader for each link, that pause so long between two calls.
    #[must_use]
    pub fn new(links: &[Linked], recorder: &Arc<Recorder>, rng: &mut Rng, pace: Duration) -> Self {
        let mut writers = Vec::new();
        for (index, link) in links.iter().enumerate() {
            writers.push(LoadWriter {
                name: format!("w{index}"),
                link: link.clone(),
                recorder: Arc::clone(recorder),
                rng: rng.fork(),
                pace,
                used: Arc::default(),
                fresh: 0,
                ledger: Ledger::new(),
            });
        }
        let used = || {
            writers
                .iter()
                .map(|writer| (writer.name.clone(), Arc::clone(&writer.used)))
        };
        let readers = links
            .iter()
            .map(|link| LoadReader {
                link: link.clone(),
                recorder: Arc::clone(recorder),
                rng: rng.fork(),
                pace,
                writers: used().collect(),
            })
            .collect();
        Self {
            recorder: Arc::clone(recorder),
            writers,
            readers,
            running: None,
        }
    }

    /// Starts all writers and readers.
    pub fn start(&mut self) {
        let stop = Arc::new(AtomicBool::new(false));
        let writers = self.writers.drain(..).map(|mut writer| {
            let stop = Arc::clone(&stop);
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    writer.call().await;
                    sleep(writer.pace).await;
                }
                writer
            })
        });
        let readers = self.readers.drain(..).map(|mut reader| {
            let stop = Arc::clone(&stop);
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    reader.call().await;
                    sleep(reader.pace).await;
                }
                reader
            })
        });
        self.running = Some(RunningLoad {
            writers: writers.collect(),
            readers: readers.collect(),
            stop: Arc::clone(&stop),
        });
    }

    /// Waits until every call under way has been answered.
    ///
    /// # Errors
    /// If a writer or reader has panicked.
    pub async fn stop(&mut self) -> Result<()> {
        let Some(running) = self.running.take() else {
            return Ok(());
        };
        running.stop.store(true, Ordering::Relaxed);
        for writer in running.writers {
            self.writers
                .push(writer.await.context("a writer panicked")?);
        }
        for reader in running.readers {
            self.readers
                .push(reader.await.context("a reader panicked")?);
        }
        Ok(())
    }

    /// The ledger; only while it is stopped.
    pub fn ledger(&self) -> impl Iterator<Item = &Ledger> {
        self.writers.iter().map(|writer| &writer.ledger)
    }

    /// Removes the keys that are written only once from the ledger.
    pub fn forget_fresh(&mut self) {
        for writer in &mut self.writers {
            writer.ledger.retain(|key, _| !is_fresh(key));
        }
    }

    /// Where the calls are counted.
    #[must_use]
    pub fn recorder(&self) -> &Arc<Recorder> {
        &self.recorder
    }
}

/// Whether the key is written only once.
#[must_use]
pub fn is_fresh(key: &str) -> bool {
    key.contains(".f.")
}

/// Whether the key is written over and over.
#[must_use]
pub fn is_hot(key: &str) -> bool {
    key.contains(".h.")
}

impl LoadWriter {
    async fn call(&mut self) {
        match self.rng.u8(0..10) {
            0..=3 => {
                let first = self.fresh;
                self.fresh += BATCH as u64;
                let keys = (first..self.fresh).map(|n| format!("{}.f.{n}", self.name));
                self.set(keys.collect()).await;
            }
            4..=7 => {
                let keys = self.some_hot(BATCH);
                self.set(keys).await;
            }
            8 => {
                let keys = self.some_hot(BATCH / 2);
                self.delete(keys).await;
            }
            _ => {
                let set = self.ledger.iter().filter(|(_, ledger)| ledger.is_set());
                let fresh = set.map(|(key, _)| key).filter(|key| is_fresh(key));
                let keys: Vec<_> = fresh.take(BATCH / 2).cloned().collect();
                self.delete(keys).await;
            }
        }
    }

    fn some_hot(&mut self, count: usize) -> Vec<String> {
        let chosen = self.rng.choose_multiple(0..HOT, count);
        let name = |n: usize| format!("{}.h.{n}", self.name);
        chosen.into_iter().map(name).collect()
    }

    async fn set(&mut self, keys: Vec<String>) {
        let mut number = self.used.load(Ordering::Relaxed);
        let mut pairs = Vec::new();
        for key in &keys {
            number += 1;
            let large = self.rng.u8(0..50) == 0;
            let padding = self.rng.usize(0..if large { 8192 } else { 200 });
            pairs.push((key, value(key, number, padding, self.rng.bool())));
        }
        let first = number + 1 - keys.len() as u64;
        // Before the call: a reader may see a value before it is acknowledged.
        self.used.store(number, Ordering::Relaxed);
        let call = Box::pin(self.link.caller.set_many(BUCKET, &pairs));
        let ok = self.note("set-many", call).await;
        for (key, number) in keys.into_iter().zip(first..) {
            let ledger = self.ledger.entry(key).or_default();
            ledger.record(Effect::Set(number), ok);
        }
    }

    async fn delete(&mut self, keys: Vec<String>) {
        let call = Box::pin(self.link.caller.delete_many(BUCKET, &keys));
        let ok = self.note("delete-many", call).await;
        for key in keys {
            let ledger = self.ledger.entry(key).or_default();
            ledger.record(Effect::Deleted, ok);
        }
    }

    async fn note(
        &self,
        what: &str,
        call: impl Future<Output = Result<Result<(), testkit::EventualBatchError>>>,
    ) -> bool {
        let what = format!("{what} over {}", self.link.name);
        let answer = self.recorder.call(&what, self.link.timeout, call).await;
        answer.is_some()
    }
}

impl LoadReader {
    async fn call(&mut self) {
        if self.rng.u8(0..10) == 0 {
            self.list().await;
        } else {
            self.get().await;
        }
    }

    /// A value may be an old one while a replica lags, but not another key's or one that has never
    /// been set.
    async fn get(&mut self) {
        let mut asked = Vec::new();
        for _ in 0..2 * BATCH {
            let writer = self.rng.usize(0..self.writers.len());
            let name = &self.writers[writer].0;
            asked.push((writer, format!("{name}.h.{}", self.rng.usize(0..HOT))));
        }
        let keys: Vec<_> = asked.iter().map(|(_, key)| key).collect();
        let call = Box::pin(self.link.caller.get_many(BUCKET, &keys));
        let what = format!("get-many over {}", self.link.name);
        let Some(values) = self.recorder.call(&what, self.link.timeout, call).await else {
            return;
        };
        if values.len() != asked.len() {
            let (values, keys) = (values.len(), asked.len());
            self.recorder
                .broken(format!("{values} values for {keys} keys"));
        }
        for ((writer, key), value) in asked.iter().zip(values) {
            let Some(value) = value else { continue };
            let used = self.writers[*writer].1.load(Ordering::Relaxed);
            if number(key, &value).is_none_or(|number| number > used) {
                let start = String::from_utf8_lossy(&value[..value.len().min(30)]).into_owned();
                self.recorder.broken(format!("{key} was read as {start:?}"));
            }
        }
    }

    async fn list(&mut self) {
        let call = Box::pin(self.link.caller.keys(BUCKET));
        let what = format!("keys over {}", self.link.name);
        let Some(mut keys) = self.recorder.call(&what, self.link.timeout, call).await else {
            return;
        };
        let count = keys.len();
        keys.sort_unstable();
        keys.dedup();
        if keys.len() != count {
            self.recorder.broken(format!("{what}: a key came twice"));
        }
    }
}
