//! Where the answers to a batch come in.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_nats::connection::State;
use async_nats::{Client, Message, Subscriber};
use futures::{FutureExt as _, StreamExt as _};
use tokio::task::unconstrained;

use super::connection::Connection;

/// A subject for the answers, and the client that hears them.
#[derive(Debug)]
pub(super) struct Inbox {
    client: Client,
    answers: Subscriber,
    /// The last token of a reply subject comes after it.
    prefix: String,
    /// The first of this batch's tokens, on the wire. Those before it are of earlier batches, of which
    /// a request that was sent twice may still be answered.
    first: usize,
    /// The first that no batch has used.
    unused: usize,
    /// The connection in which it was opened.
    epoch: u64,
    /// Of the one inbox that the connection keeps.
    lease: Option<Lease>,
    /// Whether the client has ended.
    ended: bool,
}

/// What the one inbox that is kept has, and no other.
type Lease = Arc<()>;

impl Inbox {
    /// An inbox for the answers to requests with so many tokens, from 0 on, or `None` if the client has
    /// ended.
    pub(super) async fn open(connection: &Connection, tokens: usize) -> Option<Self> {
        let mut inbox = match connection.kept_inbox().take(connection.epoch()) {
            Ok(mut inbox) => {
                inbox.drain();
                inbox
            }
            Err(lease) => Self::subscribe(connection, tokens, lease).await?,
        };
        inbox.first = inbox.unused;
        inbox.unused += tokens;
        Some(inbox)
    }

    /// One for the answers to one request, which no other request has had.
    pub(super) async fn open_anew(connection: &Connection) -> Option<Self> {
        Self::subscribe(connection, 1, None).await
    }

    async fn subscribe(
        connection: &Connection,
        tokens: usize,
        lease: Option<Lease>,
    ) -> Option<Self> {
        let epoch = connection.epoch();
        let client = connection.client();
        let prefix = format!("{}.", client.new_inbox());
        // For a wildcard the server goes through all the subjects it has seen of late, which is much for
        // one request; but the one that is kept has to do for any batch.
        let subject = match (&lease, tokens) {
            (None, 1) => format!("{prefix}0"),
            _ => format!("{prefix}*"),
        };
        let answers = client.subscribe(subject).await.ok()?;
        Some(Self {
            client,
            answers,
            prefix,
            first: 0,
            unused: 0,
            epoch,
            lease,
            ended: false,
        })
    }

    /// Leaves it to the connection's next batch, if it is the one that is kept. Only if all answers have
    /// come: others would pile up until there is one.
    pub(super) fn keep(self, connection: &Connection) {
        if self.lease.is_some() && !self.ended {
            connection.kept_inbox().put(self);
        }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Takes note that the client has ended.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether requests can be sent and their answers heard.
    pub(super) fn is_up(&self) -> bool {
        !self.ended && self.client.connection_state() == State::Connected
    }

    pub(super) fn reply_subject(&self, token: usize) -> String {
        format!("{}{}", self.prefix, self.first + token)
    }

    /// The token of the request that the message is an answer to.
    pub(super) fn token_of(&self, message: &Message) -> Option<usize> {
        let token: usize = message
            .subject
            .strip_prefix(self.prefix.as_str())?
            .parse()
            .ok()?;
        token.checked_sub(self.first)
    }

    /// The next answer; `None` if the client has ended.
    pub(super) async fn next(&mut self) -> Option<Message> {
        let next = self.answers.next().await;
        self.ended |= next.is_none();
        next
    }

    /// Drops what has come while no batch had the inbox: it is no answer, whatever another client has
    /// made it look like.
    fn drain(&mut self) {
        // All of it, also if that is more than tokio gives a task at a time.
        while let Some(Some(_)) = unconstrained(self.answers.next()).now_or_never() {}
    }

    /// An answer that has come.
    pub(super) fn next_now(&mut self) -> Option<Message> {
        self.next().now_or_never().flatten()
    }
}

/// The inbox that a connection keeps for its next batch: to have the server begin and end a
/// subscription takes as long as some of a small batch's requests. One is enough for calls that come
/// one after the other, whose time it is a part of.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<Slot>);

#[derive(Debug, Default)]
struct Slot {
    inbox: Option<Inbox>,
    /// Whether there is such an inbox, here or with a batch.
    lease: Weak<()>,
}

impl Kept {
    /// The inbox, if it is here; else the lease for another one, if there is none. One of an earlier
    /// epoch is dropped: it is not known whether the server still lets its answers be heard.
    fn take(&self, epoch: u64) -> Result<Inbox, Option<Lease>> {
        let mut slot = self.lock();
        let kept = slot.inbox.take().filter(|inbox| inbox.epoch == epoch);
        kept.ok_or_else(|| {
            let vacant = slot.lease.strong_count() == 0;
            vacant.then(|| {
                let lease = Lease::default();
                slot.lease = Arc::downgrade(&lease);
                lease
            })
        })
    }

    fn put(&self, inbox: Inbox) {
        self.lock().inbox = Some(inbox);
    }

    fn lock(&self) -> MutexGuard<'_, Slot> {
        let Self(slot) = self;
        slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
