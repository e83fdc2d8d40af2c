//! Runs the calls: many at once, within a bound, and to their end when the provider stops.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _};
use lattice_nats::connection::State;
use lattice_nats::{Client, Message, UnsubscribeError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::unconstrained;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info, warn};

use crate::lattice::{self, LatticeLogin};
use crate::wrpc::{Endpoint, EndpointContext, LoadLimits, OutgoingCalls};
use crate::{atomic, atomics, batch, eventual_batch, store};
use eventual_batch_links::Links;

/// How long the provider may take to stop: to end the calls under way, and to send the answers.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// On stop, the server is asked to end each subscription after this many more messages (`UNSUB`
/// with a maximum). Server and client count alike, so no message is lost.
const LAST_INVOCATIONS: u64 = 32;

/// How long those are waited for. Where calls are so rare that fewer come in this time, the
/// subscription just ends.
const LAST_INVOCATIONS_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs calls, and drains them on stop. Clones are handles of the same serving.
#[derive(Clone, Debug)]
pub(crate) struct Serving {
    stop: CancellationToken,
    /// The tasks that take invocations. They begin the calls.
    intakes: TaskTracker,
    calls: TaskTracker,
    limits: LoadLimits,
    /// The client over which calls come now.
    client: Arc<watch::Sender<Option<Client>>>,
    outgoing: OutgoingCalls,
}

impl Serving {
    /// A `Serving` that serves nothing yet. All answers together take at most this many bytes of
    /// memory.
    pub(crate) fn new(max_response_bytes: usize) -> Self {
        let client = Arc::<watch::Sender<Option<Client>>>::default();
        Self {
            stop: CancellationToken::new(),
            intakes: TaskTracker::new(),
            calls: TaskTracker::new(),
            limits: LoadLimits::new(max_response_bytes),
            outgoing: OutgoingCalls::new(client.subscribe()),
            client,
        }
    }

    /// The calls of the provider itself.
    pub(crate) fn outgoing(&self) -> OutgoingCalls {
        self.outgoing.clone()
    }

    /// Subscribes to the invocations of all interfaces, and serves them in the background, over
    /// another client whenever one has ended.
    ///
    /// # Errors
    ///
    /// The connection to the lattice's NATS is closed or failed, or the lattice did not take a
    /// subscription.
    pub(crate) async fn start(
        &self,
        login: LatticeLogin,
        prefix: Arc<str>,
        links: Arc<Links>,
    ) -> anyhow::Result<()> {
        let mut context = EndpointContext {
            nats: login.connect().await?,
            prefix,
            links,
            limits: self.limits.clone(),
            unresponsive: Arc::default(),
        };
        let mut ended = self.serve(&context).await?.boxed();
        let serving = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = serving.stop.cancelled() => return,
                    () = ended => {}
                }
                error!(
                    "the lattice's client has ended, as it does over a message that it cannot parse; \
                     the calls that came over it stay unanswered; another one takes its place"
                );
                ended = loop {
                    context.nats = tokio::select! {
                        () = serving.stop.cancelled() => return,
                        client = login.connect_again() => client,
                    };
                    match serving.serve(&context).await {
                        Ok(ended) => break ended.boxed(),
                        Err(error) => warn!(error = format!("{error:#}"), "cannot serve calls"),
                    }
                };
            }
        });
        Ok(())
    }

    /// Serves the calls that come over this client, and returns what waits for its end.
    async fn serve(
        &self,
        context: &EndpointContext,
    ) -> anyhow::Result<impl Future<Output = ()> + Send + use<>> {
        let subscribed = timeout(lattice::REQUEST_TIMEOUT, subscribe(context)).await;
        let endpoints = subscribed.context("the lattice did not answer in time")??;
        let ended = lattice::watch_end(&context.nats).await?;
        for endpoint in endpoints {
            let intake = take_invocations(endpoint, context.nats.clone(), self.clone());
            self.intakes.spawn(intake);
        }
        self.client.send_replace(Some(context.nats.clone()));
        Ok(ended)
    }

    /// Takes no more calls, waits until those under way are answered, and hands the answers to the
    /// network. All of it takes 30 s at most.
    pub(crate) async fn stop(&self) {
        let end = Instant::now() + DRAIN_TIMEOUT;
        self.stop.cancel();
        self.intakes.close();
        self.calls.close();
        let calls_end = end - lattice::REQUEST_TIMEOUT;
        let _ = timeout_at(calls_end, async {
            self.intakes.wait().await;
            self.calls.wait().await;
        })
        .await;
        match self.calls.len() {
            0 => info!("all calls that were under way are answered"),
            unanswered => warn!(unanswered, "stopped before all calls were answered"),
        }
        let client = self.client.borrow().clone();
        let Some(client) = client else {
            return;
        };
        if let Err(error) = flush(&client).await {
            let error = format!("{error:#}");
            warn!(error, "the last answers may not have been sent");
        }
    }
}

async fn subscribe(context: &EndpointContext) -> anyhow::Result<Vec<Endpoint>> {
    let mut endpoints = eventual_batch::endpoints(context).await?;
    endpoints.extend(batch::endpoints(context).await?);
    endpoints.extend(store::endpoints(context).await?);
    endpoints.extend(atomics::endpoints(context).await?);
    endpoints.extend(atomic::endpoints(context).await?);
    let flushed = context.nats.flush().await;
    flushed.context("failed to reach the lattice")?;
    Ok(endpoints)
}

async fn flush(client: &Client) -> anyhow::Result<()> {
    if !is_up(client) {
        anyhow::bail!("the lattice is not connected");
    }
    lattice::flush(client).await
}

fn is_up(client: &Client) -> bool {
    client.connection_state() == State::Connected
}

/// Takes a function's invocations until the provider stops, and then those that the server has
/// already sent. Each invocation goes to one instance of the queue group, so no other instance
/// answers those.
async fn take_invocations(mut endpoint: Endpoint, nats: Client, serving: Serving) {
    let mut intake = Intake::new(&mut endpoint, &serving);
    tokio::select! {
        () = intake.take_until_end() => return,
        () = serving.stop.cancelled() => {}
    }
    if is_up(&nats) {
        intake.drain(&nats).await;
    } else {
        // Nothing comes any more.
        intake.take_buffered().await;
    }
}

/// Takes the invocations of one endpoint. They are answered in the background.
struct Intake<'a> {
    endpoint: &'a mut Endpoint,
    serving: &'a Serving,
    count: u64,
}

impl<'a> Intake<'a> {
    fn new(endpoint: &'a mut Endpoint, serving: &'a Serving) -> Self {
        Self {
            endpoint,
            serving,
            count: 0,
        }
    }

    /// Takes what the server has sent to this process, and ends the subscription.
    async fn drain(&mut self, nats: &Client) {
        // Takes what the server has already sent.
        round_trip(nats).await;
        self.take_buffered().await;
        // Has the server end the subscription after some more invocations, and takes those.
        if self.end_after(LAST_INVOCATIONS).await.is_ok()
            && timeout(LAST_INVOCATIONS_TIMEOUT, self.take_until_end())
                .await
                .is_err()
        {
            // Fewer came in time. Takes what the server has sent meanwhile.
            round_trip(nats).await;
            self.take_buffered().await;
        }
    }

    /// Takes invocations until the subscription ends. Cancel safe: no invocation is lost.
    async fn take_until_end(&mut self) {
        while let Some(permit) = self.permit().await
            && let Some(message) = self.endpoint.invocations.next().await
        {
            self.spawn_call(message, permit);
        }
    }

    /// Takes the invocations that have been received.
    async fn take_buffered(&mut self) {
        // Without tokio's budget, which would end this loop after some 128 invocations.
        while let Some(permit) = self.permit().await
            && let Some(Some(message)) =
                unconstrained(self.endpoint.invocations.next()).now_or_never()
        {
            self.spawn_call(message, permit);
        }
    }

    /// Has the server end the subscription after some more invocations.
    async fn end_after(&mut self, more: u64) -> Result<(), UnsubscribeError> {
        // The maximum of `UNSUB` counts from the subscription's beginning.
        let all = self.count + more;
        self.endpoint.invocations.unsubscribe_after(all).await
    }

    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        let invocations: &Arc<Semaphore> = &self.serving.limits.invocations;
        Arc::clone(invocations).acquire_owned().await.ok()
    }

    fn spawn_call(&mut self, message: Message, permit: OwnedSemaphorePermit) {
        self.count += 1;
        let handling = (self.endpoint.handle)(message);
        self.serving.calls.spawn(async move {
            if let Err(error) = handling.await {
                debug!(%error, "an invocation was not answered");
            }
            drop(permit);
        });
    }
}

/// Sends itself a message and awaits it. Everything that was sent to the process earlier has then
/// arrived.
async fn round_trip(nats: &Client) {
    let trip = async {
        let inbox = nats.new_inbox();
        let mut back = nats.subscribe(inbox.clone()).await.ok()?;
        nats.publish(inbox, Bytes::new()).await.ok()?;
        back.next().await
    };
    if timeout(lattice::REQUEST_TIMEOUT, trip).await.is_err() {
        warn!("the lattice is slow; calls sent to this process may stay unanswered");
    }
}
