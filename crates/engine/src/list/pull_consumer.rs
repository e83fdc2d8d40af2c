//! One request to a pull consumer, and the messages that answer it.
//!
//! `async-nats` has a stream for this, which copies a context for each message. It also takes a stored
//! message with a status line, which another client may have written, for the end of the answer.

use async_nats::jetstream;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::consumer::pull::BatchConfig;
use async_nats::{Message, StatusCode, Subject};
use tokio::time::{Instant, timeout_at};

use super::ListError;
use crate::handle::BucketHandle;
use crate::inbox::Inbox;

/// A request for the messages that a consumer has now.
pub(super) struct PullRequest<'a> {
    bucket: &'a BucketHandle,
    inbox: Inbox,
    /// How many messages may still come.
    left: usize,
    /// The message that came last.
    last: Option<jetstream::Message>,
}

/// What came of waiting for a message.
pub(super) enum NextMessage<'a> {
    Message(&'a jetstream::Message),
    /// As many messages have come as were asked for, or the consumer has no more.
    End,
    /// No message has come in time.
    Late,
}

impl<'a> PullRequest<'a> {
    pub(super) async fn request(
        bucket: &'a BucketHandle,
        consumer: &PullConsumer,
        max: usize,
    ) -> Result<Self, ListError> {
        // Messages come with the subjects they are stored by, so only the subscription tells which request
        // they answer.
        let inbox = bucket.connection().open_fresh_inbox().await;
        let inbox = inbox.ok_or(ListError::Interrupted)?;
        let request = BatchConfig {
            batch: max,
            no_wait: true,
            ..BatchConfig::default()
        };
        let reply = Subject::from(inbox.reply_subject(0));
        let asked = consumer.request_batch(request, reply).await;
        asked.map_err(|_| ListError::Interrupted)?;
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
    pub(super) async fn next(
        &mut self,
        by: impl FnOnce() -> Instant,
    ) -> Result<NextMessage<'_>, ListError> {
        if self.left == 0 {
            return Ok(NextMessage::End);
        }
        // Most messages are here already, and need no timer.
        let message = match self.inbox.next_now() {
            Some(message) => message,
            None => match timeout_at(by(), self.inbox.next()).await {
                Ok(message) => message.ok_or(ListError::Interrupted)?,
                Err(_) => return Ok(NextMessage::Late),
            },
        };
        // A stored message has its own subject, and may have any status.
        if self.inbox.token_of(&message).is_none() {
            self.left -= 1;
            return Ok(NextMessage::Message(self.take(message)));
        }
        match message.status {
            Some(StatusCode::NOT_FOUND | StatusCode::TIMEOUT) => {
                self.left = 0;
                Ok(NextMessage::End)
            }
            _ => Err(ListError::Interrupted),
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
