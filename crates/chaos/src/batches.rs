//! A writer of atomic batches: each is in the stream as a whole, or not at all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use testkit::EventualBatchError;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::check::{purge, values_of};
use crate::counts::Recorder;
use crate::setup::{BUCKET, Linked, Setup};

/// Keys in a batch.
const BATCH: usize = 100;

/// The keys of the batches begin with this. The number of the batch follows.
const KEYS: &str = "atomic.";

/// How a batch was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BatchAnswer {
    Stored,
    NotStored,
    /// It may be stored, now or later.
    Unclear,
}

/// Writes batch after batch, each of keys of its own, so that the stream keeps them all.
#[derive(Debug)]
pub struct BatchWriter {
    link: Linked,
    recorder: Arc<Recorder>,
    written: Written,
    /// The last batch that was compared and purged.
    purged: u64,
    running: Option<(Arc<AtomicBool>, JoinHandle<Written>)>,
}

/// How each batch was answered, by its number.
type Written = BTreeMap<u64, BatchAnswer>;

/// What a comparison found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Batches {
    /// Batches that the stream has as a whole.
    pub whole: usize,
    /// Batches whose answer said that it is not known.
    pub unclear: usize,
    /// Those of them that the stream has.
    pub unclear_and_stored: usize,
}

impl BatchWriter {
    /// A writer over this link, which is one of atomic batches.
    #[must_use]
    pub fn new(link: &Linked, recorder: &Arc<Recorder>) -> Self {
        Self {
            link: link.clone(),
            recorder: Arc::clone(recorder),
            written: Written::new(),
            purged: 0,
            running: None,
        }
    }

    /// Starts it, with this pause between two batches.
    pub fn start(&mut self, pace: Duration) {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let (link, recorder) = (self.link.clone(), Arc::clone(&self.recorder));
        let mut written = std::mem::take(&mut self.written);
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                let number = written.last_key_value().map_or(1, |(last, _)| last + 1);
                let answered = write(&link, &recorder, number).await;
                written.insert(number, answered);
                sleep(pace).await;
            }
            written
        });
        self.running = Some((stop, task));
    }

    /// Waits until its call has been answered.
    ///
    /// # Errors
    /// If it has panicked.
    pub async fn stop(&mut self) -> Result<()> {
        if let Some((stop, task)) = self.running.take() {
            stop.store(true, Ordering::Relaxed);
            self.written = task.await.context("a writer of batches panicked")?;
        }
        Ok(())
    }

    /// Compares the stream with the answers, and purges the batches. Only while it is stopped.
    ///
    /// # Errors
    /// If the stream cannot be read.
    pub async fn compare(&mut self, setup: &Setup) -> Result<Batches> {
        let mut found = BTreeMap::<u64, usize>::new();
        for (key, values) in values_of(setup, KEYS).await? {
            let number = key[KEYS.len()..].split('.').next();
            match number.and_then(|number| number.parse().ok()) {
                Some(number) => *found.entry(number).or_default() += values.len(),
                None => self.recorder.broken(format!("no batch has set {key}")),
            }
        }
        let mut batches = Batches::default();
        for (&number, &keys) in &found {
            if keys == BATCH {
                batches.whole += 1;
            } else {
                self.recorder.broken(format!(
                    "batch {number} is torn or stored twice: {keys} values of {BATCH}"
                ));
            }
        }
        for (number, answered) in &self.written {
            let is_there = found.contains_key(number);
            match answered {
                BatchAnswer::NotStored if is_there => self.recorder.broken(format!(
                    "batch {number} is stored, and the answer says that nothing is"
                )),
                BatchAnswer::Stored if !is_there && *number > self.purged => self
                    .recorder
                    .broken(format!("batch {number}, which was answered ok, is lost")),
                BatchAnswer::Unclear if *number > self.purged => {
                    batches.unclear += 1;
                    batches.unclear_and_stored += usize::from(is_there);
                }
                _ => {}
            }
        }
        purge(setup, BUCKET, &format!("{KEYS}>")).await?;
        self.purged = self.written.last_key_value().map_or(0, |(last, _)| *last);
        Ok(batches)
    }
}

async fn write(link: &Linked, recorder: &Recorder, number: u64) -> BatchAnswer {
    let pairs: Vec<_> = (0..BATCH)
        .map(|key| (format!("{KEYS}{number}.{key}"), "value"))
        .collect();
    let mut answered = BatchAnswer::Unclear;
    let call = async {
        let answer = link.caller.set_many(BUCKET, &pairs).await?;
        answered = match &answer {
            Ok(()) => BatchAnswer::Stored,
            Err(error) if says_nothing_is_stored(error) => BatchAnswer::NotStored,
            Err(_) => BatchAnswer::Unclear,
        };
        Ok(answer)
    };
    let what = format!("an atomic set-many over {}", link.name);
    recorder.call(&what, link.timeout, call).await;
    answered
}

fn says_nothing_is_stored(error: &EventualBatchError) -> bool {
    error.text().starts_with("none of the")
}
