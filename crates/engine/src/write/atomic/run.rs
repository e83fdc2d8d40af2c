//! The loop of one atomic batch. It does for the machine what needs a connection or a clock.

mod doubtful;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_nats::client::PublishErrorKind;
use async_nats::{Message, Subject};
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{sleep_until, timeout, timeout_at};

use super::machine::{
    AtomicAction, AtomicAnswer, AtomicConfig, AtomicEvent, AtomicMachine, BatchOutcome, FoundBatch,
    SendProblem,
};
use super::messages::AtomicMessages;
use crate::bucket_state::BucketState;
use crate::deadline::Deadline;
use crate::error::{BucketFeature, Error, Kind};
use crate::inbox::Inbox;
use crate::pipeline::RequestMessage;
use crate::text::LogText;
use crate::tuning;
use crate::write::key_write::KeyWrite;

/// How many attempts have reply subjects of their own: one for the commit, and one for the other
/// messages. Later attempts use them again.
const ATTEMPTS: u32 = 32;

/// Carries the batch out. When this future is dropped, nothing of it goes on.
pub(super) async fn run(
    bucket: &BucketState,
    messages: &mut AtomicMessages,
    deadline: &Deadline,
) -> BatchOutcome<Error> {
    bucket.concurrency().batch_started(messages.writes.len());
    let window = window(bucket, messages.writes.len());
    let config = AtomicConfig {
        sizes: messages.writes.iter().map(KeyWrite::size).collect(),
        window,
        window_bytes: tuning::WINDOW_BYTES,
        backoff: tuning::BACKOFF,
        resend_window: messages.info.duplicate_window / 2,
    };
    let run = AtomicRun {
        bucket,
        deadline,
        window,
        machine: AtomicMachine::new(config, deadline.time_limits()),
        messages,
        inbox: None,
        permits: None,
        sent: 0,
        answered: 0,
        permission_errors_seen: bucket.connection().permission_error_count(),
        staged: None,
        commit_sent: false,
    };
    run.until_finished().await
}

/// How many messages are in flight at most. An attempt holds a permit for each, so it leaves most
/// permits to other calls.
fn window(bucket: &BucketState, len: usize) -> usize {
    let share = bucket.limits().max_concurrency / tuning::BURST_PERMITS_DIVISOR;
    share.clamp(1, tuning::BURST).min(len)
}

struct AtomicRun<'a> {
    bucket: &'a BucketState,
    deadline: &'a Deadline,
    window: usize,
    machine: AtomicMachine<Error>,
    messages: &'a mut AtomicMessages,
    inbox: Option<Inbox>,
    permits: Option<AtomicPermits>,
    /// How many messages were sent, and how many answers have come.
    sent: usize,
    answered: usize,
    permission_errors_seen: u64,
    /// The attempt of which the server holds messages that are not committed.
    staged: Option<u32>,
    /// Whether the message that commits the attempt was sent.
    commit_sent: bool,
}

/// What an attempt holds: its place among the bucket's batches, and a permit for each message in
/// flight.
struct AtomicPermits {
    _batch: OwnedSemaphorePermit,
    _messages: OwnedSemaphorePermit,
}

impl AtomicRun<'_> {
    async fn until_finished(mut self) -> BatchOutcome<Error> {
        let mut status = self.bucket.connection().status();
        loop {
            // Answers first, so that nothing is sent again whose answer is here.
            while let Some(message) = self.inbox.as_mut().and_then(Inbox::next_now) {
                self.take_answer(&message).await;
            }
            let epoch = status.borrow_and_update().epoch;
            let is_up = match &self.inbox {
                Some(inbox) if !inbox.has_ended() => inbox.is_up(),
                _ => self.bucket.connection().is_up(),
            };
            self.tell(AtomicEvent::Connection { epoch, is_up });
            self.take_permission_errors();
            self.tell(AtomicEvent::Tick);
            let now = self.elapsed();
            match self.machine.next_action(now) {
                AtomicAction::Begin { .. } => {
                    let begun = self.begin().await;
                    self.tell(AtomicEvent::Begun(begun));
                }
                AtomicAction::Send {
                    attempt,
                    items,
                    commits,
                } => {
                    let (count, failure) = self.send(attempt, items, commits).await;
                    self.tell(AtomicEvent::Sent { count, failure });
                }
                AtomicAction::End => {
                    self.abort_staged().await;
                    self.permits = None;
                }
                AtomicAction::Refresh => {
                    let error = self.refresh().await;
                    self.tell(AtomicEvent::Refreshed(error));
                }
                AtomicAction::LookUp => {
                    let found = self.find_stored().await;
                    self.tell(AtomicEvent::LookedUp(found.unwrap_or(FoundBatch::Nothing)));
                }
                AtomicAction::Wait { until } => {
                    let until = self.deadline.start() + until;
                    let next = async {
                        match &mut self.inbox {
                            Some(inbox) if !inbox.has_ended() => inbox.next().await,
                            _ => std::future::pending().await,
                        }
                    };
                    tokio::select! {
                        biased;
                        message = next => if let Some(message) = message {
                            self.take_answer(&message).await;
                        },
                        Ok(()) = status.changed() => {}
                        () = sleep_until(until) => {}
                    }
                }
                AtomicAction::Finish(outcome) => {
                    self.abort_staged().await;
                    return self.finish(outcome);
                }
            }
        }
    }

    fn finish(self, outcome: BatchOutcome<Error>) -> BatchOutcome<Error> {
        if let Some(inbox) = self.inbox
            && self.sent == self.answered
        {
            self.bucket.connection().return_inbox(inbox);
        }
        outcome
    }

    fn elapsed(&self) -> Duration {
        self.deadline.start().elapsed()
    }

    fn tell(&mut self, event: AtomicEvent<Error>) {
        self.machine.handle(self.elapsed(), event);
    }

    /// Waits for the permits of an attempt and for an inbox. `Err(None)`: it can be tried again.
    async fn begin(&mut self) -> Result<u64, Option<Error>> {
        let connection = self.bucket.connection();
        let prepared = timeout_at(self.deadline.send_deadline(), async {
            self.bucket.wait_connected(self.deadline).await?;
            let info = self
                .bucket
                .require(BucketFeature::AtomicBatches, self.deadline)
                .await?;
            // The order matters: a batch that holds a place needs nothing of those that wait.
            let batch = self.bucket.atomic_batches();
            let messages = Arc::clone(self.bucket.concurrency().permits());
            let count = u32::try_from(self.window).unwrap_or(u32::MAX);
            let batch = batch.acquire_owned().await;
            let messages = messages.acquire_many_owned(count).await;
            let permits = batch.ok().zip(messages.ok());
            let permits = permits.map(|(batch, messages)| AtomicPermits {
                _batch: batch,
                _messages: messages,
            });
            Ok::<_, Error>(permits.map(|permits| (info, permits)))
        });
        let (info, permits) = match prepared.await {
            Ok(Ok(Some(prepared))) => prepared,
            Ok(Err(error)) if error.kind() != Kind::Unavailable => return Err(Some(error)),
            _ => return Err(None),
        };
        self.messages.info = info;
        let epoch = connection.epoch();
        if self.inbox.as_ref().is_none_or(Inbox::has_ended) {
            let tokens = 2 * ATTEMPTS as usize;
            let opened = timeout_at(self.deadline.send_deadline(), connection.open_inbox(tokens));
            self.inbox = Some(opened.await.ok().flatten().ok_or(None)?);
            (self.sent, self.answered) = (0, 0);
        }
        self.permits = Some(permits);
        (self.staged, self.commit_sent) = (None, false);
        Ok(epoch)
    }

    /// Sends these messages, as many as there is time for.
    async fn send(
        &mut self,
        attempt: u32,
        items: Range<usize>,
        commits: bool,
    ) -> (usize, Option<SendProblem<Error>>) {
        let Some(inbox) = &mut self.inbox else {
            return (0, Some(SendProblem::NotNow));
        };
        let reply = Subject::from(inbox.reply_subject(token(attempt, commits)));
        let client = inbox.client().clone();
        for (count, item) in items.clone().enumerate() {
            let RequestMessage {
                subject,
                headers,
                payload,
            } = self.messages.request(attempt, item);
            let headers = headers.unwrap_or_default();
            let sent =
                client.publish_with_reply_and_headers(subject, reply.clone(), headers, payload);
            let failure = match timeout_at(self.deadline.send_deadline(), sent).await {
                Ok(Ok(())) => {
                    self.sent += 1;
                    self.commit_sent |= commits;
                    continue;
                }
                Ok(Err(error)) if error.kind() == PublishErrorKind::Send => {
                    inbox.mark_ended();
                    SendProblem::NotNow
                }
                Ok(Err(error)) => SendProblem::Rejected(Error::NotSent {
                    what: "an atomic batch",
                    reason: LogText::of_publish(&error),
                }),
                Err(_) => SendProblem::NotNow,
            };
            return (count, Some(failure));
        }
        (items.len(), None)
    }

    async fn take_answer(&mut self, message: &Message) {
        let Some(token) = self
            .inbox
            .as_ref()
            .and_then(|inbox| inbox.token_of(message))
        else {
            return;
        };
        let Some((attempt, commits)) = self.attempt_of(token) else {
            return;
        };
        self.answered += 1;
        let answer = match self.messages.answer(self.bucket, message, commits) {
            Ok(answer) => answer,
            Err(doubtful) => self.resolve(doubtful).await,
        };
        match answer {
            AtomicAnswer::Staged if !commits => self.staged = Some(attempt),
            _ if commits => self.staged = None,
            _ => {}
        }
        self.tell(AtomicEvent::Answer { attempt, answer });
    }

    /// The attempt that a token is of, and whether the token is of its commit.
    fn attempt_of(&self, token: usize) -> Option<(u32, bool)> {
        let slot = u32::try_from(token / 2).ok()?;
        let last = self.machine.attempt();
        let attempt = (0..ATTEMPTS)
            .filter_map(|back| last.checked_sub(back))
            .find(|attempt| attempt % ATTEMPTS == slot)?;
        Some((attempt, token % 2 == 1))
    }

    /// The server sends a permission error to the connection, and never answers the message.
    fn take_permission_errors(&mut self) {
        let connection = self.bucket.connection();
        let Some(new) = connection.permission_errors_after(self.permission_errors_seen) else {
            return;
        };
        self.permission_errors_seen = new.count;
        let all = self.messages.writes.len();
        let denied = if self.machine.is_committing() {
            // Only the last message is unanswered, so an error for another subject is another
            // call's. Without an inbox its answer is lost, but the batch may be stored.
            new.by_subject.get(&self.messages.subject(all - 1)).cloned()
        } else {
            new.of_inbox.or_else(|| {
                let subjects = (0..all).map(|item| self.messages.subject(item));
                let mut errors = subjects.filter_map(|subject| new.by_subject.get(&subject));
                errors.next().cloned()
            })
        };
        if let Some(error) = denied {
            // A message that commits, if it is denied, has not reached the stream.
            self.commit_sent = false;
            self.tell(AtomicEvent::Denied(error));
        }
    }

    /// Fetches the stream info, because nobody receives the messages. Returns why the bucket cannot
    /// be written to.
    async fn refresh(&self) -> Option<Error> {
        let stale = Some(&self.messages.info);
        let refresh = self.bucket.refresh_stream_info(stale, self.deadline);
        // The servers of a stream without a leader may not answer at all.
        match timeout(tuning::STREAM_INFO_TIMEOUT, refresh).await {
            Ok(Err(error)) if error.kind() != Kind::Unavailable => Some(error),
            _ => None,
        }
    }

    /// Tells the server to drop the attempt that it has staged, if it was not sent as a whole.
    async fn abort_staged(&mut self) {
        let Some(attempt) = self.staged.take() else {
            return;
        };
        if self.commit_sent || !self.bucket.connection().is_up() {
            return;
        }
        let (subject, headers) = self.messages.abort(attempt);
        let client = self.bucket.connection().client();
        let abort = client.publish_with_headers(subject, headers, Bytes::new());
        // It is a courtesy to other writers, and no reason to wait or to fail.
        drop(timeout(tuning::STREAM_INFO_TIMEOUT, abort).await);
    }
}

/// The token of the reply subject of an attempt.
fn token(attempt: u32, commits: bool) -> usize {
    (2 * (attempt % ATTEMPTS) + u32::from(commits)) as usize
}
