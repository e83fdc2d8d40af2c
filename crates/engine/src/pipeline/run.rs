//! The loop of one run of the pipeline. It does for the machine what needs a connection or a clock.

mod actions;

use std::future::poll_fn;
use std::sync::Arc;

use async_nats::Message;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::sync::PollSemaphore;

use super::Operation;
use super::machine::{AnswerOutcome, Event, Machine, PipelineConfig, Time, token_count};
use crate::bucket_state::BucketState;
use crate::connection::Connection;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::inbox::Inbox;
use crate::message::is_no_responders;
use crate::stream_info::StreamInfo;
use crate::tuning;

/// Carries the operation out, and calls [`Operation::failed`] for each item that fails.
///
/// # Errors
///
/// The error that the operation ends the run with, or why the bucket could not be opened.
pub(crate) async fn run(
    bucket: &BucketState,
    operation: &mut impl Operation,
    deadline: &Deadline,
) -> Result<(), Error> {
    if operation.len() == 0 {
        return Ok(());
    }
    bucket.concurrency().batch_started(operation.total_items());
    let info = bucket.stream_info(deadline).await?;
    let connection = operation.connection(bucket);
    let inbox = open_inbox(bucket, connection, operation.len(), deadline).await?;
    let started = Instant::now();
    let run = Run {
        bucket,
        connection,
        deadline,
        started,
        machine: Machine::new(
            operation.len(),
            info,
            config(bucket),
            deadline.time_limits(),
            started.saturating_duration_since(deadline.start()),
        ),
        permission_errors_seen: connection.permission_error_count(),
        permits: None,
        semaphore: PollSemaphore::new(Arc::clone(bucket.concurrency().permits())),
        requested_permits: 0,
        inbox,
        ended_items: 0,
        operation,
    };
    run.until_finished().await
}

fn config(bucket: &BucketState) -> PipelineConfig {
    // A burst is a small share of the permits, so that other batches come in between.
    let burst = bucket.limits().max_concurrency / tuning::BURST_PERMITS_DIVISOR;
    PipelineConfig {
        window: tuning::WINDOW,
        window_bytes: tuning::WINDOW_BYTES,
        burst: burst.clamp(1, tuning::BURST),
        group: tuning::GROUP,
        yield_rule: tuning::YIELD_RULE,
        backoff: tuning::BACKOFF,
        window_once_denied: tuning::WINDOW_ONCE_DENIED,
        answer_timeout_once_denied: tuning::ANSWER_TIMEOUT_ONCE_DENIED,
    }
}

async fn open_inbox(
    bucket: &BucketState,
    connection: &Connection,
    len: usize,
    deadline: &Deadline,
) -> Result<Inbox, Error> {
    while Instant::now() < deadline.send_deadline() {
        if let Some(inbox) = try_open_inbox(connection, len, deadline).await {
            return Ok(inbox);
        }
        sleep(tuning::BACKOFF.first).await;
        connection.wait_connected(bucket.name(), deadline).await?;
    }
    Err(connection.no_answer_error(bucket.name(), deadline))
}

/// Opens an inbox. `None` if the NATS client has ended, or if its queue is full because the server
/// reads nothing.
async fn try_open_inbox(connection: &Connection, len: usize, deadline: &Deadline) -> Option<Inbox> {
    let inbox = connection.open_inbox(token_count(len));
    timeout_at(deadline.send_deadline(), inbox)
        .await
        .ok()
        .flatten()
}

struct Run<'a, O> {
    bucket: &'a BucketState,
    /// The connection that the requests go over.
    connection: &'a Connection,
    deadline: &'a Deadline,
    operation: &'a mut O,
    machine: Machine<StreamInfo, Error>,
    /// The start of the machine's time.
    started: Instant,
    /// The permits that the machine has not given back.
    permits: Option<OwnedSemaphorePermit>,
    semaphore: PollSemaphore,
    /// How many permits this waits for, on the machine's behalf.
    requested_permits: u32,
    inbox: Inbox,
    /// How many items are done or have failed.
    ended_items: usize,
    /// How many permission errors the connection had when this run last looked.
    permission_errors_seen: u64,
}

impl<O: Operation> Run<'_, O> {
    async fn until_finished(mut self) -> Result<(), Error> {
        let mut status = self.connection.status();
        loop {
            // Answers first, so that no item fails or is sent again whose answer is here.
            while let Some(message) = self.inbox.next_now() {
                self.handle_answer(message);
            }
            // The run sends with its inbox's client. After that has ended, the question is whether
            // another client is there.
            let is_up = if self.inbox.has_ended() {
                self.tell(Event::ClientEnded);
                self.connection.is_up()
            } else {
                self.inbox.is_up()
            };
            let epoch = status.borrow_and_update().epoch;
            self.tell(Event::Connection { epoch, is_up });
            self.handle_permission_errors();
            let small_until = self.bucket.concurrency().small_batches_expected_until();
            self.tell(Event::SmallBatchesExpectedUntil(self.time(small_until)));
            self.tell(Event::Tick);
            if let Some(all_answered) = self.act().await? {
                if all_answered {
                    self.connection.return_inbox(self.inbox);
                }
                return Ok(());
            }
            let expects_answers = self.machine.has_in_flight() && !self.inbox.has_ended();
            let wakeup = self.started + self.machine.next_wakeup().since_start();
            let permits = self.requested_permits;
            tokio::select! {
                biased;
                Some(message) = self.inbox.next(), if expects_answers => {
                    self.handle_answer(message);
                }
                granted = poll_fn(|cx| self.semaphore.poll_acquire_many(cx, permits)),
                    if permits > 0 => self.permits_granted(granted),
                Ok(()) = status.changed() => {}
                () = sleep_until(wakeup) => {}
            }
        }
    }

    fn time(&self, at: Instant) -> Time {
        Time::from_start(at.saturating_duration_since(self.started))
    }

    fn tell(&mut self, event: Event<StreamInfo, Error>) {
        let now = self.time(Instant::now());
        self.machine.handle(now, event, self.operation);
    }

    fn permits_granted(&mut self, granted: Option<OwnedSemaphorePermit>) {
        self.requested_permits = 0;
        let Some(granted) = granted else {
            return;
        };
        let count = granted.num_permits();
        match &mut self.permits {
            Some(permits) => permits.merge(granted),
            None => self.permits = Some(granted),
        }
        self.tell(Event::PermitsGranted(count));
    }

    fn handle_answer(&mut self, message: Message) {
        let Some(token) = self.inbox.token_of(&message) else {
            return;
        };
        let Some((items, info)) = self.machine.group(token) else {
            return;
        };
        let outcome = if is_no_responders(&message) {
            AnswerOutcome::NoResponders
        } else if items.len() > 1 {
            match self.operation.shared_answer(&message, info) {
                Some(sequence) => AnswerOutcome::Done {
                    sequence: Some(sequence),
                },
                None => AnswerOutcome::NotAcknowledged,
            }
        } else {
            self.operation.answer(items.start, message, info)
        };
        self.tell(Event::Answer { token, outcome });
    }

    /// Tells the machine the permission errors of this run's requests.
    ///
    /// The server sends a permission error to the connection, and never answers the request. Other
    /// calls use the connection too, so the subject decides whether an error is this run's.
    fn handle_permission_errors(&mut self) {
        let connection = self.connection;
        let Some(new) = connection.permission_errors_after(self.permission_errors_seen) else {
            return;
        };
        self.permission_errors_seen = new.count;
        if let Some(error) = new.of_inbox {
            self.tell(Event::InboxDenied(error));
            return;
        }
        for token in self.machine.tokens() {
            let Some((items, info)) = self.machine.group(token) else {
                continue;
            };
            let denied = items.filter_map(|item| {
                let subject = self.operation.subject(item, info);
                let error = new.by_subject.get(&subject)?;
                Some((item, error.clone()))
            });
            let denied: Vec<_> = denied.collect();
            if !denied.is_empty() {
                self.tell(Event::ItemsDenied { token, denied });
            }
        }
    }
}
