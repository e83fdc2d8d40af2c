//! Callers that increment a counter, and read single keys.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use testkit::{BatchError, EventualBatchError};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::counts::Recorder;
use crate::setup::{BUCKET, Linked};

/// How an error of these interfaces says that trying again may help. They have no case for it.
const TRY_AGAIN: &str = "trying again may help";

/// One caller, with a counter of its own.
#[derive(Debug)]
pub struct CounterCaller {
    link: Linked,
    recorder: Arc<Recorder>,
    key: String,
    /// Increments that were answered `ok`, and those that may or may not have been carried out.
    ok: u64,
    doubtful: u64,
    running: Option<RunningCaller>,
}

#[derive(Debug)]
struct RunningCaller {
    stop: Arc<AtomicBool>,
    /// Gives what it has added to `ok` and `doubtful`.
    task: JoinHandle<(u64, u64)>,
}

impl CounterCaller {
    /// A caller over this link.
    #[must_use]
    pub fn new(link: &Linked, recorder: &Arc<Recorder>) -> Self {
        Self {
            link: link.clone(),
            recorder: Arc::clone(recorder),
            key: format!("count.{}", link.name),
            ok: 0,
            doubtful: 0,
            running: None,
        }
    }

    /// Starts the caller, with this pause between two rounds.
    pub fn start(&mut self, pace: Duration) {
        let stop = Arc::new(AtomicBool::new(false));
        let (link, recorder, key) = (
            self.link.clone(),
            Arc::clone(&self.recorder),
            self.key.clone(),
        );
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let (mut ok, mut doubtful) = (0, 0);
            while !stopped.load(Ordering::Relaxed) {
                match increment(&link, &recorder, &key).await {
                    Some(_) => ok += 1,
                    None => doubtful += 1,
                }
                read_single_keys(&link, &recorder, &key).await;
                sleep(pace).await;
            }
            (ok, doubtful)
        });
        self.running = Some(RunningCaller { stop, task });
    }

    /// Waits until its call has been answered, and compares the counter with what it counted.
    ///
    /// # Errors
    /// If it has panicked, or the counter cannot be read.
    pub async fn stop(&mut self) -> Result<()> {
        let Some(RunningCaller { stop, task }) = self.running.take() else {
            return Ok(());
        };
        stop.store(true, Ordering::Relaxed);
        let (ok, doubtful) = task.await.context("a caller panicked")?;
        self.ok += ok;
        self.doubtful += doubtful;
        let store = self.link.caller.store();
        let value = store.get(BUCKET, &self.key).await??.unwrap_or_default();
        let value = String::from_utf8_lossy(&value).into_owned();
        let range = self.ok..=self.ok + self.doubtful;
        if !value.parse().is_ok_and(|count: u64| range.contains(&count)) {
            self.recorder
                .broken(format!("{} is {value:?} and not in {range:?}", self.key));
        }
        Ok(())
    }
}

async fn increment(link: &Linked, recorder: &Recorder, key: &str) -> Option<u64> {
    let call = async {
        let answer = link.caller.atomics().increment(BUCKET, key, 1).await?;
        Ok(answer.map_err(error))
    };
    let what = format!("increment over {}", link.name);
    recorder.call(&what, link.timeout, call).await
}

/// Checks that the key exists, and reads a page of keys.
async fn read_single_keys(link: &Linked, recorder: &Recorder, key: &str) {
    let store = link.caller.store();
    let call = async { Ok(store.exists(BUCKET, key).await?.map_err(error)) };
    let what = format!("exists over {}", link.name);
    recorder.call(&what, link.timeout, call).await;
    let call = async { Ok(store.list_keys(BUCKET, None).await?.map_err(error)) };
    let what = format!("list-keys over {}", link.name);
    recorder.call(&what, link.timeout, call).await;
}

fn error(error: BatchError) -> EventualBatchError {
    match error {
        BatchError::NoSuchStore => EventualBatchError::NoSuchBucket(String::new()),
        BatchError::AccessDenied => EventualBatchError::AccessDenied(String::new()),
        BatchError::Other(text) if text.contains(TRY_AGAIN) => {
            EventualBatchError::Unavailable(text)
        }
        BatchError::Other(text) => EventualBatchError::Other(text),
    }
}
