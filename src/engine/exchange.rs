//! Many requests on one inbox: the way single-key reads and all writes go to the server.
//!
//! One subscription serves a whole batch; a request's place in the batch is the last token of its
//! reply subject. There is no task for a key: one loop sends while there is room, takes answers,
//! and sends again what stayed unanswered. When it is dropped, the subscription ends with it.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use async_nats::header::HeaderMap;
use async_nats::{Message, Subscriber};
use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::PollSemaphore;

use super::bucket::Bucket;
use super::deadline::Deadline;
use super::error::Error;
use super::message::is_no_responders;
use super::open::Opened;
use super::tuning;

/// One request, without its reply subject.
pub(super) struct Request {
    pub(super) subject: String,
    pub(super) headers: Option<HeaderMap>,
    pub(super) payload: Bytes,
}

/// What an answer means.
pub(super) enum Answer {
    /// The item is done.
    Done,
    /// Ask again after a pause.
    Again,
    /// The item failed.
    Failed(Error),
}

/// A batch of items, each one request and one answer.
pub(super) trait Exchange {
    /// How many items there are.
    fn len(&self) -> usize;

    /// About how many bytes of values the item keeps in flight.
    fn weight(&self, item: usize) -> usize;

    fn request(&self, item: usize, opened: &Opened) -> Request;

    fn answer(&mut self, item: usize, message: Message) -> Answer;

    /// Whether an item first sent at `sent`, and unanswered, may be sent again.
    fn repeatable(&self, item: usize, sent: Instant, opened: &Opened) -> bool;

    /// Takes note that an item failed. `Break` gives the whole batch up, with that error.
    fn failed(&mut self, item: usize, error: Error) -> ControlFlow<Error>;
}

/// Carries the batch out. Items that fail are told to the exchange.
///
/// # Errors
///
/// What the exchange breaks off with, or why the bucket could not be opened.
pub(super) async fn run(
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
    let answers = client
        .subscribe(format!("{inbox}.*"))
        .await
        .map_err(|_| bucket.connection().explain(deadline))?;
    let mut run = Run {
        bucket,
        deadline,
        opened,
        slots: PollSemaphore::new(Arc::clone(bucket.slots())),
        permit: None,
        answers,
        reply_prefix: format!("{inbox}."),
        next: 0,
        flights: HashMap::new(),
        sent_order: VecDeque::new(),
        delayed: VecDeque::new(),
        backoff: tuning::BACKOFF.0,
        looked: None,
        weight: 0,
        epoch: 0,
    };
    run.drive(exchange).await
}

/// A request that has been sent and not answered.
struct Flight {
    /// Given back when the answer is in.
    _permit: OwnedSemaphorePermit,
    weight: usize,
    /// When it was sent last; tells an entry of `sent_order` from an older one.
    sent: Instant,
    first_sent: Instant,
    epoch: u64,
}

/// An item to be sent again.
struct Delayed {
    due: Instant,
    item: usize,
    first_sent: Instant,
}

struct Run<'a> {
    bucket: &'a Bucket,
    deadline: &'a Deadline,
    opened: Arc<Opened>,
    slots: PollSemaphore,
    /// A permit in hand for the next request.
    permit: Option<OwnedSemaphorePermit>,
    answers: Subscriber,
    reply_prefix: String,
    /// The first item that has not been sent yet.
    next: usize,
    flights: HashMap<usize, Flight>,
    /// What was sent when, oldest first; entries of answered requests are skipped.
    sent_order: VecDeque<(Instant, usize)>,
    delayed: VecDeque<Delayed>,
    backoff: Duration,
    /// When the bucket was last looked at again: one look serves all that found no responder.
    looked: Option<Instant>,
    weight: usize,
    epoch: u64,
}

impl Run<'_> {
    async fn drive(&mut self, exchange: &mut impl Exchange) -> Result<(), Error> {
        let mut status = self.bucket.connection().status();
        loop {
            let (connected, epoch) = {
                let status = status.borrow_and_update();
                (status.connected, status.epoch)
            };
            self.reconnected(epoch, exchange)?;
            let now = Instant::now();
            if now >= self.deadline.settle() {
                self.give_up_unsent(exchange)?;
            }
            if now >= self.deadline.end() {
                self.give_up_unanswered(exchange)?;
            }
            // Nothing is sent while there is no connection: the client would keep it, and a write
            // could reach the server after this call has answered that it failed.
            if connected {
                self.send_while_there_is_room(exchange, now).await?;
            }
            if self.finished(exchange) {
                return Ok(());
            }
            let wants_permit = connected
                && self.permit.is_none()
                && self.has_room(exchange, self.due(now, exchange));
            let wake = self.wake(exchange);
            tokio::select! {
                biased;
                answer = self.answers.next(), if !self.flights.is_empty() => match answer {
                    Some(message) => self.take(exchange, message).await?,
                    // The client is gone; only the end of the process does that.
                    None => return Err(self.bucket.connection().explain(self.deadline)),
                },
                permit = poll_fn(|cx| self.slots.poll_acquire(cx)), if wants_permit => {
                    self.permit = permit;
                }
                Ok(()) = status.changed() => {}
                () = sleep_until(wake) => self.expire(exchange)?,
            }
        }
    }

    fn finished(&self, exchange: &impl Exchange) -> bool {
        self.flights.is_empty() && self.delayed.is_empty() && self.next >= exchange.len()
    }

    /// The item to send next, if there is one.
    fn due(&self, now: Instant, exchange: &impl Exchange) -> Option<usize> {
        match self.delayed.front() {
            Some(delayed) if delayed.due <= now => Some(delayed.item),
            _ => (self.next < exchange.len()).then_some(self.next),
        }
    }

    fn has_room(&self, exchange: &impl Exchange, item: Option<usize>) -> bool {
        item.is_some_and(|item| {
            self.flights.is_empty()
                || (self.flights.len() < tuning::WINDOW
                    && self.weight + exchange.weight(item) <= tuning::WINDOW_BYTES)
        })
    }

    async fn send_while_there_is_room(
        &mut self,
        exchange: &mut impl Exchange,
        now: Instant,
    ) -> Result<(), Error> {
        while let Some(item) = self.due(now, exchange) {
            if !self.has_room(exchange, Some(item)) {
                break;
            }
            let permit = self.permit.take().or_else(|| {
                // Never jumps the queue: while others wait, there is no free permit.
                Arc::clone(self.bucket.slots()).try_acquire_owned().ok()
            });
            let Some(permit) = permit else { break };
            let first_sent = if self.next == item {
                self.next += 1;
                now
            } else {
                self.delayed
                    .pop_front()
                    .map_or(now, |delayed| delayed.first_sent)
            };
            self.send(exchange, item, permit, first_sent).await?;
        }
        Ok(())
    }

    async fn send(
        &mut self,
        exchange: &mut impl Exchange,
        item: usize,
        permit: OwnedSemaphorePermit,
        first_sent: Instant,
    ) -> Result<(), Error> {
        let Request {
            subject,
            headers,
            payload,
        } = exchange.request(item, &self.opened);
        let reply = format!("{}{item}", self.reply_prefix);
        let client = self.bucket.connection().client();
        let sent = match headers {
            Some(headers) => {
                client
                    .publish_with_reply_and_headers(subject, reply, headers, payload)
                    .await
            }
            None => client.publish_with_reply(subject, reply, payload).await,
        };
        if let Err(error) = sent {
            return fail(
                exchange,
                item,
                Error::Refused {
                    what: "a request",
                    reason: error.to_string(),
                },
            );
        }
        let weight = exchange.weight(item);
        let sent = Instant::now();
        self.weight += weight;
        self.sent_order.push_back((sent, item));
        self.flights.insert(
            item,
            Flight {
                _permit: permit,
                weight,
                sent,
                first_sent,
                epoch: self.epoch,
            },
        );
        Ok(())
    }

    /// Takes an answer, and those that are there already.
    async fn take(&mut self, exchange: &mut impl Exchange, message: Message) -> Result<(), Error> {
        let mut next = Some(message);
        while let Some(message) = next {
            self.take_one(exchange, message).await?;
            next = self.answers.next().now_or_never().flatten();
        }
        Ok(())
    }

    async fn take_one(
        &mut self,
        exchange: &mut impl Exchange,
        message: Message,
    ) -> Result<(), Error> {
        let token = message.subject.strip_prefix(self.reply_prefix.as_str());
        let Some(item) = token.and_then(|token| token.parse::<usize>().ok()) else {
            return Ok(());
        };
        // A second answer, to a request that was sent twice, finds no flight.
        let Some(flight) = self.land(item) else {
            return Ok(());
        };
        if is_no_responders(&message) {
            self.delay(item, flight.first_sent);
            return self.look_again(exchange).await;
        }
        match exchange.answer(item, message) {
            Answer::Done => {
                self.backoff = tuning::BACKOFF.0;
                Ok(())
            }
            Answer::Again => {
                self.delay(item, flight.first_sent);
                Ok(())
            }
            Answer::Failed(error) => fail(exchange, item, error),
        }
    }

    fn land(&mut self, item: usize) -> Option<Flight> {
        let flight = self.flights.remove(&item)?;
        self.weight -= flight.weight;
        Some(flight)
    }

    fn delay(&mut self, item: usize, first_sent: Instant) {
        self.delayed.push_back(Delayed {
            due: Instant::now() + self.backoff,
            item,
            first_sent,
        });
    }

    /// Nobody answers for the stream. If it is gone, so is all that has not been sent; if it is
    /// there, it is without a leader, and what was sent is tried again after a pause.
    async fn look_again(&mut self, exchange: &mut impl Exchange) -> Result<(), Error> {
        if self
            .looked
            .is_some_and(|looked| looked.elapsed() < self.backoff)
        {
            return Ok(());
        }
        let looked = self
            .bucket
            .look_again(Some(&self.opened), self.deadline)
            .await;
        self.looked = Some(Instant::now());
        match looked {
            Ok(opened) => {
                self.opened = opened;
                self.backoff = (self.backoff * 2).min(tuning::BACKOFF.1);
                Ok(())
            }
            Err(error) => {
                for item in self.take_unsent(exchange) {
                    fail(exchange, item, error.clone())?;
                }
                Ok(())
            }
        }
    }

    /// After a reconnect the answers to what was sent before it may never come.
    fn reconnected(&mut self, epoch: u64, exchange: &mut impl Exchange) -> Result<(), Error> {
        if epoch == self.epoch {
            return Ok(());
        }
        self.epoch = epoch;
        let lost: Vec<usize> = self
            .flights
            .iter()
            .filter(|(_, flight)| flight.epoch < epoch)
            .map(|(&item, _)| item)
            .collect();
        for item in lost {
            self.repeat_or_fail(exchange, item)?;
        }
        Ok(())
    }

    /// Sends again what has waited too long for its answer.
    fn expire(&mut self, exchange: &mut impl Exchange) -> Result<(), Error> {
        let now = Instant::now();
        let patience = self.deadline.patience();
        while let Some(&(sent, item)) = self.sent_order.front() {
            if self
                .flights
                .get(&item)
                .is_none_or(|flight| flight.sent != sent)
            {
                self.sent_order.pop_front();
            } else if sent + patience <= now && now < self.deadline.settle() {
                self.sent_order.pop_front();
                self.repeat_or_fail(exchange, item)?;
            } else {
                break;
            }
        }
        Ok(())
    }

    fn repeat_or_fail(&mut self, exchange: &mut impl Exchange, item: usize) -> Result<(), Error> {
        let Some(flight) = self.land(item) else {
            return Ok(());
        };
        if exchange.repeatable(item, flight.first_sent, &self.opened) {
            self.delayed.push_back(Delayed {
                due: Instant::now(),
                item,
                first_sent: flight.first_sent,
            });
            return Ok(());
        }
        let error = Error::Unavailable {
            what: "the write was sent and not acknowledged, so it may or may not be in the bucket"
                .to_owned(),
            reason: "it cannot be sent again without the risk of writing it twice".to_owned(),
        };
        fail(exchange, item, error)
    }

    fn give_up_unsent(&mut self, exchange: &mut impl Exchange) -> Result<(), Error> {
        for item in self.take_unsent(exchange) {
            let error = self.bucket.connection().explain(self.deadline);
            fail(exchange, item, error)?;
        }
        Ok(())
    }

    fn give_up_unanswered(&mut self, exchange: &mut impl Exchange) -> Result<(), Error> {
        let unanswered: Vec<usize> = self.flights.keys().copied().collect();
        for item in unanswered {
            self.land(item);
            let error = self.bucket.connection().explain(self.deadline);
            fail(exchange, item, error)?;
        }
        Ok(())
    }

    fn take_unsent(&mut self, exchange: &impl Exchange) -> Vec<usize> {
        let delayed = self.delayed.drain(..).map(|delayed| delayed.item);
        let unsent = delayed.chain(self.next..exchange.len()).collect();
        self.next = exchange.len();
        unsent
    }

    /// When to look at the clock again if nothing happens.
    fn wake(&self, exchange: &impl Exchange) -> Instant {
        let limit = if self.next < exchange.len() || !self.delayed.is_empty() {
            self.deadline.settle()
        } else {
            self.deadline.end()
        };
        let now = Instant::now();
        let expiry = self
            .sent_order
            .front()
            .map(|(sent, _)| *sent + self.deadline.patience())
            .filter(|_| now < self.deadline.settle());
        let due = self
            .delayed
            .front()
            .map(|delayed| delayed.due)
            .filter(|due| *due > now);
        [expiry, due]
            .into_iter()
            .flatten()
            .fold(limit, Instant::min)
    }
}

fn fail(exchange: &mut impl Exchange, item: usize, error: Error) -> Result<(), Error> {
    match exchange.failed(item, error) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}
