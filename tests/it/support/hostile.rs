//! A stack with a hostile caller, and a well-behaved caller that must be served meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testkit::async_nats::jetstream::kv;
use testkit::{LatticeCaller, Stack, StackBuilder};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// The component that is hostile.
pub const HOSTILE: &str = "hostile";

/// Longer than any call takes, on a busy machine too.
pub const LONG_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the well-behaved caller may wait for an answer. Alone it waits for milliseconds.
const BYSTANDER_TIMEOUT: Duration = LONG_TIMEOUT;

/// A stack with two components: one of them is hostile, and has a bucket of its own.
pub async fn stack(version: &str) -> Result<Stack> {
    stack_of(super::stack(version)).await
}

/// The same of a stack that is set up further.
pub async fn stack_of(builder: StackBuilder) -> Result<Stack> {
    let stack = builder.separate_lattice().start().await?;
    for (component, bucket) in [(HOSTILE, "theirs"), ("others", "orders")] {
        stack.create_bucket(bucket, kv::Config::default()).await?;
        let link = stack
            .link(component, bucket)
            .config("timeout", "30s")
            .config("max_batch_bytes", "1048576");
        stack.provider.put_link(&link).await?;
    }
    let large = stack.link("large", "large");
    let large = large.config("enable_bucket_auto_create", "true");
    stack
        .provider
        .put_link(&large.config("timeout", "30s"))
        .await?;
    Ok(stack)
}

pub async fn assert_healthy(stack: &mut Stack) -> Result<()> {
    ensure!(stack.provider.is_running()?, "the provider has ended");
    ensure!(stack.provider.health().await?.healthy);
    let logs = stack.provider.logs();
    ensure!(!logs.contains("panicked"), "{logs}");
    Ok(())
}

/// A well-behaved caller, which checks every answer that it gets.
pub struct Bystander {
    rounds: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    calls: JoinHandle<Result<()>>,
}

impl Bystander {
    pub async fn start(stack: &Stack) -> Result<Self> {
        let nats = stack.lattice().url();
        let provider = &stack.provider;
        // A connection of its own, because a host shares none with a hostile caller.
        let caller = LatticeCaller::connect(&nats, provider.lattice(), provider.key()).await?;
        let caller = caller.with_source("others").with_timeout(BYSTANDER_TIMEOUT);
        let (rounds, stop) = (Arc::default(), Arc::default());
        let calls = tokio::spawn(call_on(caller, Arc::clone(&rounds), Arc::clone(&stop)));
        Ok(Self {
            rounds,
            stop,
            calls,
        })
    }

    pub fn rounds(&self) -> usize {
        self.rounds.load(Ordering::Relaxed)
    }

    pub async fn stop(self) -> Result<usize> {
        self.stop.store(true, Ordering::Relaxed);
        timeout(LONG_TIMEOUT, self.calls)
            .await
            .context("others hang")???;
        Ok(self.rounds.load(Ordering::Relaxed))
    }
}

async fn call_on(
    caller: LatticeCaller,
    rounds: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        let round = rounds.load(Ordering::Relaxed).to_string();
        let pairs = [("a", &round), ("b", &round)];
        caller.set_many("default", &pairs).await??;
        let values = caller.get_many("default", &["a", "b"]).await??;
        let value = Some(round.into_bytes());
        ensure!(values == [value.clone(), value], "{values:?}");
        let mut keys = caller.keys("default").await??;
        keys.sort_unstable();
        ensure!(keys == ["a", "b"], "{keys:?}");
        rounds.fetch_add(1, Ordering::Relaxed);
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}
