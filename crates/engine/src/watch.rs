//! A stream of the changes of a bucket, each of which is delivered at least once, and those of a
//! key in order.
//!
//! A consumer in the bucket's NATS remembers what is delivered. All instances of a program that
//! watch under one name share it. One of them at a time is active: the consumer takes one pull
//! (`max_waiting` = 1), and the pull stays open. So a key's changes are in one place, and can be
//! delivered in order while those of other keys are delivered at the same time. Priority groups
//! with a pinned client (ADR-42) would do the same, on servers ≥ 2.11 only, and with a timeout of
//! their own. One message in flight at a time (`max_ack_pending` = 1) would not do: when a value is
//! overwritten while it is delivered, the server delivers its successor at once.
//!
//! `machine` decides, without I/O and clock. `run` is its loop. `consumer` has the requests.

mod consumer;
mod machine;
mod message;
mod pattern;
mod run;
#[cfg(test)]
mod simulation;
mod state;
mod timing;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub use pattern::{InvalidPattern, PatternProblem, WatchPattern, WatchedChanges};
pub use state::WatchStats;

use consumer::WatchConsumer;
use run::Ending;
use state::WatchState;

use super::connection::Connection;
use super::keys::KeyEncoding;
use super::stream_info::BucketSpec;

/// How long the consumer's deletion may take.
const DELETE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a watch takes to end after its calls have.
const END_TIMEOUT: Duration = Duration::from_secs(3);

/// From when on changes are delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchFrom {
    /// From when the consumer is first made.
    New,
    /// First the value that each key has.
    Last,
}

/// What is watched, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchSettings {
    /// The name of the consumer. Watches of one name share their changes.
    pub name: String,
    /// The bucket. It need not exist yet.
    pub bucket: BucketSpec,
    /// How keys are written in the bucket.
    pub encoding: KeyEncoding,
    /// Which keys and changes. At least one.
    pub patterns: Vec<WatchPattern>,
    /// From when on.
    pub from: WatchFrom,
    /// Whether changes are kept that nobody takes, or whose delivery fails.
    pub durable: bool,
    /// Changes that are delivered at once: 1 to 1024.
    pub max_in_flight: usize,
    /// How often a change is tried to be delivered, before it is given up. At least 1.
    pub max_deliver: u32,
    /// How long one delivery may take.
    pub call_timeout: Duration,
}

/// What has happened to a key.
#[derive(Clone, PartialEq, Eq)]
pub enum ChangeKind {
    /// The key has this value.
    Set(Bytes),
    /// The key has no value: it was deleted or purged, or, if the bucket makes markers, it expired.
    Delete,
}

/// Shows no value.
impl fmt::Debug for ChangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Set(_) => "Set(…)",
            Self::Delete => "Delete",
        })
    }
}

/// One change of a key.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyChange {
    /// The key.
    pub key: String,
    /// What has happened to it.
    pub kind: ChangeKind,
    /// The message's sequence in the bucket's stream.
    pub revision: u64,
    /// When the server stored it, by the server's clock.
    pub stored: SystemTime,
    /// Whether the server stored it before the watch began ([`WatchFrom::Last`]).
    pub is_initial: bool,
    /// The number of this attempt to deliver the change, from 1.
    pub attempt: u32,
    /// How long the attempt may take: [`WatchSettings::call_timeout`].
    pub call_timeout: Duration,
}

/// Shows no key.
impl fmt::Debug for KeyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyChange")
            .field("kind", &self.kind)
            .field("revision", &self.revision)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

/// What came of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// The change is done.
    Delivered,
    /// It is tried again, up to [`WatchSettings::max_deliver`] times in all.
    Failed,
    /// Nobody was there to take it. It is tried again, and does not count as tried.
    Unreachable,
}

/// Takes changes.
pub trait ChangeHandler: Send + Sync + 'static {
    /// Delivers one change. The future is dropped after [`WatchSettings::call_timeout`], and the
    /// delivery has failed then. No other change of the same key is delivered meanwhile.
    fn deliver(&self, change: KeyChange) -> BoxFuture<'static, DeliveryOutcome>;

    /// Records that a change was given up.
    fn given_up(&self) {}
}

/// A watch that runs. Dropping it ends it at once: what is under way is dropped, and the consumer
/// stays.
pub struct Watcher {
    state: Arc<WatchState>,
    consumer: Arc<WatchConsumer>,
    connection: Arc<Connection>,
    ending: Ending,
    task: Mutex<Option<JoinHandle<()>>>,
    call_timeout: Duration,
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").finish_non_exhaustive()
    }
}

impl Watcher {
    /// Begins to watch, in a task of the current `tokio` runtime. A server that is down, or a
    /// bucket that is missing, is waited for.
    #[must_use]
    pub fn start(
        connection: Arc<Connection>,
        settings: WatchSettings,
        handler: Arc<dyn ChangeHandler>,
    ) -> Self {
        let state = Arc::new(WatchState::default());
        let ending = Ending::default();
        let call_timeout = settings.call_timeout;
        let consumer = Arc::new(WatchConsumer::new(settings));
        let task = tokio::spawn(run::run(
            Arc::clone(&state),
            Arc::clone(&connection),
            Arc::clone(&consumer),
            handler,
            ending.clone(),
        ));
        Self {
            state,
            consumer,
            connection,
            ending,
            task: Mutex::new(Some(task)),
            call_timeout,
        }
    }

    /// What has been counted so far.
    #[must_use]
    pub fn stats(&self) -> WatchStats {
        self.state.stats()
    }

    /// Why nothing is delivered, if it is for a reason that has to be mended. The text names no
    /// key.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.state.trouble()
    }

    /// Starts no more deliveries, and waits for those under way, within their time. The consumer
    /// keeps what was not delivered.
    pub async fn stop(&self) {
        self.ending.drain.cancel();
        self.wait(self.call_timeout + END_TIMEOUT).await;
    }

    async fn wait(&self, limit: Duration) {
        let task = self.task.lock().await.take();
        if let Some(mut task) = task
            && timeout(limit, &mut task).await.is_err()
        {
            task.abort();
        }
    }

    /// Ends all deliveries at once, and deletes the consumer. Returns whether the server has
    /// answered, within five seconds. If it has not, the consumer may be left, and has to be
    /// deleted by hand.
    pub async fn delete(&self) -> bool {
        self.abort().await;
        let deleted = self.consumer.delete(&self.connection);
        timeout(DELETE_TIMEOUT, deleted).await.unwrap_or(false)
    }

    /// Ends all deliveries at once. The consumer keeps what was not delivered.
    pub async fn abort(&self) {
        self.ending.now.cancel();
        self.wait(END_TIMEOUT).await;
    }

    /// The consumer's name.
    #[must_use]
    pub fn consumer_name(&self) -> &str {
        self.consumer.name()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut().take() {
            task.abort();
        }
    }
}
