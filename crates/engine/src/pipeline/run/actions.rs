//! Doing what the machine asks for.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use async_nats::Subject;
use async_nats::client::PublishErrorKind;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::PollSemaphore;

use super::{Run, try_open_inbox};
use crate::error::Error;
use crate::pipeline::machine::{Action, Event, FailReason, RefreshOutcome, SendFailure};
use crate::pipeline::{Operation, RequestMessage};
use crate::stream_info::StreamInfo;
use crate::text::LogText;
use crate::tuning;

impl<O: Operation> Run<'_, O> {
    /// Does all that the machine asks for now. When the run is over, returns whether every
    /// request was answered.
    ///
    /// # Errors
    ///
    /// The error that the operation ends the run with.
    pub(super) async fn act(&mut self) -> Result<Option<bool>, Error> {
        let mut no_answer = None;
        while let Some(action) = self
            .machine
            .next_action(self.time(Instant::now()), self.operation)
        {
            match action {
                Action::Send {
                    token,
                    items,
                    send_before,
                    may_duplicate,
                    why_again,
                } => {
                    if may_duplicate {
                        self.operation.note_possible_duplicate();
                    }
                    let send_before = self.started + send_before.since_start();
                    let (count, failure) = self.send(token, items, send_before).await;
                    if let Some(why) = why_again.filter(|_| count > 0) {
                        self.bucket.connection().count_retry(why);
                    }
                    self.tell(Event::Sent { count, failure });
                }
                Action::AcquirePermits(count) => self.acquire_permits(count),
                Action::CancelAcquire => {
                    // The old future has to go: it collects permits even if nobody polls it.
                    let permits = Arc::clone(self.bucket.concurrency().permits());
                    self.semaphore = PollSemaphore::new(permits);
                    self.requested_permits = 0;
                }
                Action::ReleasePermits(count) => {
                    let permits = self.permits.as_mut();
                    drop(permits.and_then(|permits| permits.split(count)));
                }
                Action::RefreshInfo {
                    stale,
                    with_timeout,
                } => {
                    let outcome = self.refresh_info(&stale, with_timeout).await;
                    self.tell(Event::Refreshed(outcome));
                }
                Action::OpenInbox => {
                    let len = self.operation.len();
                    let opened = try_open_inbox(self.connection, len, self.deadline).await;
                    self.tell(Event::InboxOpened(opened.is_some()));
                    if let Some(inbox) = opened {
                        self.inbox = inbox;
                    }
                }
                Action::ConnectionLost => self.operation.connection_lost(),
                Action::Done(items) => self.ended_items += items.len(),
                Action::Failed {
                    items,
                    maybe_stored,
                    reason,
                } => {
                    let error = match reason {
                        FailReason::Error(error) => error,
                        FailReason::ResendUnsafe => Error::ResendUnsafe,
                        FailReason::DeadlinePassed => no_answer
                            .get_or_insert_with(|| {
                                let bucket = self.bucket.name();
                                self.connection.no_answer_error(bucket, self.deadline)
                            })
                            .clone(),
                    };
                    self.fail(items, maybe_stored, &error)?;
                }
                Action::Finish { all_answered } => {
                    let all = self.operation.len();
                    debug_assert_eq!(self.ended_items, all, "each item ends once");
                    return Ok(Some(all_answered));
                }
            }
        }
        Ok(None)
    }

    fn acquire_permits(&mut self, count: usize) {
        self.requested_permits = u32::try_from(count).unwrap_or(u32::MAX);
        // This does not jump the queue: while others wait, no permit is free.
        let permits = Arc::clone(self.bucket.concurrency().permits());
        if let Ok(permits) = permits.try_acquire_many_owned(self.requested_permits) {
            self.permits_granted(Some(permits));
        }
    }

    fn fail(&mut self, items: Range<usize>, maybe_stored: bool, why: &Error) -> Result<(), Error> {
        self.ended_items += items.len();
        for item in items {
            let error = if maybe_stored {
                self.operation.to_unclear_error(why.clone())
            } else {
                why.clone()
            };
            if let ControlFlow::Break(error) = self.operation.failed(item, error) {
                return Err(error);
            }
        }
        Ok(())
    }

    async fn refresh_info(
        &self,
        stale: &Arc<StreamInfo>,
        with_timeout: bool,
    ) -> RefreshOutcome<StreamInfo, Error> {
        let refresh = self.bucket.refresh_stream_info(Some(stale), self.deadline);
        let refreshed = if with_timeout {
            // The servers of a stream without a leader may not answer at all. Meanwhile the run
            // takes no answers.
            match timeout(tuning::STREAM_INFO_TIMEOUT, refresh).await {
                Ok(refreshed) => refreshed,
                Err(_) => return RefreshOutcome::TimedOut,
            }
        } else {
            refresh.await
        };
        match refreshed {
            Ok(info) => RefreshOutcome::Info {
                write_rules_changed: info.write_rules_differ_from(stale),
                info,
            },
            Err(error) => RefreshOutcome::Failed(error),
        }
    }

    /// Publishes these items, as many as there is time for. Returns how many were published, and
    /// why the next one was not.
    async fn send(
        &mut self,
        token: usize,
        items: Range<usize>,
        send_before: Instant,
    ) -> (usize, Option<SendFailure<Error>>) {
        let reply = Subject::from(self.inbox.reply_subject(token));
        for (count, item) in items.clone().enumerate() {
            if let Err(failure) = self.publish(item, reply.clone(), send_before).await {
                if matches!(failure, SendFailure::ClientEnded) {
                    self.inbox.mark_ended();
                }
                return (count, Some(failure));
            }
        }
        (items.len(), None)
    }

    async fn publish(
        &self,
        item: usize,
        reply: Subject,
        send_before: Instant,
    ) -> Result<(), SendFailure<Error>> {
        let RequestMessage {
            subject,
            headers,
            payload,
        } = self.operation.request(item, self.machine.info());
        let client = self.inbox.client();
        let sent = timeout_at(send_before, async move {
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
            Ok(Err(error)) if error.kind() == PublishErrorKind::Send => {
                Err(SendFailure::ClientEnded)
            }
            Ok(Err(error)) => Err(SendFailure::Rejected(Error::NotSent {
                what: "a request",
                reason: LogText::of_publish(&error),
            })),
            Err(_) => Err(SendFailure::QueueFull),
        }
    }
}
