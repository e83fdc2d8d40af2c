//! Runs the calls: many at once, within a bound, and to their end when the provider stops.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::select_all;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use wrpc_transport_nats::Client;

use super::function::Invocations;
use super::{batch, eventual_batch};
use crate::links::Links;

/// Invocations under way in this process, at most. Those that come while it is full wait in their
/// subscriptions, which NATS bounds in turn.
const MAX_INVOCATIONS: usize = 16_384;

/// How long calls under way may take to end when the provider stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Stops the serving, and tells when it has stopped. Clones are handles of the same serving.
#[derive(Clone, Debug, Default)]
pub struct Serving {
    stop: CancellationToken,
    stopped: CancellationToken,
}

impl Serving {
    /// Subscribes to the invocations of both interfaces, and serves them in the background.
    ///
    /// # Errors
    ///
    /// The lattice did not take a subscription.
    pub async fn start(&self, wrpc: &Client, links: &Arc<Links>) -> anyhow::Result<()> {
        let mut functions = eventual_batch::functions(wrpc, links).await?;
        functions.extend(batch::functions(wrpc, links).await?);
        let serving = self.clone();
        tokio::spawn(async move {
            run(functions, serving.stop).await;
            serving.stopped.cancel();
        });
        Ok(())
    }

    /// Takes no more calls, and waits until those under way are answered, or have had
    /// [`DRAIN_TIMEOUT`] to be.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.stopped.cancelled().await;
    }
}

async fn run(functions: Vec<Invocations>, stop: CancellationToken) {
    let mut invocations = select_all(functions);
    let mut calls = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(ended) = calls.join_next() => report(ended),
            invocation = invocations.next(), if calls.len() < MAX_INVOCATIONS => match invocation {
                Some(Ok(invocation)) => {
                    calls.spawn(invocation);
                }
                Some(Err(error)) => warn!(%error, "failed to accept an invocation"),
                None => break,
            },
            // Only looked at when no invocation is waiting: what NATS has delivered to this process
            // was taken from the other instances, so nobody else would answer it.
            () = stop.cancelled() => break,
        }
    }
    drop(invocations);
    let under_way = calls.len();
    let drained = timeout(DRAIN_TIMEOUT, async {
        while let Some(ended) = calls.join_next().await {
            report(ended);
        }
    });
    if drained.await.is_err() {
        warn!(
            unanswered = calls.len(),
            "stopped before all calls were answered"
        );
        calls.shutdown().await;
    } else if under_way > 0 {
        info!(under_way, "answered the calls that were under way");
    }
}

fn report(ended: Result<anyhow::Result<()>, JoinError>) {
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(
            error = format!("{error:#}"),
            "an invocation was not answered"
        ),
        Err(error) => warn!(%error, "an invocation was broken off"),
    }
}
