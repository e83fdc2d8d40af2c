//! The loop that carries a batch out.

mod answers;
mod permission_errors;
mod send;

use std::future::poll_fn;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::sync::PollSemaphore;

use super::Operation;
use super::in_flight::{Attempts, EarlierAttempts, InFlight, InFlightGroup, Queue};
use crate::deadline::Deadline;
use crate::error::Error;
use crate::handle::BucketHandle;
use crate::inbox::Inbox;
use crate::stream_info::StreamInfo;
use crate::tuning;

/// Carries the batch out. Items that fail are told to the pipeline.
///
/// # Errors
///
/// What the pipeline breaks off with, or why the bucket could not be info.
pub(crate) async fn run(
    bucket: &BucketHandle,
    pipeline: &mut impl Operation,
    deadline: &Deadline,
) -> Result<(), Error> {
    if pipeline.len() == 0 {
        return Ok(());
    }
    bucket.concurrency().begins(pipeline.len());
    let info = bucket.stream_info(deadline).await?;
    let inbox = open_inbox(bucket, pipeline.len(), deadline).await?;
    // Small shares of the slots, so that other batches come in between.
    let burst = bucket.limits().max_concurrency / tuning::BURSTS;
    let run = Run {
        bucket,
        burst: burst.clamp(1, tuning::BURST),
        deadline,
        checked: Instant::now(),
        info,
        slots: PollSemaphore::new(Arc::clone(bucket.concurrency().permits())),
        permits: None,
        inbox,
        answered: true,
        queue: Queue::new(pipeline.len()),
        in_flight: InFlight::default(),
        last_launched: 0,
        pipeline,
        backoff: tuning::BACKOFF.0,
        looked: None,
        epoch: 0,
        refused: None,
    };
    run.finish().await
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
    let info = timeout_at(deadline.settle(), bucket.connection().open_inbox(tokens));
    info.await.ok().flatten()
}

struct Run<'a, X> {
    bucket: &'a BucketHandle,
    deadline: &'a Deadline,
    /// Since when the server's refusals have not been looked at.
    checked: Instant,
    pipeline: &'a mut X,
    info: Arc<StreamInfo>,
    /// How many items are sent at a time, at most.
    burst: usize,
    slots: PollSemaphore,
    /// Permits in hand for the next items.
    permits: Option<OwnedSemaphorePermit>,
    inbox: Inbox,
    /// Whether no answer is still to come but those to what is in flight.
    answered: bool,
    queue: Queue,
    in_flight: InFlight,
    /// The token of the flight that was launched last.
    last_launched: usize,
    backoff: Duration,
    /// When the bucket was last looked at again: one look serves all that found no responder.
    looked: Option<Instant>,
    epoch: u64,
    /// That the server refuses this login such requests.
    refused: Option<Error>,
}

impl<X: Operation> Run<'_, X> {
    async fn finish(mut self) -> Result<(), Error> {
        let mut status = self.bucket.connection().status();
        loop {
            // First what has come: it is no longer to be given up or sent again.
            while let Some(message) = self.inbox.next_now() {
                self.take(message).await?;
            }
            // Another client knows nothing of the inbox.
            if self.inbox.has_ended()
                && self.bucket.connection().is_up()
                && let Some(inbox) =
                    try_open_inbox(self.bucket, self.pipeline.len(), self.deadline).await
            {
                self.inbox = inbox;
            }
            let epoch = status.borrow_and_update().epoch;
            self.reconnected(epoch)?;
            self.check_time().await?;
            // Nothing is sent while there is no connection: the client would keep it, and a write
            // could reach the server after this call has answered that it failed.
            let connected = self.inbox.is_up();
            if connected {
                self.send_while_there_is_room().await?;
            }
            if self.in_flight.is_empty() && self.queue.is_empty() {
                if self.answered {
                    self.bucket.connection().return_inbox(self.inbox);
                }
                return Ok(());
            }
            let wanted = if connected && self.permits.is_none() {
                self.next_burst()
            } else {
                0
            };
            let waits = !self.in_flight.is_empty() && !self.inbox.has_ended();
            let wake = self.wake(connected);
            tokio::select! {
                biased;
                Some(message) = self.inbox.next(), if waits => self.take(message).await?,
                permits = poll_fn(|cx| self.slots.poll_acquire_many(cx, wanted)), if wanted > 0 => {
                    self.permits = permits;
                }
                Ok(()) = status.changed() => {}
                () = sleep_until(wake) => {}
            }
        }
    }

    /// After a reconnect the answers to what was sent before it may never come.
    fn reconnected(&mut self, epoch: u64) -> Result<(), Error> {
        if epoch > self.epoch {
            self.epoch = epoch;
            let lost = self.in_flight.before(epoch);
            if !lost.is_empty() {
                self.pipeline.connection_lost();
            }
            for token in lost {
                self.send_again(token)?;
            }
        }
        Ok(())
    }

    /// Gives up, or sends again, what has waited too long; and all of it when the time is over.
    async fn check_time(&mut self) -> Result<(), Error> {
        self.take_refusals().await?;
        let now = Instant::now();
        if now >= self.deadline.settle() {
            self.give_up_unsent(&self.bucket.explain(self.deadline))?;
        }
        if now >= self.deadline.end() {
            let why = self.bucket.explain(self.deadline);
            for token in self.in_flight.tokens() {
                self.give_up(token, &why)?;
            }
            return Ok(());
        }
        while now < self.deadline.settle()
            && let Some((sent, token)) = self.in_flight.oldest()
            && sent + self.patience() <= now
        {
            self.send_again(token)?;
        }
        Ok(())
    }

    /// Waits no longer for a flight's answers, which may still come.
    fn abandon(&mut self, token: usize) -> Option<InFlightGroup> {
        let flight = self.in_flight.land(token)?;
        self.answered = false;
        Some(flight)
    }

    fn send_again(&mut self, token: usize) -> Result<(), Error> {
        let Some(flight) = self.abandon(token) else {
            return Ok(());
        };
        let past = flight.past.with(EarlierAttempts::Unanswered);
        for item in flight.items {
            self.again(item, past, Duration::ZERO)?;
        }
        Ok(())
    }

    fn give_up(&mut self, token: usize, why: &Error) -> Result<(), Error> {
        let Some(flight) = self.abandon(token) else {
            return Ok(());
        };
        for item in flight.items {
            self.fail(item, self.pipeline.unanswered(why.clone()))?;
        }
        Ok(())
    }

    fn give_up_unsent(&mut self, why: &Error) -> Result<(), Error> {
        // A place in the line for permits would keep them from others.
        self.slots = PollSemaphore::new(Arc::clone(self.bucket.concurrency().permits()));
        self.permits = None;
        for (item, past) in self.queue.drain() {
            self.fail_unsent(item, past, why)?;
        }
        Ok(())
    }

    /// Fails an item of which no copy is in flight.
    fn fail_unsent(
        &mut self,
        item: usize,
        past: Option<Attempts>,
        why: &Error,
    ) -> Result<(), Error> {
        let error = match past {
            Some(past) if past.may_be_done() => self.pipeline.unanswered(why.clone()),
            _ => why.clone(),
        };
        self.fail(item, error)
    }

    fn fail(&mut self, item: usize, error: Error) -> Result<(), Error> {
        match self.pipeline.failed(item, error) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(error) => Err(error),
        }
    }

    /// How long an answer is waited for.
    fn patience(&self) -> Duration {
        self.deadline.patience_for(self.in_flight.weight())
    }

    /// When to look at the clock again if nothing happens.
    fn wake(&mut self, connected: bool) -> Instant {
        let now = Instant::now();
        let mut wake = if now < self.deadline.settle() {
            self.deadline.settle()
        } else {
            self.deadline.end()
        };
        if !connected {
            wake = wake.min(now + tuning::BACKOFF.0);
        } else if let Some(due) = self.queue.first_due().filter(|&due| due > now) {
            wake = wake.min(due);
        }
        if let Some((sent, _)) = self.in_flight.oldest()
            && now < self.deadline.settle()
        {
            wake = wake.min(sent + self.patience());
        }
        wake
    }
}
