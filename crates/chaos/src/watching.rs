//! A component that is told of the changes of the bucket.
//!
//! It does not always answer: some of its calls never return. At the end of a round it has to have
//! been told of the last change of each key, and of no value after a newer one.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail};
use fastrand::Rng;
use testkit::{LinkDefinition, Reply, Told, ToldComponent};
use tokio::time::{Instant, sleep};

use crate::check::last_effects;
use crate::counts::Recorder;
use crate::ledger::{Effect, Ledger, number};
use crate::load::is_hot;
use crate::setup::{BUCKET, Setup};

const COMPONENT: &str = "told";

/// The keys that are written over and over.
const WATCHED: &str = "*.h.*";

/// How long a call may take. Those that never return are made again after that.
const TIMEOUT: &str = "1s";

/// One of so many calls never returns.
const ONE_FAILS_OF: u32 = 300;

/// How long the component may take to be told of the last changes.
const WAIT_LIMIT: Duration = Duration::from_secs(120);

/// How long a watch may take to begin.
const BEGIN_LIMIT: Duration = Duration::from_secs(30);

/// The watched bucket, and the component.
#[derive(Debug)]
pub struct WatchedBucket {
    recorder: Arc<Recorder>,
    log: Arc<Mutex<ToldLog>>,
    component: Option<ToldComponent>,
    rng: Rng,
    /// What each key was last told to be.
    last: HashMap<String, Effect>,
    /// The newest value of each key that was told, of those that were answered `ok`.
    newest: HashMap<String, u64>,
}

/// What the component was told in this round.
#[derive(Debug, Default)]
struct ToldLog {
    by_key: HashMap<String, Vec<Effect>>,
    calls: u64,
    failed: u64,
}

/// What was told in a round.
#[derive(Clone, Copy, Debug, Default)]
pub struct ToldChanges {
    /// Calls of the component.
    pub calls: u64,
    /// Calls that never returned.
    pub failed: u64,
    /// Values of which the component was told again.
    pub again: u64,
    /// How long it took until the last change of each key was told, after the load had ended.
    pub caught_up: Duration,
}

impl ToldChanges {
    /// Adds those of another round.
    pub fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.failed += other.failed;
        self.again += other.again;
        self.caught_up = self.caught_up.max(other.caught_up);
    }
}

impl std::fmt::Display for ToldChanges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} calls of the watcher, {} of which never returned; {} values were told again; up to \
             date {:.1} s after the load",
            self.calls,
            self.failed,
            self.again,
            self.caught_up.as_secs_f64()
        )
    }
}

impl WatchedBucket {
    /// Puts the link, and waits until the bucket is watched.
    ///
    /// # Errors
    /// If the provider does not take the link, or does not begin.
    pub async fn set(setup: &Setup, recorder: &Arc<Recorder>, rng: &mut Rng) -> Result<Self> {
        let link = LinkDefinition::to_watcher(COMPONENT)
            .config("cluster_uri", setup.cluster.url())
            .config("bucket", BUCKET)
            .config("watch", WATCHED)
            .config("watch_max_deliver", "1000000")
            .config("watch_timeout", TIMEOUT);
        setup.provider.put_link(&link).await?;
        let deadline = Instant::now() + BEGIN_LIMIT;
        while !setup.provider.logs().contains("the bucket is watched") {
            if Instant::now() > deadline {
                bail!("the bucket is not watched: {}", setup.provider.logs());
            }
            sleep(Duration::from_millis(100)).await;
        }
        Ok(Self {
            recorder: Arc::clone(recorder),
            log: Arc::default(),
            component: None,
            rng: rng.fork(),
            last: HashMap::new(),
            newest: HashMap::new(),
        })
    }

    /// Starts the component.
    ///
    /// # Errors
    /// If the lattice is not there.
    pub async fn start(&mut self, setup: &Setup) -> Result<()> {
        let (log, mut rng) = (Arc::clone(&self.log), self.rng.fork());
        let behaviour = move |told: &Told| {
            let fails = rng.u32(0..ONE_FAILS_OF) == 0;
            lock(&log).note(told, fails);
            if fails {
                Reply::Never
            } else {
                Reply::After(Duration::from_micros(rng.u64(0..3000)))
            }
        };
        let (url, lattice) = (setup.lattice.url(), setup.provider.lattice().to_owned());
        let component = ToldComponent::serve(&url, &lattice, COMPONENT, behaviour).await?;
        self.component = Some(component);
        Ok(())
    }

    /// Waits until the last change of each key has been told, and checks the order of all. Only
    /// while nobody writes. The component is not there afterwards.
    ///
    /// # Errors
    /// If the stream cannot be read.
    pub async fn compare<'a>(
        &mut self,
        setup: &Setup,
        ledger: impl Iterator<Item = &'a Ledger>,
    ) -> Result<ToldChanges> {
        let begun = Instant::now();
        let mut expected = last_effects(setup).await?;
        expected.retain(|key, _| is_hot(key));
        loop {
            let behind = self.behind(&expected);
            if behind.is_empty() {
                break;
            }
            if begun.elapsed() > WAIT_LIMIT {
                for what in behind {
                    self.recorder.broken(what);
                }
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
        let caught_up = begun.elapsed();
        self.component = None;
        let told = mem::take(&mut *lock(&self.log));
        let mut changes = ToldChanges {
            calls: told.calls,
            failed: told.failed,
            again: 0,
            caught_up,
        };
        let ledgers: HashMap<_, _> = ledger.flatten().collect();
        for (key, effects) in told.by_key {
            changes.again += again(&effects);
            let is_doubtful = |number| {
                let ledger = ledgers.get(&key);
                ledger.is_none_or(|ledger| ledger.is_doubtful(Effect::Set(number)))
            };
            let newest = self.newest.entry(key.clone()).or_default();
            if let Some(trouble) = out_of_order(&effects, newest, is_doubtful) {
                self.recorder
                    .broken(format!("the watcher: {key}: {trouble}"));
            }
            if let Some(last) = effects.last() {
                self.last.insert(key, *last);
            }
        }
        Ok(changes)
    }

    /// The keys whose last change was not told last.
    fn behind(&self, expected: &HashMap<String, Effect>) -> Vec<String> {
        let log = lock(&self.log);
        let told = |key: &String| {
            let now = log.by_key.get(key).and_then(|effects| effects.last());
            now.or_else(|| self.last.get(key)).copied()
        };
        let behind = expected.iter().filter(|(key, last)| {
            // A delete of a key of which nothing was ever told may have been before the watch.
            told(key) != Some(**last)
        });
        let describe = |(key, last): (&String, &Effect)| match told(key) {
            Some(told) => format!("the watcher: {key} is {last}, and was told to be {told}"),
            None => format!("the watcher: {key} is {last}, and was never told of"),
        };
        behind.map(describe).collect()
    }
}

impl ToldLog {
    fn note(&mut self, told: &Told, fails: bool) {
        self.calls += 1;
        self.failed += u64::from(fails);
        let effect = match &told.value {
            Some(value) => Effect::Set(number(&told.key, value).unwrap_or_default()),
            None => Effect::Deleted,
        };
        let effects = self.by_key.entry(told.key.clone()).or_default();
        effects.push(effect);
    }
}

/// How many values follow themselves.
fn again(effects: &[Effect]) -> u64 {
    let is_again = |pair: &&[Effect]| pair[0] == pair[1] && pair[0] != Effect::Deleted;
    effects.windows(2).filter(is_again).map(|_| 1).sum()
}

/// Whether a value was told after a newer one. Raises `newest`. Values that were answered with an
/// error may be carried out late, and do not count.
fn out_of_order(
    effects: &[Effect],
    newest: &mut u64,
    is_doubtful: impl Fn(u64) -> bool,
) -> Option<String> {
    let mut trouble = None;
    for effect in effects {
        match effect {
            Effect::Set(number) if !is_doubtful(*number) => {
                if number < newest && trouble.is_none() {
                    trouble = Some(format!("{number} was told after {newest}"));
                }
                *newest = (*newest).max(*number);
            }
            _ => {}
        }
    }
    trouble
}

fn lock(log: &Mutex<ToldLog>) -> MutexGuard<'_, ToldLog> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Effect::{Deleted, Set};

    #[test]
    fn an_older_value_after_a_newer_one_is_out_of_order() {
        let check = |effects: &[Effect], mut newest: u64| {
            out_of_order(effects, &mut newest, |number| number == 3)
        };
        assert_eq!(check(&[Set(1), Set(1), Deleted, Set(2), Set(2)], 0), None);
        assert_eq!(check(&[Set(5), Set(3), Set(6)], 0), None, "3 is doubtful");
        assert!(check(&[Set(1), Set(2), Set(1)], 0).is_some());
        assert!(check(&[Set(4)], 5).is_some(), "of the round before");
    }

    #[test]
    fn values_that_follow_themselves_are_counted() {
        assert_eq!(
            again(&[Set(1), Set(1), Deleted, Deleted, Set(1), Set(2)]),
            1
        );
    }
}
