//! What the server does not let this login do: it says so apart from the request that it refuses,
//! which stays unanswered.

use tokio::time::Instant;

use super::Run;
use crate::error::Error;
use crate::pipeline::in_flight::EarlierAttempts;
use crate::pipeline::{Operation, Request};

impl<X: Operation> Run<'_, X> {
    /// Fails the items in flight whose subjects the server has refused, and sends no more: what it
    /// refuses one of them it is likely to refuse all. Another call's refusal is none of this one's
    /// business.
    pub(super) async fn take_refusals(&mut self) -> Result<(), Error> {
        let since = std::mem::replace(&mut self.checked, Instant::now());
        let connection = self.bucket.connection();
        if connection.refused(since, |_| true).is_some() {
            let deaf = connection.refused(since, |_| false);
            for token in self.in_flight.tokens() {
                match &deaf {
                    Some(deaf) => {
                        self.refused = Some(deaf.clone());
                        self.give_up(token, deaf)?;
                    }
                    None => self.take_refusals_of(token, since).await?,
                }
            }
        }
        match self.refused.clone() {
            Some(refused) => self.give_up_unsent(&refused),
            None => Ok(()),
        }
    }

    /// Fails those of a flight's items that were refused. If others are with them in a group, each
    /// is sent by itself: that the group stays short of answers says nothing of them.
    async fn take_refusals_of(&mut self, token: usize, since: Instant) -> Result<(), Error> {
        let Some(flight) = self.in_flight.get_mut(token) else {
            return Ok(());
        };
        let connection = self.bucket.connection();
        let refusal = |item| {
            let Request { subject, .. } = self.pipeline.request(item, &self.info);
            connection.refused(since, |it| it == subject)
        };
        let refusals: Vec<_> = flight.items.clone().map(refusal).collect();
        let Some(refused) = refusals.iter().flatten().next() else {
            return Ok(());
        };
        self.refused = Some(refused.clone());
        let Some(mut flight) = self.in_flight.land(token) else {
            return Ok(());
        };
        let past = flight.past.with(EarlierAttempts::Unanswered);
        for (item, refused) in flight.items.zip(refusals) {
            // Those that were answered have given their permits back, and go once more without: the
            // queue is not for them, as it is given up.
            let permit = flight.permits.split(1);
            let permit = permit.or_else(|| flight.permits.split(0));
            if let Some(refused) = refused {
                self.fail(item, refused)?;
            } else if let Some(permit) = permit {
                self.send(item..item + 1, Some(past), permit).await?;
            }
        }
        Ok(())
    }
}
