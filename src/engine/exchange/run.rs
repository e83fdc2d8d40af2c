//! The loop that carries a batch out.

use std::future::poll_fn;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, Subscriber};
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::PollSemaphore;

use super::flights::{Delayed, Flight, Flights, Past, Queue};
use super::{Answer, Exchange, Request};
use crate::engine::bucket::Bucket;
use crate::engine::deadline::Deadline;
use crate::engine::error::Error;
use crate::engine::message::is_no_responders;
use crate::engine::open::Opened;
use crate::engine::tuning;

/// Carries the batch out. Items that fail are told to the exchange.
///
/// # Errors
///
/// What the exchange breaks off with, or why the bucket could not be opened.
pub(in crate::engine) async fn run(
    bucket: &Bucket,
    exchange: &mut impl Exchange,
    deadline: &Deadline,
) -> Result<(), Error> {
    if exchange.len() == 0 {
        return Ok(());
    }
    let opened = bucket.opened(deadline).await?;
    let client = bucket.connection().client();
    let inbox = client.new_inbox();
    // The client's queue is full while the server reads nothing.
    let subscribed = timeout_at(deadline.settle(), client.subscribe(format!("{inbox}.*")));
    let Ok(Ok(answers)) = subscribed.await else {
        return Err(bucket.explain(deadline));
    };
    let run = Run {
        bucket,
        deadline,
        begun: Instant::now(),
        opened,
        slots: PollSemaphore::new(Arc::clone(bucket.slots())),
        permit: None,
        answers,
        reply_prefix: format!("{inbox}."),
        queue: Queue::new(exchange.len()),
        flights: Flights::default(),
        exchange,
        backoff: tuning::BACKOFF.0,
        looked: None,
        epoch: 0,
        refused: None,
    };
    run.finish().await
}

struct Run<'a, X> {
    bucket: &'a Bucket,
    deadline: &'a Deadline,
    begun: Instant,
    exchange: &'a mut X,
    opened: Arc<Opened>,
    slots: PollSemaphore,
    /// A permit in hand for the next request.
    permit: Option<OwnedSemaphorePermit>,
    answers: Subscriber,
    reply_prefix: String,
    queue: Queue,
    flights: Flights,
    backoff: Duration,
    /// When the bucket was last looked at again: one look serves all that found no responder.
    looked: Option<Instant>,
    epoch: u64,
    /// That the server refuses this login such requests.
    refused: Option<Error>,
}

impl<X: Exchange> Run<'_, X> {
    async fn finish(mut self) -> Result<(), Error> {
        let mut status = self.bucket.connection().status();
        loop {
            // First what has come: it is no longer to be given up or sent again.
            while let Some(Some(message)) = self.answers.next().now_or_never() {
                self.take(message).await?;
            }
            let epoch = status.borrow_and_update().epoch;
            self.reconnected(epoch)?;
            self.check_time()?;
            // Nothing is sent while there is no connection: the client would keep it, and a write
            // could reach the server after this call has answered that it failed.
            let connected = self.bucket.connection().is_up();
            if connected {
                self.send_while_there_is_room().await?;
            }
            if self.flights.is_empty() && self.queue.is_empty() {
                return Ok(());
            }
            let wants_permit = connected && self.permit.is_none() && self.has_room();
            let wake = self.wake(connected);
            tokio::select! {
                biased;
                answer = self.answers.next(), if !self.flights.is_empty() => match answer {
                    Some(message) => self.take(message).await?,
                    // The client is gone; only the end of the process does that.
                    None => return Err(self.bucket.explain(self.deadline)),
                },
                permit = poll_fn(|cx| self.slots.poll_acquire(cx)), if wants_permit => {
                    self.permit = permit;
                }
                Ok(()) = status.changed() => {}
                () = sleep_until(wake) => {}
            }
        }
    }

    /// Whether the next item may be sent as far as this batch goes.
    fn has_room(&self) -> bool {
        self.queue.peek(Instant::now()).is_some_and(|item| {
            self.flights.is_empty()
                || (self.flights.len() < tuning::WINDOW
                    && self.flights.weight() + self.exchange.weight(item) <= tuning::WINDOW_BYTES)
        })
    }

    async fn send_while_there_is_room(&mut self) -> Result<(), Error> {
        while self.has_room() {
            let permit = self.permit.take().or_else(|| {
                // Never jumps the queue: while others wait, there is no free permit.
                Arc::clone(self.bucket.slots()).try_acquire_owned().ok()
            });
            // The permit first: an item that is taken from the queue has to be sent.
            let Some(permit) = permit else {
                break;
            };
            let Some((item, past)) = self.queue.pop(Instant::now()) else {
                break;
            };
            self.send(item, past, permit).await?;
        }
        Ok(())
    }

    async fn send(
        &mut self,
        item: usize,
        past: Option<Past>,
        permit: OwnedSemaphorePermit,
    ) -> Result<(), Error> {
        let Request {
            subject,
            headers,
            payload,
        } = self.exchange.request(item, &self.opened);
        let reply = format!("{}{item}", self.reply_prefix);
        let client = self.bucket.connection().client();
        let sent = timeout_at(self.deadline.settle(), async move {
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
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let reason = error.to_string();
                let what = "a request";
                return self.fail(item, Error::Refused { what, reason });
            }
            // The client's queue is full because the server reads nothing: not sent.
            Err(_) => return self.fail_unsent(item, past, &self.bucket.explain(self.deadline)),
        }
        let sent = Instant::now();
        let flight = Flight {
            _permit: permit,
            past: past.unwrap_or(Past {
                first_sent: sent,
                may_be_done: false,
            }),
            weight: self.exchange.weight(item),
            sent,
            epoch: self.epoch,
            opened: Arc::clone(&self.opened),
        };
        self.flights.launch(item, flight);
        Ok(())
    }

    async fn take(&mut self, message: Message) -> Result<(), Error> {
        let token = message.subject.strip_prefix(self.reply_prefix.as_str());
        let Some(item) = token.and_then(|token| token.parse().ok()) else {
            return Ok(());
        };
        // A second answer, to a request that was sent twice, finds no flight.
        let Some(flight) = self.flights.land(item) else {
            return Ok(());
        };
        if is_no_responders(&message) {
            self.again(item, flight.past, self.backoff)?;
            return self.look_again().await;
        }
        match self.exchange.answer(item, message, &flight.opened) {
            Answer::Done => {
                self.backoff = tuning::BACKOFF.0;
                Ok(())
            }
            Answer::Again => self.again(item, flight.past, self.backoff),
            Answer::Failed(error) => self.fail(item, error),
            Answer::Outdated(error) => {
                // One look serves all that were sent before it.
                let stale = Some(&flight.opened);
                match self.bucket.look_again(stale, self.deadline).await {
                    Ok(opened) if opened.max_message != flight.opened.max_message => {
                        self.opened = opened;
                        self.again(item, flight.past, Duration::ZERO)
                    }
                    Ok(_) | Err(_) => self.fail(item, error),
                }
            }
        }
    }

    /// Queues an item to be sent again after a pause; unless an earlier copy of it may have been
    /// carried out, and a second one could do harm.
    fn again(&mut self, item: usize, past: Past, pause: Duration) -> Result<(), Error> {
        if past.may_be_done
            && !self
                .exchange
                .repeatable(item, past.first_sent, &self.opened)
        {
            let why = Error::Unavailable {
                what: "the server did not answer in time".to_owned(),
                reason: "to send it again could carry it out twice".to_owned(),
            };
            return self.fail(item, self.exchange.unanswered(why));
        }
        self.queue.delay(Delayed {
            due: Instant::now() + pause,
            item,
            past,
        });
        Ok(())
    }

    /// Nobody answers for the stream. If it is gone, so is all that has not been sent; if it is
    /// there, it is without a leader, and what was sent is tried again after a pause.
    async fn look_again(&mut self) -> Result<(), Error> {
        if self
            .looked
            .is_some_and(|looked| looked.elapsed() < self.backoff)
        {
            return Ok(());
        }
        let look = self.bucket.look_again(Some(&self.opened), self.deadline);
        let looked = timeout(tuning::LOOK, look).await;
        self.looked = Some(Instant::now());
        self.backoff = (self.backoff * 2).min(tuning::BACKOFF.1);
        match looked {
            Ok(Ok(opened)) => self.opened = opened,
            Ok(Err(error)) => return self.give_up_unsent(&error),
            // Without a leader, a server may be silent. Answers wait meanwhile.
            Err(_) => {}
        }
        Ok(())
    }

    /// After a reconnect the answers to what was sent before it may never come.
    fn reconnected(&mut self, epoch: u64) -> Result<(), Error> {
        if epoch > self.epoch {
            self.epoch = epoch;
            for item in self.flights.before(epoch) {
                self.send_again(item)?;
            }
        }
        Ok(())
    }

    /// Gives up, or sends again, what has waited too long; and all of it when the time is over.
    fn check_time(&mut self) -> Result<(), Error> {
        if self.refused.is_none() {
            self.refused = self.bucket.refused(self.begun);
        }
        if let Some(refused) = self.refused.clone() {
            self.give_up_unsent(&refused)?;
        }
        let now = Instant::now();
        if now >= self.deadline.settle() {
            self.give_up_unsent(&self.bucket.explain(self.deadline))?;
        }
        if now >= self.deadline.end() {
            let why = self.bucket.explain(self.deadline);
            for item in self.flights.items() {
                self.flights.land(item);
                self.fail(item, self.exchange.unanswered(why.clone()))?;
            }
            return Ok(());
        }
        while now < self.deadline.settle()
            && let Some((sent, item)) = self.flights.oldest()
            && sent + self.deadline.patience() <= now
        {
            self.send_again(item)?;
        }
        Ok(())
    }

    fn send_again(&mut self, item: usize) -> Result<(), Error> {
        let Some(flight) = self.flights.land(item) else {
            return Ok(());
        };
        if let Some(refused) = self.refused.clone() {
            return self.fail(item, self.exchange.unanswered(refused));
        }
        let past = Past {
            may_be_done: true,
            ..flight.past
        };
        self.again(item, past, Duration::ZERO)
    }

    fn give_up_unsent(&mut self, why: &Error) -> Result<(), Error> {
        for (item, past) in self.queue.drain() {
            self.fail_unsent(item, past, why)?;
        }
        Ok(())
    }

    /// Fails an item of which no copy is in flight.
    fn fail_unsent(&mut self, item: usize, past: Option<Past>, why: &Error) -> Result<(), Error> {
        let error = match past {
            Some(past) if past.may_be_done => self.exchange.unanswered(why.clone()),
            _ => why.clone(),
        };
        self.fail(item, error)
    }

    fn fail(&mut self, item: usize, error: Error) -> Result<(), Error> {
        match self.exchange.failed(item, error) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(error) => Err(error),
        }
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
        if let Some((sent, _)) = self.flights.oldest()
            && now < self.deadline.settle()
        {
            wake = wake.min(sent + self.deadline.patience());
        }
        wake
    }
}
