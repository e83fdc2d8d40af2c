//! Sending: a few items at a time, as long as there is room.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Subject;
use async_nats::client::PublishErrorKind;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use super::Run;
use crate::error::Error;
use crate::pipeline::in_flight::{Answers, Attempts, InFlightGroup};
use crate::pipeline::{Operation, Request};
use crate::text::LogText;
use crate::tuning;

/// Why a request was not sent.
enum Unsent {
    Refused(Error),
    /// The client's queue is full because the server reads nothing.
    Late,
    /// The client has ended.
    Ended,
}

impl<X: Operation> Run<'_, X> {
    /// How many items may be sent next as far as this batch goes.
    ///
    /// Not a few as soon as there is room for a few: both sides would spend more on each message.
    pub(super) fn next_burst(&self) -> u32 {
        let all = self.pipeline.len();
        let sent = all - self.queue.fresh().len();
        let slots = self.bucket.concurrency();
        let (window, burst) = match slots.fair_share(sent, all, self.deadline) {
            Some(window) => (window, self.burst.min(window / 2)),
            None => (tuning::WINDOW, self.burst),
        };
        let window = window.saturating_sub(self.in_flight.items());
        let mut weight = self.in_flight.weight();
        let mut count = 0;
        for item in self.queue.due(Instant::now()).take(burst) {
            weight += self.pipeline.weight(item);
            if weight > tuning::WINDOW_BYTES && (count > 0 || !self.in_flight.is_empty()) {
                break;
            }
            count += 1;
        }
        if count <= window {
            u32::try_from(count).unwrap_or(u32::MAX)
        } else {
            0
        }
    }

    pub(super) async fn send_while_there_is_room(&mut self) -> Result<(), Error> {
        loop {
            let count = self.next_burst();
            if count == 0 || self.inbox.has_ended() {
                return Ok(());
            }
            let permits = self.permits.take().or_else(|| {
                // Never jumps the queue: while others wait, there are no free permits.
                let slots = Arc::clone(self.bucket.concurrency().permits());
                slots.try_acquire_many_owned(count).ok()
            });
            // The permits first: an item that is taken from the queue has to be sent.
            let Some(permits) = permits else {
                return Ok(());
            };
            self.send_burst(permits).await?;
        }
    }

    /// Sends as many items as there are permits: each that was sent before by itself, and of the
    /// others those together that may be.
    async fn send_burst(&mut self, mut permits: OwnedSemaphorePermit) -> Result<(), Error> {
        let now = Instant::now();
        while permits.num_permits() > 0 && !self.inbox.has_ended() {
            let (items, past) = match self.queue.pop_again(now) {
                Some(again) => (again.item..again.item + 1, Some(again.past)),
                None => (self.pop_group(permits.num_permits()), None),
            };
            let Some(permits) = permits.split(items.len()).filter(|_| !items.is_empty()) else {
                return Ok(());
            };
            self.send(items, past, permits).await?;
        }
        Ok(())
    }

    /// Takes the next items that go together from the queue, at most so many: if only one, that one.
    fn pop_group(&mut self, max: usize) -> Range<usize> {
        let fresh = self.queue.fresh().take(max);
        let group = fresh.take_while(|&item| self.pipeline.groups(item, &self.info));
        let group = group.count().max(1);
        self.queue.pop_fresh(group)
    }

    pub(super) async fn send(
        &mut self,
        mut items: Range<usize>,
        past: Option<Attempts>,
        permits: OwnedSemaphorePermit,
    ) -> Result<(), Error> {
        let group = self.group_for(&items, past);
        let token = group.unwrap_or(match items.len() {
            1 => items.start,
            _ => self.pipeline.len() + items.start,
        });
        let reply = Subject::from(self.inbox.reply_subject(token));
        let mut failed = Ok(());
        let mut weight = 0;
        for item in items.clone() {
            if let Err(error) = self.publish(item, reply.clone()).await {
                failed = self.unsent(item..items.end, past, error);
                items.end = item;
                break;
            }
            weight += self.pipeline.weight(item);
        }
        if group.is_some() {
            self.in_flight.extend(token, &items, permits, weight);
        } else if !items.is_empty() {
            let flight = InFlightGroup {
                items,
                permits,
                past: past.unwrap_or_else(Attempts::begin),
                weight,
                sent: Instant::now(),
                epoch: self.epoch,
                info: Arc::clone(&self.info),
                answers: Answers::default(),
            };
            self.in_flight.launch(token, flight);
            self.last_launched = token;
        }
        failed
    }

    /// The group under way that these items may join, if they have not been sent before: the one that
    /// was launched last, as long as it is not too large.
    fn group_for(&self, items: &Range<usize>, past: Option<Attempts>) -> Option<usize> {
        let group = self.in_flight.get(self.last_launched)?;
        let joins = past.is_none()
            && group.items.len() > 1
            && group.items.end == items.start
            && group.items.len() + items.len() <= tuning::GROUP
            && group.epoch == self.epoch
            && Arc::ptr_eq(&group.info, &self.info)
            && self.pipeline.groups(items.start, &self.info);
        joins.then_some(self.last_launched)
    }

    /// Deals with items that were to be sent, of which the first was not.
    fn unsent(
        &mut self,
        items: Range<usize>,
        past: Option<Attempts>,
        why: Unsent,
    ) -> Result<(), Error> {
        let item = items.start;
        match (why, past) {
            (Unsent::Ended, None) => {
                self.inbox.end();
                self.queue.put_back(&items);
                Ok(())
            }
            (Unsent::Ended, Some(past)) => {
                self.inbox.end();
                self.again(item, past, Duration::ZERO)
            }
            (Unsent::Refused(error), _) => {
                self.queue.put_back(&(item + 1..items.end));
                self.fail(item, error)
            }
            (Unsent::Late, _) => {
                self.queue.put_back(&(item + 1..items.end));
                self.fail_unsent(item, past, &self.bucket.explain(self.deadline))
            }
        }
    }

    async fn publish(&self, item: usize, reply: Subject) -> Result<(), Unsent> {
        let Request {
            subject,
            headers,
            payload,
        } = self.pipeline.request(item, &self.info);
        let client = self.inbox.client();
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
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if error.kind() == PublishErrorKind::Send => Err(Unsent::Ended),
            Ok(Err(error)) => Err(Unsent::Refused(Error::Refused {
                what: "a request",
                reason: LogText::of_publish(&error),
            })),
            Err(_) => Err(Unsent::Late),
        }
    }
}
