//! A copy of a bucket in the provider's memory, whose answers are never older than allowed.
//!
//! Clients at each node of the cluster write to the bucket, and take values away without a message
//! that would tell of it; the provider itself writes, too. Readers check every answer of a link
//! with `replica` = `bounded`. For each key, an answer may be no older than what others had been
//! acknowledged [`STALENESS`] before the question was sent, what had been written through the
//! provider by then, and what any reader had been shown by then. All times are by one clock,
//! without any slack.
//!
//! The server answers when the copy cannot, and a node that was cut off or frozen may answer as if
//! it still led the stream: docs/guarantees.md says so. So an old answer breaks a promise if there
//! were more of them than answers by the server, or if it came while nothing was wrong.

mod answers;
mod history;
mod reader;
mod sources;
mod writers;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fastrand::Rng;
use futures::TryStreamExt as _;
use testkit::{LinkDefinition, NODES};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use self::answers::CopiedKeys;
use self::reader::CopiedReader;
use self::sources::{OldAnswer, ReadSources};
use self::writers::{OtherWriter, OwnWriter};
use crate::check::{last_values, purge};
use crate::counts::Recorder;
use crate::setup::{COPIED, COPY_CONSUMER, Linked, Setup, stream_of};

pub use self::sources::AnswerCounts;

/// How old an answer of the copy may be.
pub const STALENESS: Duration = Duration::from_millis(500);

/// The `timeout` of the links.
const TIMEOUT: Duration = Duration::from_secs(5);

const READERS: usize = 2;

/// The pause of a reader between two calls.
const READ_PACE: Duration = Duration::from_millis(2);

/// How long the copy may take to answer while nothing is wrong, and to be as the leader is.
const WAIT_LIMIT: Duration = Duration::from_secs(60);

/// How long the provider may take to delete the copy's consumer: less than the 30 s after which the
/// server deletes one that nobody uses.
const DELETE_LIMIT: Duration = Duration::from_secs(15);

/// The copied bucket with its links, writers and readers.
#[derive(Debug)]
pub struct CopiedBucket {
    links: [LinkDefinition; 2],
    /// With the copy, and without.
    callers: [Linked; 2],
    state: Arc<CopiedState>,
    sources: ReadSources,
    running: JoinSet<()>,
    rng: Rng,
    begun: AnswerCounts,
}

/// What writers and readers share.
#[derive(Debug)]
struct CopiedState {
    recorder: Arc<Recorder>,
    stop: AtomicBool,
    keys: Mutex<CopiedKeys>,
    old: Mutex<Vec<OldAnswer>>,
    staleness: Mutex<Duration>,
}

/// What was read in a round.
#[derive(Clone, Copy, Debug, Default)]
pub struct CopiedReads {
    /// Who has answered.
    pub counts: AnswerCounts,
    /// How old a value was at most when it was asked for, of those that were not too old.
    pub staleness: Duration,
    /// Answers by a node that no longer led the stream.
    pub old: usize,
    /// How many keys the copy and the leader were compared in.
    pub keys: usize,
    /// How long after the load it took until the copy answered just as the leader did.
    pub agreed: Duration,
}

impl CopiedReads {
    /// Adds those of another round.
    pub fn add(&mut self, other: &Self) {
        self.counts.copy += other.counts.copy;
        self.counts.server += other.counts.server;
        self.staleness = self.staleness.max(other.staleness);
        self.old += other.old;
        self.keys += other.keys;
        self.agreed = self.agreed.max(other.agreed);
    }
}

impl fmt::Display for CopiedReads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} reads by the copy and {} by the server; values were out of date for {:.3} s at most; {} \
             old answers of a node that no longer led; {} keys agree after {:.1} s",
            self.counts.copy,
            self.counts.server,
            self.staleness.as_secs_f64(),
            self.old,
            self.keys,
            self.agreed.as_secs_f64()
        )
    }
}

impl CopiedBucket {
    /// Puts the links.
    ///
    /// # Errors
    /// If the provider does not get to it.
    pub async fn set(setup: &Setup, recorder: &Arc<Recorder>, rng: &mut Rng) -> Result<Self> {
        let staleness = format!("{}ms", STALENESS.as_millis());
        let copied = setup.link_to(COPIED, "copied", TIMEOUT);
        let links = [
            copied
                .config("replica", "bounded")
                .config("replica_staleness", staleness),
            setup.link_to(COPIED, "not-copied", TIMEOUT),
        ];
        for link in &links {
            setup.provider.put_link(link).await?;
        }
        let callers = ["copied", "not-copied"].map(|name| setup.linked(name, TIMEOUT));
        Ok(Self {
            links,
            callers,
            state: Arc::new(CopiedState {
                recorder: Arc::clone(recorder),
                stop: AtomicBool::new(false),
                keys: Mutex::default(),
                old: Mutex::default(),
                staleness: Mutex::default(),
            }),
            sources: ReadSources::note(Arc::clone(&setup.collector)),
            running: JoinSet::new(),
            rng: rng.fork(),
            begun: AnswerCounts::default(),
        })
    }

    /// Starts the writers, with this pause between two writes, and the readers. Waits until the
    /// copy answers: nothing is wrong yet.
    ///
    /// # Errors
    /// If a node is not there, or the provider exports no metrics.
    pub async fn start(&mut self, setup: &Setup, pace: Duration) -> Result<()> {
        self.begun = self.sources.now().await?;
        self.sources.forget();
        self.state.stop.store(false, Ordering::Relaxed);
        for node in 0..NODES {
            let writer = OtherWriter {
                name: format!("n{node}"),
                jetstream: setup.cluster.jetstream(node).await?,
                state: Arc::clone(&self.state),
                rng: self.rng.fork(),
            };
            self.running.spawn(writer.run(pace));
        }
        let writer = OwnWriter {
            links: self.callers.to_vec(),
            state: Arc::clone(&self.state),
            rng: self.rng.fork(),
        };
        self.running.spawn(writer.run(pace));
        for _ in 0..READERS {
            let reader = CopiedReader {
                link: self.callers[0].clone(),
                state: Arc::clone(&self.state),
                rng: self.rng.fork(),
            };
            self.running.spawn(reader.run(READ_PACE));
        }
        let begun = Instant::now();
        while self.sources.last().copy == self.begun.copy {
            if begun.elapsed() > WAIT_LIMIT {
                let what = "the copy answers nothing while nothing is wrong";
                self.state.recorder.broken(what.to_owned());
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Waits until every call has been answered.
    ///
    /// # Errors
    /// If a writer or reader has panicked.
    pub async fn stop(&mut self) -> Result<()> {
        self.state.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.running.join_next().await {
            ended.context("a writer or reader of the copied bucket panicked")?;
        }
        Ok(())
    }

    /// Judges the answers that were old, and waits until the copy answers just as the leader does.
    /// Only while it is stopped, and all nodes have all of the stream.
    ///
    /// # Errors
    /// If the stream cannot be read, or the provider exports no metrics.
    pub async fn compare(&mut self, setup: &Setup) -> Result<CopiedReads> {
        let begun = Instant::now();
        let counts = self.sources.now().await?;
        let old = std::mem::take(&mut *lock(&self.state.old));
        for answer in self.sources.by_copy(&old) {
            let what = &answer.what;
            self.state.recorder.broken(format!("{what}; by the copy"));
        }
        let abandoned = self.state.keys().take_abandoned();
        for key in &abandoned {
            purge(setup, COPIED, key).await?;
        }
        let keys = loop {
            match self.differences(setup, &abandoned).await? {
                Ok(keys) => break keys,
                Err(difference) if begun.elapsed() > WAIT_LIMIT => {
                    self.state.recorder.broken(difference);
                    break 0;
                }
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        };
        Ok(CopiedReads {
            counts: AnswerCounts {
                copy: counts.copy - self.begun.copy,
                server: counts.server - self.begun.server,
            },
            staleness: std::mem::take(&mut *lock(&self.state.staleness)),
            old: old.len(),
            keys,
            agreed: begun.elapsed(),
        })
    }

    /// How many keys the leader has, if the copy answers for them and for those that are gone just
    /// as the leader does; else the first difference.
    async fn differences(
        &self,
        setup: &Setup,
        gone: &BTreeSet<String>,
    ) -> Result<Result<usize, String>> {
        let before = self.sources.now().await?;
        let expected = last_values(setup, COPIED).await?;
        let asked: BTreeSet<_> = expected.keys().chain(gone).cloned().collect();
        let asked = Vec::from_iter(asked);
        let caller = &self.callers[0].caller;
        let values = caller.get_many(COPIED, &asked).await?;
        let listed = caller.keys(COPIED).await?;
        let (Ok(values), Ok(listed)) = (values, listed) else {
            return Ok(Err("the copied bucket cannot be read".to_owned()));
        };
        let after = self.sources.now().await?;
        let values: BTreeMap<_, _> = asked.into_iter().zip(values).collect();
        let differs = |key: &&String| {
            values.get(*key).cloned().flatten() != expected.get(*key).cloned().flatten()
        };
        if let Some(key) = values.keys().find(differs) {
            let what = "the copy and the leader have not the same value of";
            return Ok(Err(format!("{what} {key}")));
        }
        let has_value =
            |(key, value): (&String, &Option<Vec<u8>>)| value.as_ref().map(|_| key.clone());
        let expected: BTreeSet<_> = expected.iter().filter_map(has_value).collect();
        if BTreeSet::from_iter(listed) != expected {
            return Ok(Err(
                "the copy and the leader do not list the same keys".to_owned()
            ));
        }
        if after.copy - before.copy != 2 {
            return Ok(Err(
                "the server answers for the copy, while nothing is wrong".to_owned(),
            ));
        }
        Ok(Ok(values.len()))
    }

    /// Deletes the links, and waits until the copy's consumer is gone.
    ///
    /// # Errors
    /// If the copy has no consumer, or the stream cannot be read.
    pub async fn delete(&self, setup: &Setup) -> Result<()> {
        ensure!(
            !consumers(setup).await?.is_empty(),
            "the copy has no consumer"
        );
        for link in &self.links {
            setup.provider.delete_link(link).await?;
        }
        let begun = Instant::now();
        loop {
            let left = consumers(setup).await?;
            if left.is_empty() {
                println!(
                    "the copy's consumer is gone after {:.1} s",
                    begun.elapsed().as_secs_f64()
                );
                return Ok(());
            }
            if begun.elapsed() > DELETE_LIMIT {
                let what = format!("consumers are left when the link is deleted: {left:?}");
                self.state.recorder.broken(what);
                return Ok(());
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// The names of the copy's consumers.
async fn consumers(setup: &Setup) -> Result<Vec<String>> {
    let stream = setup.cluster.jetstream(0).await?;
    let stream = stream.get_stream(stream_of(COPIED)).await?;
    let mut names: Vec<String> = stream.consumer_names().try_collect().await?;
    names.retain(|name| name.starts_with(COPY_CONSUMER));
    Ok(names)
}

impl CopiedState {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn keys(&self) -> MutexGuard<'_, CopiedKeys> {
        lock(&self.keys)
    }

    fn note_old(&self, answer: OldAnswer) {
        lock(&self.old).push(answer);
    }

    fn note_staleness(&self, staleness: Duration) {
        let mut longest = lock(&self.staleness);
        *longest = longest.max(staleness);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
