//! Taking answers, and what becomes of the items whose answers are not good.

use std::time::Duration;

use async_nats::Message;
use tokio::time::{Instant, timeout};

use super::Run;
use crate::error::Error;
use crate::message::is_no_responders;
use crate::pipeline::in_flight::{Answers, Attempts, Delayed, EarlierAttempts};
use crate::pipeline::{Answer, Operation};
use crate::tuning;

impl<X: Operation> Run<'_, X> {
    pub(super) async fn take(&mut self, message: Message) -> Result<(), Error> {
        let Some(token) = self.inbox.token_of(&message) else {
            return Ok(());
        };
        // A second answer, to a request that was sent twice, finds no flight.
        let Some(flight) = self.in_flight.get_mut(token) else {
            return Ok(());
        };
        if flight.items.len() > 1 {
            if is_no_responders(&message) {
                flight.answers.untaken += 1;
            } else if self.pipeline.is_done(&message, &flight.info) {
                flight.answers.done += 1;
            }
            let is_last = flight.outstanding() == 1;
            self.in_flight.answered(token);
            return if is_last {
                self.land_group(token).await
            } else {
                Ok(())
            };
        }
        let item = flight.items.start;
        let Some(flight) = self.in_flight.land(token) else {
            return Ok(());
        };
        if is_no_responders(&message) {
            self.again(item, flight.past, self.backoff)?;
            return self.refresh_stream_info().await;
        }
        match self.pipeline.answer(item, message, &flight.info) {
            Answer::Done => {
                self.backoff = tuning::BACKOFF.0;
                Ok(())
            }
            Answer::Again => self.again(item, flight.past, self.backoff),
            Answer::Failed(error) => self.fail(item, error),
            Answer::Gone => {
                self.again(item, flight.past, self.backoff)?;
                self.refresh_stream_info().await
            }
            Answer::Outdated(error) => {
                // One look serves all that were sent before it.
                let stale = Some(&flight.info);
                match self.bucket.refresh_stream_info(stale, self.deadline).await {
                    Ok(info) if info.max_message != flight.info.max_message => {
                        self.info = info;
                        let past = match flight.past.copies {
                            // It was not: the server would have known this copy again.
                            EarlierAttempts::DoneOrNot => {
                                flight.past.with(EarlierAttempts::NotDone)
                            }
                            EarlierAttempts::NotDone | EarlierAttempts::Unanswered => flight.past,
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
        let Some(flight) = self.in_flight.land(token) else {
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
            flight.past.with(EarlierAttempts::DoneOrNot)
        };
        let pause = match untaken {
            0 => Duration::ZERO,
            _ => self.backoff,
        };
        for item in flight.items {
            self.again(item, past, pause)?;
        }
        if untaken > 0 {
            self.refresh_stream_info().await?;
        }
        Ok(())
    }

    /// Queues an item to be sent again after a pause; unless an earlier copy of it may have been
    /// carried out, and a second one could do harm.
    pub(super) fn again(
        &mut self,
        item: usize,
        past: Attempts,
        pause: Duration,
    ) -> Result<(), Error> {
        if past.may_be_done() && !self.pipeline.repeatable(item, past.first_sent, &self.info) {
            return self.fail(item, self.pipeline.unanswered(Error::NotRepeated));
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
    async fn refresh_stream_info(&mut self) -> Result<(), Error> {
        if self
            .looked
            .is_some_and(|looked| looked.elapsed() < self.backoff)
        {
            return Ok(());
        }
        let look = self
            .bucket
            .refresh_stream_info(Some(&self.info), self.deadline);
        let looked = timeout(tuning::LOOK, look).await;
        self.looked = Some(Instant::now());
        self.backoff = (self.backoff * 2).min(tuning::BACKOFF.1);
        match looked {
            Ok(Ok(info)) => self.info = info,
            Ok(Err(error)) => return self.give_up_unsent(&error),
            // Without a leader, a server may be silent. Answers wait meanwhile.
            Err(_) => {}
        }
        Ok(())
    }
}
