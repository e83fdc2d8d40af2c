//! Doing what the machine asks for.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use async_nats::Subject;
use async_nats::client::PublishErrorKind;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::PollSemaphore;

use super::{Run, try_open_inbox};
use crate::error::Error;
use crate::pipeline::machine::{Action, Event, Refreshed, Unsent, Why};
use crate::pipeline::{Operation, RequestMessage};
use crate::stream_info::StreamInfo;
use crate::text::LogText;
use crate::tuning;

impl<O: Operation> Run<'_, O> {
    /// Does all that the machine asks for now. When the batch is over, answers whether no answer to it
    /// is still to come.
    ///
    /// # Errors
    ///
    /// What the operation breaks off with.
    pub(super) async fn act(&mut self) -> Result<Option<bool>, Error> {
        let mut explained = None;
        while let Some(action) = self
            .machine
            .next_action(self.time(Instant::now()), self.operation)
        {
            match action {
                Action::Send {
                    token,
                    items,
                    by,
                    repeat,
                } => {
                    if repeat {
                        self.operation.sent_again();
                    }
                    let by = self.origin + by.since_start();
                    let (count, stopped) = self.send(token, items, by).await;
                    self.tell(Event::Sent { count, stopped });
                }
                Action::Ask(count) => self.ask(count),
                Action::StopAsking => {
                    // Whoever waits collects permits, even if nobody looks at what it waits for.
                    let permits = Arc::clone(self.bucket.concurrency().permits());
                    self.queue = PollSemaphore::new(permits);
                    self.asked = 0;
                }
                Action::Release(count) => {
                    let permits = self.permits.as_mut();
                    drop(permits.and_then(|permits| permits.split(count)));
                }
                Action::Refresh { stale, brief } => {
                    let refreshed = self.refresh(&stale, brief).await;
                    self.tell(Event::Refreshed(refreshed));
                }
                Action::OpenInbox => {
                    let len = self.operation.len();
                    let opened = try_open_inbox(self.bucket, len, self.deadline).await;
                    self.tell(Event::InboxOpened(opened.is_some()));
                    if let Some(inbox) = opened {
                        self.inbox = inbox;
                    }
                }
                Action::ConnectionLost => self.operation.connection_lost(),
                Action::Done(items) => self.ended += items.len(),
                Action::Failed {
                    items,
                    unanswered,
                    why,
                } => {
                    let error = match why {
                        Why::Given(error) => error,
                        Why::NotRepeatable => Error::NotRepeated,
                        Why::TimeOver => explained
                            .get_or_insert_with(|| self.bucket.explain(self.deadline))
                            .clone(),
                    };
                    self.fail(items, unanswered, &error)?;
                }
                Action::Finish { all_answered } => {
                    debug_assert_eq!(self.ended, self.operation.len(), "each item ends once");
                    return Ok(Some(all_answered));
                }
            }
        }
        Ok(None)
    }

    fn ask(&mut self, count: usize) {
        self.asked = u32::try_from(count).unwrap_or(u32::MAX);
        // Never jumps the queue: while others wait, there are no free permits.
        let permits = Arc::clone(self.bucket.concurrency().permits());
        if let Ok(permits) = permits.try_acquire_many_owned(self.asked) {
            self.granted(Some(permits));
        }
    }

    fn fail(&mut self, items: Range<usize>, unanswered: bool, why: &Error) -> Result<(), Error> {
        self.ended += items.len();
        for item in items {
            let error = if unanswered {
                self.operation.unanswered(why.clone())
            } else {
                why.clone()
            };
            if let ControlFlow::Break(error) = self.operation.failed(item, error) {
                return Err(error);
            }
        }
        Ok(())
    }

    async fn refresh(&self, stale: &Arc<StreamInfo>, brief: bool) -> Refreshed<StreamInfo, Error> {
        let refresh = self.bucket.refresh_stream_info(Some(stale), self.deadline);
        // Without a leader, a server may be silent. Answers wait meanwhile.
        let refreshed = if brief {
            match timeout(tuning::LOOK, refresh).await {
                Ok(refreshed) => refreshed,
                Err(_) => return Refreshed::Silent,
            }
        } else {
            refresh.await
        };
        match refreshed {
            Ok(info) => Refreshed::Info {
                max_message_changed: info.max_message != stale.max_message,
                info,
            },
            Err(error) => Refreshed::Failed(error),
        }
    }

    /// Publishes these items, as many as there is time for: how many it were, and why no more.
    async fn send(
        &mut self,
        token: usize,
        items: Range<usize>,
        by: Instant,
    ) -> (usize, Option<Unsent<Error>>) {
        let reply = Subject::from(self.inbox.reply_subject(token));
        for (count, item) in items.clone().enumerate() {
            if let Err(why) = self.publish(item, reply.clone(), by).await {
                if matches!(why, Unsent::ClientEnded) {
                    self.inbox.end();
                }
                return (count, Some(why));
            }
        }
        (items.len(), None)
    }

    async fn publish(&self, item: usize, reply: Subject, by: Instant) -> Result<(), Unsent<Error>> {
        let RequestMessage {
            subject,
            headers,
            payload,
        } = self.operation.request(item, self.machine.info());
        let client = self.inbox.client();
        let sent = timeout_at(by, async move {
            match headers {
                Some(headers) => {
                    client
                        .publish_with_reply_and_headers(subject, reply, headers, payload)
                        .await
                }
                None => client.publish_with_reply(subject, reply, payload).await,
            }
        });
        match sent.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if error.kind() == PublishErrorKind::Send => Err(Unsent::ClientEnded),
            Ok(Err(error)) => Err(Unsent::Refused(Error::Refused {
                what: "a request",
                reason: LogText::of_publish(&error),
            })),
            Err(_) => Err(Unsent::QueueFull),
        }
    }
}
