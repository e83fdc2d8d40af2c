//! Connections to NATS: made in the background, kept, and shared by all buckets that log in alike.

mod client;
mod error_hint;
mod permission_error;
mod settings;
mod status;

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_nats::Client;
use async_nats::connection::State;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

pub use settings::{Auth, ConnectionSetting, ConnectionSettings, Secret, SettingError, Tls};

use self::client::Login;
use self::error_hint::ErrorHints;
use self::permission_error::PermissionError;
pub(super) use self::status::Status;
use super::deadline::Deadline;
use super::error::{Error, NoAnswerReason};
use super::inbox::{Inbox, InboxPool};
use super::outage::Outage;
use super::text::CallerText;
use super::write_ids::WriteIds;

/// The longest pause between two attempts to connect. It is short, so that a server that is back is found
/// soon, and long enough not to be a load on a server that refuses the login.
const RECONNECT_MAX: Duration = Duration::from_secs(2);

/// How often the server is pinged. After two pings without an answer the connection counts as lost. If the
/// first attempt to connect again meets the same dead node, another node of the cluster is tried after
/// some eight seconds.
const PING_INTERVAL: Duration = Duration::from_millis(1500);

/// How long one attempt to connect may take, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// One connection to NATS. It is closed when the last holder drops it.
#[derive(Debug)]
pub struct Connection {
    clients: watch::Receiver<Client>,
    status: watch::Receiver<Status>,
    events: Arc<watch::Sender<Status>>,
    servers: String,
    hints: ErrorHints,
    inbox_pool: InboxPool,
    write_ids: WriteIds,
    /// Dropped with the connection, so that the client stops its attempts to connect.
    _wanted: Arc<()>,
    _keeper: AbortOnDropHandle<()>,
}

impl Connection {
    /// Starts to connect, and goes on trying in the background.
    ///
    /// # Errors
    ///
    /// The setting that cannot be used, and why.
    async fn start(client_name: &str, settings: &ConnectionSettings) -> Result<Self, SettingError> {
        let (events, status) = watch::channel(Status::default());
        let events = Arc::new(events);
        let wanted = Arc::new(());
        let login = Login {
            client_name: client_name.to_owned(),
            settings: settings.clone(),
            status: Arc::clone(&events),
            wanted: Arc::downgrade(&wanted),
        };
        let (client, ended) = login.connect().await?;
        let (sender, clients) = watch::channel(client);
        let keeper = tokio::spawn(login.keep(sender, ended));
        Ok(Self {
            clients,
            status,
            events,
            servers: settings.display_servers(),
            hints: ErrorHints::new(settings),
            inbox_pool: InboxPool::default(),
            write_ids: WriteIds::new(),
            _wanted: wanted,
            _keeper: AbortOnDropHandle::new(keeper),
        })
    }

    /// The current client. After it has ended, another one takes its place as soon as that is connected.
    pub(super) fn client(&self) -> Client {
        self.clients.borrow().clone()
    }

    /// What the `Nats-Msg-Id`s of one more batch of writes begin with.
    pub(super) fn next_batch_id(&self) -> String {
        self.write_ids.next_batch()
    }

    /// An inbox for the answers to requests with so many tokens; `None` if the client has ended.
    pub(super) async fn open_inbox(&self, tokens: usize) -> Option<Inbox> {
        self.inbox_pool
            .open(self.client(), self.epoch(), tokens)
            .await
    }

    /// An inbox for one answer, that is not pooled; `None` if the client has ended.
    pub(super) async fn open_fresh_inbox(&self) -> Option<Inbox> {
        Inbox::open_fresh(self.client(), self.epoch()).await
    }

    /// Takes back an inbox to which every answer has come.
    pub(super) fn return_inbox(&self, inbox: Inbox) {
        self.inbox_pool.put(inbox);
    }

    pub(super) fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Whether there is a connection now.
    pub(super) fn is_up(&self) -> bool {
        self.is_up_by(&self.status.borrow())
    }

    fn is_up_by(&self, status: &Status) -> bool {
        !status.ended && self.clients.borrow().connection_state() == State::Connected
    }

    /// Waits until there is a connection.
    ///
    /// # Errors
    ///
    /// [`Error::LoginRefused`] at once if the server refuses the login, [`Error::NoAnswer`] if
    /// there is no connection when the call must stop starting work.
    pub(super) async fn ready(&self, bucket: &str, deadline: &Deadline) -> Result<(), Error> {
        let mut status = self.status.clone();
        let settled = timeout_at(
            deadline.send_deadline(),
            // Borrowing the status here would deadlock, because `wait_for` holds its lock.
            status.wait_for(|status| self.is_up_by(status) || status.login_refused()),
        );
        let in_time = matches!(settled.await, Ok(Ok(_)));
        if in_time && self.is_up() {
            return self.ensure_inboxes_allowed(deadline).await;
        }
        Err(self.no_answer_error(bucket, deadline))
    }

    /// Makes sure that the server allows inboxes. If it has refused one, the connection is made anew and the
    /// server asked again, at most once in [`RECONNECT_MAX`].
    async fn ensure_inboxes_allowed(&self, deadline: &Deadline) -> Result<(), Error> {
        let Some(deaf) = self.status.borrow().deaf.clone() else {
            return Ok(());
        };
        let mut epoch = None;
        self.events.send_if_modified(|status| {
            // One of the waiting callers reconnects.
            let tried = status
                .deaf
                .as_mut()
                .filter(|deaf| deaf.is_old(RECONNECT_MAX));
            if let Some(deaf) = tried {
                deaf.renew();
                epoch = Some(status.epoch);
            }
            epoch.is_some()
        });
        let Some(epoch) = epoch else {
            return Err(self.denied(&deaf));
        };
        let mut status = self.status.clone();
        let anew = timeout_at(deadline.send_deadline(), async {
            self.client().force_reconnect().await.ok()?;
            status.wait_for(|status| status.epoch > epoch).await.ok()?;
            Some(())
        });
        match anew.await {
            Ok(Some(())) => Ok(()),
            _ => Err(self.denied(&deaf)),
        }
    }

    /// The permission error since then that is of an inbox, or of a subject that `concerns` the caller.
    pub(super) fn refused(&self, since: Instant, concerns: impl Fn(&str) -> bool) -> Option<Error> {
        let status = self.status.borrow();
        let refusal = status.refusals.find(since, &concerns)?;
        Some(self.denied(refusal))
    }

    /// How many permission errors there have been.
    pub(super) fn permission_errors(&self) -> u64 {
        self.status.borrow().refusals.count()
    }

    /// The permission errors that came when there had been `count`, if there are any.
    pub(super) fn permission_errors_after(&self, count: u64) -> Option<NewPermissionErrors> {
        let status = self.status.borrow();
        let errors = &status.refusals;
        if errors.count() == count {
            return None;
        }
        let of_inbox = errors.after(count).find(|error| error.is_of_inbox());
        let by_subject = errors.after(count);
        Some(NewPermissionErrors {
            count: errors.count(),
            of_inbox: of_inbox.map(|error| self.denied(error)),
            by_subject: by_subject
                .map(|error| (error.subject().to_owned(), self.denied(error)))
                .collect(),
        })
    }

    /// Waits for such a permission error.
    pub(super) async fn until_refused(
        &self,
        since: Instant,
        concerns: impl Fn(&str) -> bool,
    ) -> Error {
        let mut status = self.status.clone();
        let refused = status.wait_for(|status| status.refusals.find(since, &concerns).is_some());
        if let Ok(status) = refused.await
            && let Some(refusal) = status.refusals.find(since, &concerns)
        {
            return self.denied(refusal);
        }
        // The keeper has ended, so no more events come.
        std::future::pending().await
    }

    /// How many times the connection has been made.
    pub(super) fn epoch(&self) -> u64 {
        self.status.borrow().epoch
    }

    /// Waits until the connection of this epoch has been lost and made again. Requests that were sent in
    /// this epoch are no longer answered.
    pub(super) async fn until_lost(&self, epoch: u64) {
        let mut status = self.status.clone();
        let lost = status.wait_for(|status| status.epoch > epoch);
        if lost.await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    fn denied(&self, refusal: &PermissionError) -> Error {
        Error::PermissionDenied {
            server: self.servers.clone(),
            words: CallerText::words(refusal.words()),
        }
    }

    /// Why there was no answer: the best that is known when a call's time is over.
    pub(super) fn no_answer_error(&self, bucket: &str, deadline: &Deadline) -> Error {
        let (stream, prefix) = (format!("KV_{bucket}"), format!("$KV.{bucket}."));
        let is_about = |subject: &str| {
            subject.contains(&prefix) || subject.split('.').any(|token| token == stream)
        };
        if let Some(refused) = self.refused(deadline.start(), is_about) {
            return refused;
        }
        let status = self.status.borrow();
        let server = self.servers.clone();
        if status.login_refused()
            && let Some(words) = &status.last_error
        {
            let error = self.hints.explain(words.clone());
            return Error::LoginRefused { server, error };
        }
        let complaint = status.complaint.as_ref();
        let complaint = complaint.filter(|(when, _)| *when >= deadline.start());
        let reason = match (self.outage_by(&status), complaint) {
            (Some(outage), _) => NoAnswerReason::NotConnected(outage),
            (None, Some((_, words))) => NoAnswerReason::Complaint(words.clone()),
            // A server without JetStream does not answer for its streams, so it looks like a slow one.
            (None, None) if !self.client().server_info().jetstream => NoAnswerReason::NoJetStream,
            (None, None) => NoAnswerReason::Unknown,
        };
        Error::NoAnswer { server, reason }
    }

    /// The servers' URLs, without credentials.
    #[must_use]
    pub fn servers(&self) -> &str {
        &self.servers
    }

    /// Why the connection is down, if it is.
    #[must_use]
    pub fn outage(&self) -> Option<Outage> {
        if self.is_up() {
            return None;
        }
        Some(self.outage_by(&self.status.borrow()).unwrap_or_default())
    }

    fn outage_by(&self, status: &Status) -> Option<Outage> {
        if status.connected {
            return None;
        }
        let error = status.last_error.clone();
        Some(Outage {
            error: error.map(|words| self.hints.explain(words)),
        })
    }
}

/// What the server does not let this login do, as far as it is new.
pub(super) struct NewPermissionErrors {
    /// How many permission errors there have been, all in all.
    pub(super) count: u64,
    /// That answers cannot be heard.
    pub(super) of_inbox: Option<Error>,
    /// The errors of requests, by the subjects that they were sent to.
    pub(super) by_subject: HashMap<String, Error>,
}

/// The connections in use, one for each [`ConnectionSettings`].
#[derive(Debug)]
pub struct Connections {
    client_name: String,
    shared: Mutex<HashMap<ConnectionSettings, Weak<Connection>>>,
}

impl Connections {
    /// No connections yet. `client_name` is what servers list each of them as (`nats server report
    /// connections`).
    #[must_use]
    pub fn new(client_name: &str) -> Self {
        Self {
            client_name: client_name.to_owned(),
            shared: Mutex::default(),
        }
    }

    /// The connection of these settings: the one in use, or a new one.
    ///
    /// # Errors
    ///
    /// The setting that cannot be used, and why. A server that is down is no error here.
    pub async fn get(
        &self,
        settings: &ConnectionSettings,
    ) -> Result<Arc<Connection>, SettingError> {
        let mut shared = self.shared.lock().await;
        shared.retain(|_, connection| connection.strong_count() > 0);
        if let Some(connection) = shared.get(settings).and_then(Weak::upgrade) {
            return Ok(connection);
        }
        let connection = Arc::new(Connection::start(&self.client_name, settings).await?);
        shared.insert(settings.clone(), Arc::downgrade(&connection));
        Ok(connection)
    }
}
