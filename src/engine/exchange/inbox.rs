//! Where the answers to a batch come in.

use async_nats::connection::State;
use async_nats::{Client, Message, Subscriber};
use futures::{FutureExt as _, StreamExt as _};

use crate::engine::connection::Connection;

/// A subject for the answers, and the client that hears them and sends the requests.
pub(super) struct Inbox {
    client: Client,
    answers: Subscriber,
    /// The last token of a reply subject comes after it.
    prefix: String,
    /// Whether the client has ended.
    ended: bool,
}

impl Inbox {
    /// An inbox for the answers to so many requests, or `None` if the client has ended.
    pub(super) async fn open(connection: &Connection, requests: usize) -> Option<Self> {
        let client = connection.client();
        let inbox = client.new_inbox();
        // For a wildcard the server goes through all the subjects it has seen of late, which is much
        // for one request. Its token is its place, the first.
        let subject = match requests {
            1 => format!("{inbox}.0"),
            _ => format!("{inbox}.*"),
        };
        let answers = client.subscribe(subject).await.ok()?;
        Some(Self {
            client,
            answers,
            prefix: format!("{inbox}."),
            ended: false,
        })
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
        format!("{}{token}", self.prefix)
    }

    /// The token of the request that the message is an answer to.
    pub(super) fn token_of(&self, message: &Message) -> Option<usize> {
        message
            .subject
            .strip_prefix(self.prefix.as_str())?
            .parse()
            .ok()
    }

    /// The next answer; `None` if the client has ended.
    pub(super) async fn next(&mut self) -> Option<Message> {
        let next = self.answers.next().await;
        self.ended |= next.is_none();
        next
    }

    /// An answer that has come.
    pub(super) fn next_now(&mut self) -> Option<Message> {
        self.next().now_or_never().flatten()
    }
}
