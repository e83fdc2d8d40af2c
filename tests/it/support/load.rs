//! Writers that go on while something fails, and remember how each call was answered.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use testkit::LatticeCaller;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

const BATCH: usize = 20;

/// How long a writer waits for the answer of a call. The link's own timeout is shorter.
const WAIT_LIMIT: Duration = Duration::from_secs(5);

/// Running writers. Each sets batches of its own keys. The value of a key is the key itself. Every
/// other batch is deleted again.
pub struct WriteLoad {
    stop: Arc<AtomicBool>,
    /// How many calls of each writer were answered `ok`.
    ok: Vec<Arc<AtomicUsize>>,
    writers: Vec<JoinHandle<Outcome>>,
}

/// What became of the calls.
#[derive(Default)]
pub struct Outcome {
    pub calls: Vec<Instant>,
    pub failed: Vec<Failed>,
    /// Keys that must be in the bucket: their call was answered `ok`.
    pub set: Vec<String>,
    /// Keys that must not be in the bucket.
    pub deleted: Vec<String>,
}

/// A call that was not answered ok.
#[derive(Debug)]
pub struct Failed {
    pub begun: Instant,
    pub ended: Instant,
    pub error: String,
}

impl WriteLoad {
    pub fn start(caller: &LatticeCaller, writers: usize) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let ok: Vec<Arc<AtomicUsize>> = (0..writers).map(|_| Arc::default()).collect();
        let writers = ok.iter().enumerate().map(|(number, ok)| {
            let caller = caller.clone().with_timeout(WAIT_LIMIT);
            tokio::spawn(write(caller, number, Arc::clone(ok), Arc::clone(&stop)))
        });
        Self {
            writers: writers.collect(),
            stop,
            ok,
        }
    }

    /// Waits until each writer has had two more calls answered ok.
    pub async fn wait_for_progress(&self, limit: Duration) -> Result<()> {
        let now = || self.ok.iter().map(|ok| ok.load(Ordering::SeqCst));
        let before: Vec<_> = now().collect();
        let gone_on = async {
            while now().zip(&before).any(|(now, before)| now < before + 2) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        // A writer first has to give up a call that gets no answer.
        if timeout(WAIT_LIMIT + limit, gone_on).await.is_err() {
            let ok: Vec<_> = now().collect();
            bail!("calls do not succeed again: {before:?}, {ok:?}");
        }
        Ok(())
    }

    pub async fn stop(self) -> Result<Outcome> {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = Outcome::default();
        for writer in self.writers {
            let one = timeout(WAIT_LIMIT * 4, writer);
            let one = one.await.context("a writer hangs")??;
            all.calls.extend(one.calls);
            all.failed.extend(one.failed);
            all.set.extend(one.set);
            all.deleted.extend(one.deleted);
        }
        Ok(all)
    }
}

async fn write(
    caller: LatticeCaller,
    number: usize,
    ok: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
) -> Outcome {
    let mut outcome = Outcome::default();
    for round in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let keys = (0..BATCH).map(|key| format!("w{number}.{round}.{key}"));
        let keys: Vec<_> = keys.collect();
        let pairs: Vec<_> = keys.iter().map(|key| (key, key)).collect();
        if !outcome.call(&ok, caller.set_many("default", &pairs)).await {
            continue;
        }
        if round % 2 == 0 {
            outcome.set.extend(keys);
        } else if outcome
            .call(&ok, caller.delete_many("default", &keys))
            .await
        {
            outcome.deleted.extend(keys);
        }
    }
    outcome
}

impl Outcome {
    async fn call(
        &mut self,
        ok: &AtomicUsize,
        call: impl Future<Output = Result<Result<(), testkit::EventualBatchError>>>,
    ) -> bool {
        let begun = Instant::now();
        self.calls.push(begun);
        let answer = call.await;
        let error = match answer {
            Ok(Ok(())) => {
                ok.fetch_add(1, Ordering::SeqCst);
                return true;
            }
            Ok(Err(error)) => error.text().to_owned(),
            Err(error) => format!("{error:#}"),
        };
        self.failed.push(Failed {
            begun,
            ended: Instant::now(),
            error,
        });
        // Without a provider the error comes at once: a pause keeps the writer from spinning.
        sleep(Duration::from_millis(20)).await;
        false
    }

    /// How many calls began at this time or later.
    pub fn begun_after(&self, then: Instant) -> usize {
        self.calls.iter().filter(|begun| **begun >= then).count()
    }

    fn longest(&self) -> Duration {
        let times = self.failed.iter().map(|failed| failed.ended - failed.begun);
        times.max().unwrap_or_default()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} calls, {} of them failed, after {:?} at most; {} keys set, {} deleted",
            self.calls.len(),
            self.failed.len(),
            self.longest(),
            self.set.len(),
            self.deleted.len(),
        )?;
        for failed in self.failed.iter().take(5) {
            write!(f, "\n{}", failed.error)?;
        }
        Ok(())
    }
}
