//! What one request to a pull consumer brings.
//!
//! The client's own stream of messages copies a context for each of them, and takes a stored message
//! that has a status, as another client may have written it, for the end.

use async_nats::jetstream;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::consumer::pull::BatchConfig;
use async_nats::{Message, StatusCode, Subject};
use tokio::time::{Instant, timeout_at};

use super::Failure;
use crate::handle::BucketHandle;
use crate::inbox::Inbox;

/// The messages that a consumer has and that it was asked for, at most so many.
pub(super) struct Pull<'a> {
    bucket: &'a BucketHandle,
    inbox: Inbox,
    /// How many may still come.
    left: usize,
    /// The one that came last.
    last: Option<jetstream::Message>,
}

/// What came of waiting for a message.
pub(super) enum Next<'a> {
    Message(&'a jetstream::Message),
    /// As many have come as were asked for, or the consumer has no more.
    End,
    /// Nothing has come in time.
    Late,
}

impl<'a> Pull<'a> {
    pub(super) async fn request(
        bucket: &'a BucketHandle,
        consumer: &PullConsumer,
        max: usize,
    ) -> Result<Self, Failure> {
        // Messages come by their own subjects: nothing but the subscription tells whose they are.
        let inbox = bucket.connection().open_fresh_inbox().await;
        let inbox = inbox.ok_or(Failure::Interrupted)?;
        let request = BatchConfig {
            batch: max,
            no_wait: true,
            ..BatchConfig::default()
        };
        let reply = Subject::from(inbox.reply_subject(0));
        let asked = consumer.request_batch(request, reply).await;
        asked.map_err(|_| Failure::Interrupted)?;
        Ok(Self {
            bucket,
            inbox,
            left: max,
            last: None,
        })
    }

    /// The next message, if it comes by then.
    ///
    /// # Errors
    ///
    /// The connection was lost, or the server says that the request cannot be answered.
    pub(super) async fn next(&mut self, by: impl FnOnce() -> Instant) -> Result<Next<'_>, Failure> {
        if self.left == 0 {
            return Ok(Next::End);
        }
        // Most are there when the one before them has been taken; no timer is set for these.
        let message = match self.inbox.next_now() {
            Some(message) => message,
            None => match timeout_at(by(), self.inbox.next()).await {
                Ok(message) => message.ok_or(Failure::Interrupted)?,
                Err(_) => return Ok(Next::Late),
            },
        };
        // A stored message comes by its own subject, and may have any status.
        if self.inbox.token_of(&message).is_none() {
            self.left -= 1;
            return Ok(Next::Message(self.take(message)));
        }
        match message.status {
            Some(StatusCode::NOT_FOUND | StatusCode::TIMEOUT) => {
                self.left = 0;
                Ok(Next::End)
            }
            _ => Err(Failure::Interrupted),
        }
    }

    fn take(&mut self, message: Message) -> &jetstream::Message {
        match self.last.take() {
            Some(last) => self.last.insert(jetstream::Message { message, ..last }),
            None => self.last.insert(jetstream::Message {
                message,
                context: self.bucket.context(),
            }),
        }
    }
}
