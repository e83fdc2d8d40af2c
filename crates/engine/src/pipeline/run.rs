//! The loop that carries a batch out: it does for the machine what needs a connection or a clock.

mod actions;

use std::future::poll_fn;
use std::sync::Arc;

use async_nats::Message;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::sync::PollSemaphore;

use super::machine::{Event, Machine, Reply, Sizes, Time};
use super::{Answer, Operation};
use crate::deadline::Deadline;
use crate::error::Error;
use crate::handle::BucketHandle;
use crate::inbox::Inbox;
use crate::message::is_no_responders;
use crate::stream_info::StreamInfo;
use crate::tuning;

/// Carries the batch out. Items that fail are told to the operation.
///
/// # Errors
///
/// What the operation breaks off with, or why the bucket could not be opened.
pub(crate) async fn run(
    bucket: &BucketHandle,
    operation: &mut impl Operation,
    deadline: &Deadline,
) -> Result<(), Error> {
    if operation.len() == 0 {
        return Ok(());
    }
    bucket.concurrency().begins(operation.call_len());
    let info = bucket.stream_info(deadline).await?;
    let inbox = open_inbox(bucket, operation.len(), deadline).await?;
    let origin = Instant::now();
    let run = Run {
        bucket,
        deadline,
        origin,
        machine: Machine::new(
            operation.len(),
            info,
            sizes(bucket),
            deadline.limits(),
            origin.saturating_duration_since(deadline.start()),
        ),
        permission_errors: bucket.connection().permission_errors(),
        permits: None,
        queue: PollSemaphore::new(Arc::clone(bucket.concurrency().permits())),
        asked: 0,
        inbox,
        ended: 0,
        operation,
    };
    run.finish().await
}

fn sizes(bucket: &BucketHandle) -> Sizes {
    // Small shares of the permits, so that other batches come in between.
    let burst = bucket.limits().max_concurrency / tuning::BURSTS;
    Sizes {
        window: tuning::WINDOW,
        window_bytes: tuning::WINDOW_BYTES,
        burst: burst.clamp(1, tuning::BURST),
        group: tuning::GROUP,
        large: tuning::LARGE_BATCH,
        window_beside_small: tuning::WINDOW_BESIDE_SMALL,
        window_of_late: tuning::WINDOW_OF_LATE,
        backoff: tuning::BACKOFF,
        window_once_denied: tuning::WINDOW_ONCE_DENIED,
        patience_once_denied: tuning::PATIENCE_ONCE_DENIED,
    }
}

async fn open_inbox(
    bucket: &BucketHandle,
    len: usize,
    deadline: &Deadline,
) -> Result<Inbox, Error> {
    while Instant::now() < deadline.settle() {
        if let Some(inbox) = try_open_inbox(bucket, len, deadline).await {
            return Ok(inbox);
        }
        sleep(tuning::BACKOFF.0).await;
        bucket.ready(deadline).await?;
    }
    Err(bucket.explain(deadline))
}

/// An inbox, unless the client has ended or its queue is full, because the server reads nothing.
async fn try_open_inbox(bucket: &BucketHandle, len: usize, deadline: &Deadline) -> Option<Inbox> {
    // One for each item by itself, and one for each group that begins with it; one item is no group.
    let tokens = if len == 1 { 1 } else { 2 * len };
    let inbox = timeout_at(deadline.settle(), bucket.connection().open_inbox(tokens));
    inbox.await.ok().flatten()
}

struct Run<'a, O> {
    bucket: &'a BucketHandle,
    deadline: &'a Deadline,
    operation: &'a mut O,
    machine: Machine<StreamInfo, Error>,
    /// When the machine's time began.
    origin: Instant,
    /// The permits that the machine has not given back.
    permits: Option<OwnedSemaphorePermit>,
    queue: PollSemaphore,
    /// How many permits the machine waits for.
    asked: u32,
    inbox: Inbox,
    /// How many items are done or have failed.
    ended: usize,
    /// How many permission errors the connection had had when they were last looked at.
    permission_errors: u64,
}

impl<O: Operation> Run<'_, O> {
    async fn finish(mut self) -> Result<(), Error> {
        let mut status = self.bucket.connection().status();
        loop {
            // First what has come: it is no longer to be given up or sent again.
            while let Some(message) = self.inbox.next_now() {
                self.take(message);
            }
            let up = if self.inbox.has_ended() {
                self.tell(Event::ClientEnded);
                self.bucket.connection().is_up()
            } else {
                self.inbox.is_up()
            };
            let epoch = status.borrow_and_update().epoch;
            self.tell(Event::Connection { epoch, up });
            self.take_permission_errors();
            let small_until = self.bucket.concurrency().small_until();
            self.tell(Event::SmallBatchesUntil(self.time(small_until)));
            self.tell(Event::Tick);
            if let Some(all_answered) = self.act().await? {
                if all_answered {
                    self.bucket.connection().return_inbox(self.inbox);
                }
                return Ok(());
            }
            let waits = self.machine.has_in_flight() && !self.inbox.has_ended();
            let wake = self.origin + self.machine.wake().since_start();
            let asked = self.asked;
            tokio::select! {
                biased;
                Some(message) = self.inbox.next(), if waits => self.take(message),
                permits = poll_fn(|cx| self.queue.poll_acquire_many(cx, asked)), if asked > 0 => {
                    self.granted(permits);
                }
                Ok(()) = status.changed() => {}
                () = sleep_until(wake) => {}
            }
        }
    }

    fn time(&self, at: Instant) -> Time {
        Time::from_start(at.saturating_duration_since(self.origin))
    }

    fn tell(&mut self, event: Event<StreamInfo, Error>) {
        let now = self.time(Instant::now());
        self.machine.handle(now, event, self.operation);
    }

    fn granted(&mut self, permits: Option<OwnedSemaphorePermit>) {
        self.asked = 0;
        let Some(granted) = permits else {
            return;
        };
        let count = granted.num_permits();
        match &mut self.permits {
            Some(permits) => permits.merge(granted),
            None => self.permits = Some(granted),
        }
        self.tell(Event::Granted(count));
    }

    fn take(&mut self, message: Message) {
        let Some(token) = self.inbox.token_of(&message) else {
            return;
        };
        let Some((items, info)) = self.machine.group(token) else {
            return;
        };
        let reply = if is_no_responders(&message) {
            Reply::NoResponders
        } else if items.len() > 1 {
            let place = self.operation.place(&message, info);
            place.map_or(Reply::NotDone, |place| Reply::Done { place })
        } else {
            match self.operation.answer(items.start, message, info) {
                Answer::Done => Reply::Done { place: 0 },
                Answer::Again => Reply::Again,
                Answer::Failed(error) => Reply::Failed(error),
                Answer::Outdated(error) => Reply::Outdated(error),
                Answer::Gone => Reply::Gone,
            }
        };
        self.tell(Event::Answer { token, reply });
    }

    /// Tells the machine what the server does not let this login do: the server says so apart from the
    /// request that it refuses, which stays unanswered. Another call's permission error is none of
    /// this one's business.
    fn take_permission_errors(&mut self) {
        let connection = self.bucket.connection();
        let Some(new) = connection.permission_errors_after(self.permission_errors) else {
            return;
        };
        self.permission_errors = new.count;
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
