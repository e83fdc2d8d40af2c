//! Instances of the provider, which share its calls, are replaced one after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testkit::async_nats::jetstream::kv;
use testkit::{LatticeCaller, LinkDefinition, NEWEST, Provider, Stack};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::support::machine::shared;
use crate::support::waiting;

const LONG_TIMEOUT: Duration = Duration::from_secs(90);
const CALLERS: usize = 12;

/// As a host does it for a new version: an instance is started and given its links, and an older one
/// is shut down. Here all are of one build.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_instance_is_replaced_under_load_and_no_call_is_lost() -> Result<()> {
    let _machine = shared().await;
    let mut stack = crate::support::stack(NEWEST).start().await?;
    stack.create_bucket("orders", kv::Config::default()).await?;
    let link = stack.link("component", "orders").config("timeout", "60s");
    stack.provider.put_link(&link).await?;
    let mut second = instance(&stack, &link).await?;
    let load = Load::start(&stack);
    load.goes_on(&second).await?;

    let status = stack.provider.shutdown().await?;
    assert!(status.success(), "{status}");
    load.goes_on(&second).await?;
    let third = instance(&stack, &link).await?;
    load.goes_on(&third).await?;
    let status = second.shutdown().await?;
    assert!(status.success(), "{status}");
    load.goes_on(&third).await?;
    load.stop().await
}

/// One more instance, which has the link from its start.
async fn instance(stack: &Stack, link: &LinkDefinition) -> Result<Provider> {
    Provider::builder(stack.nats.url())
        .binary(crate::support::PROVIDER)
        .instance_of(&stack.provider)
        .link(link.clone())
        .start()
        .await
}

/// Callers that write and read, and end at the first call that fails.
struct Load {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicUsize>,
    callers: Vec<JoinHandle<Result<()>>>,
}

impl Load {
    fn start(stack: &Stack) -> Self {
        let (stop, rounds) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let caller = stack
            .caller("component")
            .with_timeout(Duration::from_secs(15));
        let callers = (0..CALLERS)
            .map(|number| {
                let (caller, stop) = (caller.clone(), Arc::clone(&stop));
                tokio::spawn(run(caller, number, stop, Arc::clone(&rounds)))
            })
            .collect();
        Self {
            stop,
            rounds,
            callers,
        }
    }

    /// Waits until many more calls have been answered, some of them by this instance.
    async fn goes_on(&self, instance: &Provider) -> Result<()> {
        let answered = || instance.logs().matches("answered").count();
        let before = answered();
        waiting::grown("rounds of calls", &self.rounds, 10 * CALLERS).await?;
        waiting::eventually("answers of the instance", async || {
            Ok((answered() > before).then_some(()))
        })
        .await
    }

    async fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for caller in self.callers {
            timeout(LONG_TIMEOUT, caller)
                .await
                .context("a caller hangs")???;
        }
        Ok(())
    }
}

async fn run(
    caller: LatticeCaller,
    number: usize,
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicUsize>,
) -> Result<()> {
    let mut round = 0_u32;
    while !stop.load(Ordering::Relaxed) {
        let key = format!("{number}.{round}");
        caller.set_many("default", &[(&key, &key)]).await??;
        let got = caller.get_many("default", &[&key]).await??;
        ensure!(got == [Some(key.into_bytes())], "{got:?}");
        round += 1;
        rounds.fetch_add(1, Ordering::SeqCst);
    }
    Ok(())
}
