//! Runs the calls: many at once, within a bound, and to their end when the provider stops.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _};
use lattice_nats::{Client, Message, UnsubscribeError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::endpoint::{Endpoint, Lattice};
use crate::{atomics, batch, eventual_batch, store};
use eventual_batch_links::Links;

/// Invocations under way in this process, at most. Those that come while it is full wait in their
/// subscriptions, which the client bounds in turn.
const MAX_INVOCATIONS: usize = 16_384;

/// How long calls under way may take to end when the provider stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// How many more invocations of a endpoint are taken when the provider stops, and for how long.
///
/// The server counts them as well and sends no more, so that none is lost between the last that is
/// taken and the end of the subscription. Where calls are so rare that the number is not reached in
/// time, the subscription just ends.
const LAST_INVOCATIONS: (u64, Duration) = (32, Duration::from_secs(1));

/// How long the lattice's server may take to answer a message of this process to itself.
const ROUND_TRIP_TIMEOUT: Duration = Duration::from_secs(5);

/// Stops the serving, and tells when it has stopped. Clones are handles of the same serving.
#[derive(Clone, Debug)]
pub struct Serving {
    stop: CancellationToken,
    calls: TaskTracker,
    slots: Arc<Semaphore>,
}

impl Default for Serving {
    fn default() -> Self {
        Self {
            stop: CancellationToken::new(),
            calls: TaskTracker::new(),
            slots: Arc::new(Semaphore::new(MAX_INVOCATIONS)),
        }
    }
}

impl Serving {
    /// Subscribes to the invocations of all interfaces, and serves them in the background.
    ///
    /// # Errors
    ///
    /// The lattice did not take a subscription.
    pub async fn start(&self, lattice: &Lattice, links: &Arc<Links>) -> anyhow::Result<()> {
        let mut endpoints = eventual_batch::endpoints(lattice, links).await?;
        endpoints.extend(batch::endpoints(lattice, links).await?);
        endpoints.extend(store::endpoints(lattice, links).await?);
        endpoints.extend(atomics::endpoints(lattice, links).await?);
        for endpoint in endpoints {
            self.calls
                .spawn(accept(endpoint, lattice.nats.clone(), self.clone()));
        }
        Ok(())
    }

    /// Takes no more calls, and waits until those under way are answered, or have had
    /// 30 s to be.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.calls.close();
        if timeout(DRAIN_TIMEOUT, self.calls.wait()).await.is_err() {
            let unanswered = self.calls.len();
            warn!(unanswered, "stopped before all calls were answered");
        } else {
            info!("all calls that were under way are answered");
        }
    }
}

/// Takes a function's invocations until the provider stops, and then those that the server has sent
/// to this process: they were taken from the other instances, so nobody else would answer them.
async fn accept(mut endpoint: Endpoint, nats: Client, serving: Serving) {
    let mut accepted = Accepted::new(&mut endpoint, &serving);
    tokio::select! {
        () = accepted.all() => return,
        () = serving.stop.cancelled() => {}
    }
    round_trip(&nats).await;
    accepted.those_here().await;
    let (more, time) = LAST_INVOCATIONS;
    if accepted.end_after(more).await.is_ok() && timeout(time, accepted.all()).await.is_err() {
        round_trip(&nats).await;
        accepted.those_here().await;
    }
}

/// The invocations of one endpoint, which are answered in the background.
struct Accepted<'a> {
    endpoint: &'a mut Endpoint,
    serving: &'a Serving,
    count: u64,
}

impl<'a> Accepted<'a> {
    fn new(endpoint: &'a mut Endpoint, serving: &'a Serving) -> Self {
        Self {
            endpoint,
            serving,
            count: 0,
        }
    }

    /// Takes invocations until the subscription ends. May be dropped between any two.
    async fn all(&mut self) {
        while let Some(slot) = self.slot().await
            && let Some(message) = self.endpoint.invocations.next().await
        {
            self.answer(message, slot);
        }
    }

    /// Takes the invocations that have been received.
    async fn those_here(&mut self) {
        while let Some(slot) = self.slot().await
            && let Some(Some(message)) = self.endpoint.invocations.next().now_or_never()
        {
            self.answer(message, slot);
        }
    }

    /// Has the server end the subscription after some more invocations.
    async fn end_after(&mut self, more: u64) -> Result<(), UnsubscribeError> {
        let all = self.count + more;
        self.endpoint.invocations.unsubscribe_after(all).await
    }

    async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.serving.slots).acquire_owned().await.ok()
    }

    fn answer(&mut self, message: Message, slot: OwnedSemaphorePermit) {
        self.count += 1;
        let answer = (self.endpoint.answer)(message);
        self.serving.calls.spawn(async move {
            if let Err(error) = answer.await {
                debug!(%error, "an invocation was not answered");
            }
            drop(slot);
        });
    }
}

/// When this message of its own is back, the process has received all that was sent to it before.
async fn round_trip(nats: &Client) {
    let trip = async {
        let inbox = nats.new_inbox();
        let mut back = nats.subscribe(inbox.clone()).await.ok()?;
        nats.publish(inbox, Bytes::new()).await.ok()?;
        back.next().await
    };
    if timeout(ROUND_TRIP_TIMEOUT, trip).await.is_err() {
        warn!("the lattice is slow; calls sent to this process may stay unanswered");
    }
}
