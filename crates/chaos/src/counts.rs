//! Counts the calls, and notes each broken promise.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use testkit::EventualBatchError;
use tokio::time::Instant;

/// The times that are promised.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// How much longer than its link's `timeout` a call may take.
    pub grace: Duration,
    /// How soon after there is a quorum calls have to succeed.
    pub recovery: Duration,
}

impl Times {
    /// The times that the documentation promises.
    pub const PROMISED: Self = Self {
        grace: Duration::from_secs(1),
        recovery: Duration::from_secs(10),
    };

    /// Longer times, for a machine that is busy with other work.
    pub const ON_A_BUSY_MACHINE: Self = Self {
        grace: Duration::from_secs(5),
        recovery: Duration::from_secs(30),
    };
}

/// How many broken promises are described. The others are only counted.
const TOLD: usize = 20;

/// Counts of calls.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// All calls.
    pub calls: u64,
    /// Those that were answered `ok`.
    pub ok: u64,
    /// The others, by the error's kind.
    pub errors: BTreeMap<&'static str, u64>,
    /// The longest call.
    pub longest: Duration,
    /// By how much a call was over its link's `timeout` at most.
    pub late: Duration,
}

impl Counts {
    /// Adds other counts to these.
    pub fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.ok += other.ok;
        for (kind, count) in &other.errors {
            *self.errors.entry(kind).or_default() += count;
        }
        self.longest = self.longest.max(other.longest);
        self.late = self.late.max(other.late);
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} calls, {} ok", self.calls, self.ok)?;
        for (kind, count) in &self.errors {
            write!(f, ", {count} {kind}")?;
        }
        write!(
            f,
            "; longest {:.2} s, at most {:.2} s over its timeout",
            self.longest.as_secs_f64(),
            self.late.as_secs_f64()
        )
    }
}

/// Collects what the writers and readers see.
#[derive(Debug)]
pub struct Recorder {
    times: Times,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    counts: Counts,
    broken: Vec<String>,
    more: u64,
    /// From when on no call may fail, until the next fault.
    calm: Option<Instant>,
    fault: u64,
}

impl Recorder {
    /// A recorder without calls. Calls are checked against these times.
    #[must_use]
    pub fn new(times: Times) -> Self {
        Self {
            times,
            inner: Mutex::default(),
        }
    }

    /// The times against which calls are checked.
    #[must_use]
    pub fn times(&self) -> Times {
        self.times
    }

    /// Makes a call and notes how it went; `None` if it failed.
    ///
    /// What breaks a promise: an answer later than `timeout` and the grace, no answer at all, an
    /// error that does not say that trying again may help, and any error while nothing is wrong; but
    /// not over a link whose calls are over before an election is, which a cluster may have any time.
    pub async fn call<T>(
        &self,
        what: &str,
        timeout: Duration,
        call: impl Future<Output = Result<Result<T, EventualBatchError>>>,
    ) -> Option<T> {
        let (fault, begun) = (self.lock().fault, Instant::now());
        let answer = call.await;
        let took = begun.elapsed();
        let mut inner = self.lock();
        let is_calm = inner.fault == fault && inner.calm.is_some_and(|since| begun >= since);
        let counts = &mut inner.counts;
        counts.calls += 1;
        counts.longest = counts.longest.max(took);
        counts.late = counts.late.max(took.saturating_sub(timeout));
        if took > timeout + self.times.grace {
            inner.broken(format!(
                "{what}: took {took:?} with a timeout of {timeout:?}"
            ));
        }
        let (kind, words) = match answer {
            Ok(Ok(answer)) => {
                inner.counts.ok += 1;
                return Some(answer);
            }
            Ok(Err(error)) => (error.case(), error.text().to_owned()),
            Err(error) => ("no-answer", format!("{error:#}")),
        };
        *inner.counts.errors.entry(kind).or_default() += 1;
        if kind != "unavailable" {
            inner.broken(format!("{what}: {kind}: {words}"));
        } else if is_calm && timeout >= self.times.recovery {
            inner.broken(format!("{what}: failed while nothing is wrong: {words}"));
        }
        None
    }

    /// A fault begins, or a node is about to come back: calls may fail.
    pub fn disturb(&self) {
        let mut inner = self.lock();
        inner.fault += 1;
        inner.calm = None;
    }

    /// There was a quorum at this time, and there will be until the next fault.
    pub fn quorum(&self, since: Instant) {
        self.lock().calm = Some(since + self.times.recovery);
    }

    /// Whether nothing was wrong since then: no call may fail.
    #[must_use]
    pub fn is_calm(&self, since: Instant) -> bool {
        self.lock().calm.is_some_and(|calm| since >= calm)
    }

    /// Notes a broken promise.
    pub fn broken(&self, what: String) {
        self.lock().broken(what);
    }

    /// The promises that were broken: the first few in words, and how many there are.
    #[must_use]
    pub fn all_broken(&self) -> (Vec<String>, u64) {
        let inner = self.lock();
        let told = u64::try_from(inner.broken.len()).unwrap_or(u64::MAX);
        (inner.broken.clone(), told + inner.more)
    }

    /// The counts since this was last asked.
    pub fn take(&self) -> Counts {
        std::mem::take(&mut self.lock().counts)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn broken(&mut self, what: String) {
        if self.broken.len() < TOLD {
            println!("  BROKEN: {what}");
            self.broken.push(what);
        } else {
            self.more += 1;
        }
    }
}
