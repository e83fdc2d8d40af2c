//! One request to a pull consumer, and the messages that answer it.
//!
//! The stream that `async-nats` has for this copies a context for each message. If another client
//! has stored a message with a status line, that stream also mistakes the message for the end of
//! the answer.

use async_nats::jetstream;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::consumer::pull::BatchConfig;
use async_nats::{Message, StatusCode, Subject};
use tokio::time::{Instant, timeout_at};

use super::ListError;
use crate::bucket_state::BucketState;
use crate::inbox::Inbox;

/// A request for the messages that a consumer has now, and its answer.
pub(super) struct PullRequest<'a> {
    bucket: &'a BucketState,
    inbox: Inbox,
    /// How many messages may still come.
    left: usize,
    /// The message that came last.
    last: Option<jetstream::Message>,
}

/// What came of waiting for a message.
pub(super) enum NextMessage<'a> {
    Message(&'a jetstream::Message),
    /// All requested messages have come, or the consumer has no more.
    End,
    /// No message has come in time.
    TimedOut,
}

impl<'a> PullRequest<'a> {
    pub(super) async fn request(
        bucket: &'a BucketState,
        consumer: &PullConsumer,
        max: usize,
    ) -> Result<Self, ListError> {
        // The messages have the subjects that they are stored under. So only the subscription tells
        // which request they answer.
        let inbox = bucket.connection().open_fresh_inbox(1).await;
        let inbox = inbox.ok_or(ListError::Interrupted)?;
        let request = BatchConfig {
            batch: max,
            no_wait: true,
            ..BatchConfig::default()
        };
        let reply = Subject::from(inbox.reply_subject(0));
        let sent = consumer.request_batch(request, reply).await;
        sent.map_err(|_| ListError::Interrupted)?;
        Ok(Self {
            bucket,
            inbox,
            left: max,
            last: None,
        })
    }

    /// Waits for the next message, until `wait_until` at most.
    ///
    /// # Errors
    ///
    /// The connection was lost, or the server refused the request.
    pub(super) async fn next(
        &mut self,
        wait_until: impl FnOnce() -> Instant,
    ) -> Result<NextMessage<'_>, ListError> {
        if self.left == 0 {
            return Ok(NextMessage::End);
        }
        // Most messages are here already, and need no timer.
        let message = match self.inbox.next_now() {
            Some(message) => message,
            None => match timeout_at(wait_until(), self.inbox.next()).await {
                Ok(message) => message.ok_or(ListError::Interrupted)?,
                Err(_) => return Ok(NextMessage::TimedOut),
            },
        };
        // A stored message has the subject that it is stored under, and may have any status.
        if self.inbox.token_of(&message).is_none() {
            self.left -= 1;
            return Ok(NextMessage::Message(self.with_context(message)));
        }
        match message.status {
            Some(StatusCode::NOT_FOUND | StatusCode::TIMEOUT) => {
                self.left = 0;
                Ok(NextMessage::End)
            }
            _ => Err(ListError::Interrupted),
        }
    }

    /// The message as one of JetStream's, with the context of the last one.
    fn with_context(&mut self, message: Message) -> &jetstream::Message {
        match self.last.take() {
            Some(last) => self.last.insert(jetstream::Message { message, ..last }),
            None => self.last.insert(jetstream::Message {
                message,
                context: self.bucket.context(),
            }),
        }
    }
}
