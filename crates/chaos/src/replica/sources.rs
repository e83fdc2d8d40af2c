//! Who has answered the reads: the copy, or the server. The provider counts both, and exports the
//! counts.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use testkit::OtlpCollector;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::setup::COPIED;

const HITS: &str = "eventual_batch.replica.hits";
const FALLBACKS: &str = "eventual_batch.replica.fallbacks";
const BUCKET: &str = "db.collection.name";

const POLL: Duration = Duration::from_millis(20);

/// After so many more exports, what was answered before is in the counts: the next one may have
/// been under way, and the one after it may have been begun meanwhile.
const EXPORTS: usize = 3;

/// How long the provider may take to export them.
const WAIT_LIMIT: Duration = Duration::from_secs(60);

/// How many reads the copy and the server have answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnswerCounts {
    /// By the copy.
    pub copy: u64,
    /// By the server, because the copy could not; those that failed then are among them.
    pub server: u64,
}

#[derive(Clone, Copy, Debug)]
struct CountsExport {
    at: Instant,
    counts: AnswerCounts,
}

/// An answer that is older than the copy's may be.
#[derive(Clone, Debug)]
pub(super) struct OldAnswer {
    pub(super) sent: Instant,
    pub(super) answered: Instant,
    /// What is old.
    pub(super) what: String,
}

/// The counts, as they were exported.
#[derive(Debug)]
pub(super) struct ReadSources {
    exports: Arc<Mutex<Vec<CountsExport>>>,
    _task: JoinSet<()>,
}

impl ReadSources {
    /// Begins to note what the collector receives.
    pub(super) fn note(collector: Arc<OtlpCollector>) -> Self {
        let exports = Arc::<Mutex<Vec<_>>>::default();
        let noted = Arc::clone(&exports);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut seen = 0;
            loop {
                let received = collector.exports();
                if received > seen {
                    seen = received;
                    if let Some(counts) = counts(&collector) {
                        let at = Instant::now();
                        lock(&noted).push(CountsExport { at, counts });
                    }
                    collector.forget();
                }
                sleep(POLL).await;
            }
        });
        Self {
            exports,
            _task: task,
        }
    }

    /// The counts of the last export.
    pub(super) fn last(&self) -> AnswerCounts {
        let exports = lock(&self.exports);
        exports.last().map(|last| last.counts).unwrap_or_default()
    }

    /// The counts, with all that has been answered until now.
    pub(super) async fn now(&self) -> Result<AnswerCounts> {
        let begun = Instant::now();
        loop {
            let exports = lock(&self.exports).clone();
            if let Some(export) = after(&exports, begun) {
                return Ok(export.counts);
            }
            ensure!(
                begun.elapsed() < WAIT_LIMIT,
                "the provider does not export its metrics"
            );
            sleep(POLL).await;
        }
    }

    /// Forgets all exports but the last one.
    pub(super) fn forget(&self) {
        let mut exports = lock(&self.exports);
        let old = exports.len().saturating_sub(1);
        exports.drain(..old);
    }

    /// Those of the answers that the server cannot have given, and the copy has.
    pub(super) fn by_copy<'a>(&self, old: &'a [OldAnswer]) -> Vec<&'a OldAnswer> {
        let exports = lock(&self.exports);
        let by_copy = old
            .iter()
            .filter(|answer| is_by_copy(&exports, old, answer));
        by_copy.collect()
    }
}

/// Whether more old answers came while this one was waited for, and shortly before, than the server
/// has given in that time.
fn is_by_copy(exports: &[CountsExport], old: &[OldAnswer], answer: &OldAnswer) -> bool {
    let before = exports.iter().rev().find(|export| export.at <= answer.sent);
    let after = after(exports, answer.answered).or(exports.last());
    let (Some(before), Some(after)) = (before, after) else {
        return false;
    };
    let is_within = |old: &&OldAnswer| old.sent >= before.at && old.answered <= answer.answered;
    let within = old.iter().filter(is_within).count() as u64;
    within > after.counts.server - before.counts.server
}

/// The first export that has all that was answered before this time.
fn after(exports: &[CountsExport], time: Instant) -> Option<&CountsExport> {
    exports
        .iter()
        .filter(|export| export.at > time)
        .nth(EXPORTS - 1)
}

fn counts(collector: &OtlpCollector) -> Option<AnswerCounts> {
    let sum = |name| {
        let metric = collector.metric(name).ok()??;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count"
        )]
        Some(metric.sum(&[(BUCKET, COPIED)]) as u64)
    };
    Some(AnswerCounts {
        copy: sum(HITS)?,
        server: sum(FALLBACKS)?,
    })
}

fn lock(exports: &Mutex<Vec<CountsExport>>) -> MutexGuard<'_, Vec<CountsExport>> {
    exports.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Exports at each full 100 ms, with these counts of answers by the server.
    fn exports(begun: Instant, server: &[u64]) -> Vec<CountsExport> {
        let export = |(place, &server): (usize, &u64)| CountsExport {
            at: begun + Duration::from_millis(100) * u32::try_from(place).unwrap_or(0),
            counts: AnswerCounts { copy: 7, server },
        };
        server.iter().enumerate().map(export).collect()
    }

    /// Answers at these milliseconds, each of which took one.
    fn answers(begun: Instant, at: &[u64]) -> Vec<OldAnswer> {
        let answer = |&at: &u64| OldAnswer {
            sent: begun + Duration::from_millis(at),
            answered: begun + Duration::from_millis(at + 1),
            what: String::new(),
        };
        at.iter().map(answer).collect()
    }

    fn by_copy(server: &[u64], at: &[u64]) -> usize {
        let begun = Instant::now();
        let (exports, old) = (exports(begun, server), answers(begun, at));
        let by_copy = old
            .iter()
            .filter(|answer| is_by_copy(&exports, &old, answer));
        by_copy.count()
    }

    #[test]
    fn old_answers_are_the_copys_if_the_server_gave_fewer() {
        assert_eq!(by_copy(&[5, 5, 5, 5, 5, 5, 5], &[150]), 1);
        assert_eq!(by_copy(&[5, 5, 5, 6, 6, 6, 6], &[150]), 0);
        assert_eq!(by_copy(&[5, 5, 5, 6, 6, 6, 6], &[150, 160]), 1);
        assert_eq!(by_copy(&[5, 5, 7, 7, 7, 7, 7], &[150, 160]), 0);
        assert_eq!(by_copy(&[5, 6, 6, 6, 6, 6, 6], &[150]), 1, "before it");
        assert_eq!(by_copy(&[5, 5, 5, 5, 5, 6, 6], &[150]), 1, "after it");
    }
}
