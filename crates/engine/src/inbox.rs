//! Inboxes: the subscription that receives the answers to a batch, and the pool that keeps one
//! inbox for each connection.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_nats::connection::State;
use async_nats::{Client, Message, Subscriber};
use futures::{FutureExt as _, StreamExt as _};
use tokio::task::unconstrained;

/// A subscription for answers, and the client that has it. An answer's subject is the prefix and a
/// token.
#[derive(Debug)]
pub(super) struct Inbox {
    client: Client,
    answers: Subscriber,
    prefix: String,
    /// The first token of this batch. Lower tokens belong to earlier batches. Late answers to those
    /// are ignored.
    first_token: usize,
    /// The first token that no batch has used.
    next_token: usize,
    /// The connection that the inbox was opened in.
    epoch: u64,
    /// `Some`: the inbox goes back to the pool after its batch. Any other inbox is dropped.
    pool_slot: Option<PoolSlot>,
    client_ended: bool,
}

/// Shows that the connection's pooled inbox exists, in the pool or in use.
type PoolSlot = Arc<()>;

impl Inbox {
    /// An inbox for the answers to `tokens` requests, which no earlier request has used. `None` if
    /// the client has ended.
    pub(super) async fn open_fresh(client: Client, epoch: u64, tokens: usize) -> Option<Self> {
        Self::subscribe(client, epoch, tokens, None).await
    }

    async fn subscribe(
        client: Client,
        epoch: u64,
        tokens: usize,
        pool_slot: Option<PoolSlot>,
    ) -> Option<Self> {
        let prefix = format!("{}.", client.new_inbox());
        // For a wildcard subscription the server searches all subjects that it has seen lately.
        // That is too much work for a single request. But the pooled inbox needs a wildcard,
        // because it serves any batch.
        let subject = match (&pool_slot, tokens) {
            (None, 1) => format!("{prefix}0"),
            _ => format!("{prefix}*"),
        };
        let answers = client.subscribe(subject).await.ok()?;
        Some(Self {
            client,
            answers,
            prefix,
            first_token: 0,
            next_token: 0,
            epoch,
            pool_slot,
            client_ended: false,
        })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Notes that the client has ended.
    pub(super) fn mark_ended(&mut self) {
        self.client_ended = true;
    }

    /// Whether the client has ended, so that no answer can come.
    pub(super) fn has_ended(&self) -> bool {
        self.client_ended
    }

    /// Whether requests can be sent and answers received.
    pub(super) fn is_up(&self) -> bool {
        !self.client_ended && self.client.connection_state() == State::Connected
    }

    pub(super) fn reply_subject(&self, token: usize) -> String {
        format!("{}{}", self.prefix, self.first_token + token)
    }

    /// The token of the request that the message answers. `None` if it answers no request of this
    /// batch.
    pub(super) fn token_of(&self, message: &Message) -> Option<usize> {
        let token: usize = message
            .subject
            .strip_prefix(self.prefix.as_str())?
            .parse()
            .ok()?;
        token.checked_sub(self.first_token)
    }

    /// Waits for the next answer. `None` if the client has ended.
    pub(super) async fn next(&mut self) -> Option<Message> {
        let next = self.answers.next().await;
        self.client_ended |= next.is_none();
        next
    }

    /// Drops the messages that came while no batch used the inbox. They answer no request. Another
    /// client of the account may have sent them.
    fn drain(&mut self) {
        // Tokio's budget would end this loop after some 128 messages.
        while let Some(Some(_)) = unconstrained(self.answers.next()).now_or_never() {}
    }

    /// The next answer, if it is here already.
    pub(super) fn next_now(&mut self) -> Option<Message> {
        // After some 128 answers, tokio's budget would hide the others. Then a request could fail
        // although its answer is here.
        unconstrained(self.next()).now_or_never().flatten()
    }
}

/// Keeps one inbox for a connection's next batch, because a subscription costs as much as several
/// small requests. If the inbox is in use, a call opens its own.
#[derive(Debug, Default)]
pub(super) struct InboxPool(Mutex<PoolState>);

#[derive(Debug, Default)]
struct PoolState {
    inbox: Option<Inbox>,
    /// Alive while there is a pooled inbox, in the pool or in use by a batch.
    pool_slot: Weak<()>,
}

/// What a call finds in the pool.
#[expect(
    clippy::large_enum_variant,
    reason = "it is taken apart at once, so a box would cost more than it saves"
)]
enum Pooled {
    /// The pooled inbox, which no batch uses.
    Inbox(Inbox),
    /// There is no pooled inbox. One that is opened with this slot becomes it.
    Vacant(PoolSlot),
    /// Another batch uses the pooled inbox.
    InUse,
}

impl InboxPool {
    /// An inbox for a batch that uses the tokens `0..tokens`. `None` if the client has ended.
    /// `epoch` is that of the connection.
    pub(super) async fn open(&self, client: Client, epoch: u64, tokens: usize) -> Option<Inbox> {
        let mut inbox = match self.take_pooled(epoch) {
            Pooled::Inbox(mut inbox) => {
                inbox.drain();
                inbox
            }
            Pooled::Vacant(slot) => Inbox::subscribe(client, epoch, tokens, Some(slot)).await?,
            Pooled::InUse => Inbox::open_fresh(client, epoch, tokens).await?,
        };
        inbox.first_token = inbox.next_token;
        inbox.next_token += tokens;
        Some(inbox)
    }

    /// Keeps the inbox for the next batch, if it is the pooled one. All its requests must have been
    /// answered. A late answer would stay in memory until the next batch.
    pub(super) fn put(&self, inbox: Inbox) {
        if inbox.pool_slot.is_some() && !inbox.client_ended {
            self.lock().inbox = Some(inbox);
        }
    }

    /// Takes the pooled inbox. An inbox of an earlier epoch is dropped, for two reasons. Its client
    /// may have ended. Or the client has subscribed again on the new connection, and the server may
    /// have denied that.
    fn take_pooled(&self, epoch: u64) -> Pooled {
        let mut state = self.lock();
        if let Some(inbox) = state.inbox.take().filter(|inbox| inbox.epoch == epoch) {
            return Pooled::Inbox(inbox);
        }
        if state.pool_slot.strong_count() > 0 {
            return Pooled::InUse;
        }
        let slot = PoolSlot::default();
        state.pool_slot = Arc::downgrade(&slot);
        Pooled::Vacant(slot)
    }

    fn lock(&self) -> MutexGuard<'_, PoolState> {
        let Self(state) = self;
        state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
