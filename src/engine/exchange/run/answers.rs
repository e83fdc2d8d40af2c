//! Taking answers, and what becomes of the items whose answers are not good.

use std::time::Duration;

use async_nats::Message;
use tokio::time::{Instant, timeout};

use super::Run;
use crate::engine::error::Error;
use crate::engine::exchange::flights::{Answers, Copies, Delayed, Past};
use crate::engine::exchange::{Answer, Exchange};
use crate::engine::message::is_no_responders;
use crate::engine::tuning;

impl<X: Exchange> Run<'_, X> {
    pub(super) async fn take(&mut self, message: Message) -> Result<(), Error> {
        let Some(token) = self.inbox.token_of(&message) else {
            return Ok(());
        };
        // A second answer, to a request that was sent twice, finds no flight.
        let Some(flight) = self.flights.get_mut(token) else {
            return Ok(());
        };
        if flight.items.len() > 1 {
            if is_no_responders(&message) {
                flight.answers.untaken += 1;
            } else if self.exchange.is_done(&message, &flight.opened) {
                flight.answers.done += 1;
            }
            let is_last = flight.outstanding() == 1;
            self.flights.answered(token);
            return if is_last {
                self.land_group(token).await
            } else {
                Ok(())
            };
        }
        let item = flight.items.start;
        let Some(flight) = self.flights.land(token) else {
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
            Answer::Gone => {
                self.again(item, flight.past, self.backoff)?;
                self.look_again().await
            }
            Answer::Outdated(error) => {
                // One look serves all that were sent before it.
                let stale = Some(&flight.opened);
                match self.bucket.look_again(stale, self.deadline).await {
                    Ok(opened) if opened.max_message != flight.opened.max_message => {
                        self.opened = opened;
                        let past = match flight.past.copies {
                            // It was not: the server would have known this copy again.
                            Copies::DoneOrNot => flight.past.with(Copies::NotDone),
                            Copies::NotDone | Copies::Unanswered => flight.past,
                        };
                        self.again(item, past, Duration::ZERO)
                    }
                    Ok(_) | Err(_) => self.fail(item, error),
                }
            }
        }
    }

    /// Has taken all the answers to a group. If they are not all good, each item is sent by itself.
    async fn land_group(&mut self, token: usize) -> Result<(), Error> {
        let Some(flight) = self.flights.land(token) else {
            return Ok(());
        };
        let Answers { all, done, untaken } = flight.answers;
        if done == all {
            self.backoff = tuning::BACKOFF.0;
            return Ok(());
        }
        let past = if untaken == all {
            flight.past
        } else {
            flight.past.with(Copies::DoneOrNot)
        };
        let pause = match untaken {
            0 => Duration::ZERO,
            _ => self.backoff,
        };
        for item in flight.items {
            self.again(item, past, pause)?;
        }
        if untaken > 0 {
            self.look_again().await?;
        }
        Ok(())
    }

    /// Queues an item to be sent again after a pause; unless an earlier copy of it may have been
    /// carried out, and a second one could do harm.
    pub(super) fn again(&mut self, item: usize, past: Past, pause: Duration) -> Result<(), Error> {
        if past.may_be_done()
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
}
