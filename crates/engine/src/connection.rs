//! Connections to NATS. They are made in the background, kept, and shared by all buckets that log
//! in alike.

mod client;
mod connections;
mod error_hint;
mod next_server;
mod no_answer;
mod permission_error;
mod permissions;
mod round_trip;
mod settings;
mod status;

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use async_nats::connection::State;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout_at;
use tokio_util::task::AbortOnDropHandle;

pub use connections::{ConnectionStats, Connections};
pub use settings::{Auth, ConnectionSetting, ConnectionSettings, Secret, SettingError, Tls};

use self::client::ClientFactory;
use self::error_hint::ErrorHints;
use self::round_trip::RoundTrip;
pub(super) use self::status::Status;
use super::deadline::Deadline;
use super::error::Error;
use super::inbox::{Inbox, InboxPool};
use super::retries::{RetryCounts, RetryReason};
use super::tuning;
use super::write_ids::WriteIds;

/// The longest pause between two attempts to connect. It is short, so that a server that is back is
/// found soon. It is long enough not to be a load on a server that refuses the login.
const RECONNECT_MAX: Duration = Duration::from_secs(2);

/// How often the server is pinged. After two pings without an answer, so within 4.5 s, the
/// connection counts as lost, and another node of the cluster is tried.
const PING_INTERVAL: Duration = Duration::from_millis(1500);

/// How long one attempt to connect may take, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// One connection to NATS. It is closed when the last holder drops it.
#[derive(Debug)]
pub struct Connection {
    clients: watch::Receiver<Client>,
    status: watch::Receiver<Status>,
    status_sender: Arc<watch::Sender<Status>>,
    servers: String,
    hints: ErrorHints,
    inbox_pool: InboxPool,
    write_ids: WriteIds,
    retries: Arc<RetryCounts>,
    round_trip: RoundTrip,
    /// The KiB that all `multi_last` answers on their way may have together.
    multi_last_kib: Arc<Semaphore>,
    /// When this is dropped with the connection, the client stops its attempts to connect.
    _alive: Arc<()>,
    _supervisor: AbortOnDropHandle<()>,
}

impl Connection {
    /// Starts to connect, and goes on trying in the background.
    ///
    /// # Errors
    ///
    /// The setting that cannot be used, and why.
    async fn start(
        client_name: &str,
        settings: &ConnectionSettings,
        retries: Arc<RetryCounts>,
    ) -> Result<Self, SettingError> {
        let (status_sender, status) = watch::channel(Status::default());
        let status_sender = Arc::new(status_sender);
        let alive = Arc::new(());
        let factory = ClientFactory {
            client_name: client_name.to_owned(),
            settings: settings.clone(),
            status: Arc::clone(&status_sender),
            connection_alive: Arc::downgrade(&alive),
        };
        let (client, ended) = factory.connect().await?;
        let (sender, clients) = watch::channel(client);
        let supervisor = tokio::spawn(factory.supervise(sender, ended));
        Ok(Self {
            clients,
            status,
            status_sender,
            servers: settings.display_servers(),
            hints: ErrorHints::new(settings),
            inbox_pool: InboxPool::default(),
            write_ids: WriteIds::new(),
            retries,
            round_trip: RoundTrip::default(),
            multi_last_kib: Arc::new(Semaphore::new(tuning::MULTI_LAST_BYTES / 1024)),
            _alive: alive,
            _supervisor: AbortOnDropHandle::new(supervisor),
        })
    }

    /// The current client. After it has ended, another client takes its place as soon as that one
    /// is connected.
    pub(super) fn client(&self) -> Client {
        self.clients.borrow().clone()
    }

    /// The prefix of the `Nats-Msg-Id`s of one more batch of writes.
    pub(super) fn next_write_id_prefix(&self) -> String {
        self.write_ids.next_prefix()
    }

    /// An inbox with `tokens` reply subjects. `None` if the client has ended.
    pub(super) async fn open_inbox(&self, tokens: usize) -> Option<Inbox> {
        self.inbox_pool
            .open(self.client(), self.epoch(), tokens)
            .await
    }

    /// An inbox with `tokens` reply subjects, which is not from the pool. `None` if the client has
    /// ended.
    pub(super) async fn open_fresh_inbox(&self, tokens: usize) -> Option<Inbox> {
        Inbox::open_fresh(self.client(), self.epoch(), tokens).await
    }

    /// Counts a request that is sent again.
    pub(super) fn count_retry(&self, reason: RetryReason) {
        self.retries.add(reason);
    }

    /// Takes back an inbox, all of whose requests have been answered.
    pub(super) fn return_inbox(&self, inbox: Inbox) {
        self.inbox_pool.put(inbox);
    }

    /// How long a request and its answer are on their way.
    pub(super) fn round_trip(&self) -> &RoundTrip {
        &self.round_trip
    }

    /// Waits until there is room for a `multi_last` answer of this many bytes.
    pub(super) async fn room_for_answer(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let kib = u32::try_from(bytes.min(tuning::MULTI_LAST_BYTES) / 1024).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.multi_last_kib).acquire_many_owned(kib);
        room.await.ok()
    }

    pub(super) fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Whether there is a connection now.
    pub(super) fn is_up(&self) -> bool {
        self.is_up_by(&self.status.borrow())
    }

    fn is_up_by(&self, status: &Status) -> bool {
        !status.client_ended && self.clients.borrow().connection_state() == State::Connected
    }

    /// Waits until there is a connection.
    ///
    /// # Errors
    ///
    /// [`Error::LoginRefused`] at once if the server refuses the login. [`Error::NoAnswer`] if
    /// there is no connection at the send deadline.
    pub(super) async fn wait_connected(
        &self,
        bucket: &str,
        deadline: &Deadline,
    ) -> Result<(), Error> {
        let mut status = self.status.clone();
        let decided = timeout_at(
            deadline.send_deadline(),
            // Borrowing the status here would deadlock, because `wait_for` holds its lock.
            status.wait_for(|status| self.is_up_by(status) || status.login_refused()),
        );
        let in_time = matches!(decided.await, Ok(Ok(_)));
        if in_time && self.is_up() {
            return self.ensure_inboxes_allowed(deadline).await;
        }
        Err(self.no_answer_error(bucket, deadline))
    }

    /// How many times the connection has been made.
    pub(super) fn epoch(&self) -> u64 {
        self.status.borrow().epoch
    }

    /// Waits until the connection of this epoch has been lost and made again. Requests of this
    /// epoch are no longer answered then.
    pub(super) async fn until_reconnected(&self, epoch: u64) {
        let mut status = self.status.clone();
        let lost = status.wait_for(|status| status.epoch > epoch);
        if lost.await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The servers' URLs, without credentials.
    #[must_use]
    pub fn servers(&self) -> &str {
        &self.servers
    }
}
