//! Inboxes: the subscription that receives the answers to a batch, and the pooled inbox of a connection.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_nats::connection::State;
use async_nats::{Client, Message, Subscriber};
use futures::{FutureExt as _, StreamExt as _};
use tokio::task::unconstrained;

/// A subscription for answers, and the client that has it.
#[derive(Debug)]
pub(super) struct Inbox {
    client: Client,
    answers: Subscriber,
    /// Of the reply subjects. A token follows it.
    prefix: String,
    /// The first token of this batch. Lower tokens belong to earlier batches; late answers to them are
    /// ignored.
    first: usize,
    /// The first token that no batch has used.
    unused: usize,
    /// The epoch of the connection that the inbox was opened in.
    epoch: u64,
    /// The pooled inbox has the ticket.
    ticket: Option<PoolTicket>,
    /// Whether the client has ended.
    ended: bool,
}

/// Held by a connection's one pooled inbox.
type PoolTicket = Arc<()>;

impl Inbox {
    /// An inbox for the answers to one request, which no other request has had; `None` if the client
    /// has ended.
    pub(super) async fn open_fresh(client: Client, epoch: u64) -> Option<Self> {
        Self::subscribe(client, epoch, 1, None).await
    }

    async fn subscribe(
        client: Client,
        epoch: u64,
        tokens: usize,
        ticket: Option<PoolTicket>,
    ) -> Option<Self> {
        let prefix = format!("{}.", client.new_inbox());
        // For a wildcard the server goes through all the subjects it has seen of late, which is much for
        // one request; but a pooled inbox has to do for any batch.
        let subject = match (&ticket, tokens) {
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
            ticket,
            ended: false,
        })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Records that the client has ended.
    pub(super) fn mark_ended(&mut self) {
        self.ended = true;
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether requests can be sent and answers received.
    pub(super) fn is_up(&self) -> bool {
        !self.ended && self.client.connection_state() == State::Connected
    }

    pub(super) fn reply_subject(&self, token: usize) -> String {
        format!("{}{}", self.prefix, self.first + token)
    }

    /// The token of the request that the message answers.
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

    /// Drops messages that came while no batch used the inbox. They answer nothing; another client of the
    /// account may have forged them.
    fn drain(&mut self) {
        // Without tokio's budget, which would stop this loop after some 128 messages.
        while let Some(Some(_)) = unconstrained(self.answers.next()).now_or_never() {}
    }

    /// An answer that is here already; `None` only if there is none.
    pub(super) fn next_now(&mut self) -> Option<Message> {
        // Without tokio's budget: after some 128 answers it would say that there is none, and a request
        // whose answer waits here would be given up.
        unconstrained(self.next()).now_or_never().flatten()
    }
}

/// Keeps one inbox for a connection's next batch, because a subscription costs as much as several small
/// requests. Calls that overlap open their own.
#[derive(Debug, Default)]
pub(super) struct InboxPool(Mutex<Pooled>);

#[derive(Debug, Default)]
struct Pooled {
    inbox: Option<Inbox>,
    /// Alive while there is a pooled inbox, here or in use by a batch.
    ticket: Weak<()>,
}

impl InboxPool {
    /// An inbox for the answers to requests with so many tokens, from 0 on, or `None` if the client has
    /// ended. `epoch` is the connection's.
    pub(super) async fn open(&self, client: Client, epoch: u64, tokens: usize) -> Option<Inbox> {
        let mut inbox = match self.take(epoch) {
            Ok(mut inbox) => {
                inbox.drain();
                inbox
            }
            Err(ticket) => Inbox::subscribe(client, epoch, tokens, ticket).await?,
        };
        inbox.first = inbox.unused;
        inbox.unused += tokens;
        Some(inbox)
    }

    /// Keeps the inbox for the next batch, if it is the pooled one. Only if all answers have come:
    /// others would pile up until there is a next batch.
    pub(super) fn put(&self, inbox: Inbox) {
        if inbox.ticket.is_some() && !inbox.ended {
            self.lock().inbox = Some(inbox);
        }
    }

    /// The inbox, if it is here; else the ticket for a new pooled one, if there is none. An inbox of an
    /// earlier epoch is dropped: the server may no longer deliver its answers.
    fn take(&self, epoch: u64) -> Result<Inbox, Option<PoolTicket>> {
        let mut pooled = self.lock();
        let inbox = pooled.inbox.take().filter(|inbox| inbox.epoch == epoch);
        inbox.ok_or_else(|| {
            let vacant = pooled.ticket.strong_count() == 0;
            vacant.then(|| {
                let ticket = PoolTicket::default();
                pooled.ticket = Arc::downgrade(&ticket);
                ticket
            })
        })
    }

    fn lock(&self) -> MutexGuard<'_, Pooled> {
        let Self(pooled) = self;
        pooled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
