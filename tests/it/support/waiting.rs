//! Waiting for what comes in its own time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use testkit::{HealthCheckResponse, LatticeCaller, Provider, Stack};
use tokio::time::{Instant, sleep};

/// What the provider names its connections to the buckets' NATS.
pub const CONNECTION: &str = "eventual-batch-nats-provider";

/// Far more than anything that is waited for takes, on a busy machine too.
const LIMIT: Duration = Duration::from_secs(60);

/// Asks again and again until there is something; fails after [`LIMIT`].
pub async fn eventually<T>(
    what: &str,
    mut ask: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = ask().await? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!("waited {LIMIT:?} in vain for {what}");
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until the count has grown by `more`.
pub async fn grown(what: &str, count: &AtomicUsize, more: usize) -> Result<()> {
    let target = count.load(Ordering::SeqCst) + more;
    eventually(what, async || {
        Ok((count.load(Ordering::SeqCst) >= target).then_some(()))
    })
    .await
}

/// The first line of the provider's log that holds all of `parts`.
pub async fn logged(provider: &Provider, parts: &[&str]) -> Result<String> {
    let line = || {
        let logs = provider.logs();
        let all = |line: &&str| parts.iter().all(|part| line.contains(part));
        logs.lines().find(all).map(str::to_owned)
    };
    eventually(&format!("a line in the log with {parts:?}"), async || {
        Ok(line())
    })
    .await
}

/// Waits until the provider has this many connections to the buckets' NATS. Only on a stack with a
/// lattice of its own: the provider's connection to that has the same name.
pub async fn connections(stack: &Stack, count: usize) -> Result<()> {
    eventually(&format!("{count} connections"), async || {
        Ok((connections_now(stack).await? == count).then_some(()))
    })
    .await
}

/// How many connections the provider has to the buckets' NATS. See [`connections`].
pub async fn connections_now(stack: &Stack) -> Result<usize> {
    stack.nats.connections_named(CONNECTION).await
}

/// Waits until the caller's bucket answers.
pub async fn open(caller: &LatticeCaller) -> Result<()> {
    eventually("the bucket to answer", async || {
        Ok(caller.open_bucket("default").await?.ok())
    })
    .await
}

/// Waits until the provider is unhealthy.
pub async fn unhealthy(provider: &Provider) -> Result<HealthCheckResponse> {
    eventually("the provider to be unhealthy", async || {
        Ok(Some(provider.health().await?).filter(|health| !health.healthy))
    })
    .await
}
