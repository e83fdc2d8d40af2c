//! What calls take in memory together, whatever their callers do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use testkit::async_nats::jetstream::kv;
use testkit::{NEWEST, Stack};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::support::hostile::{Bystander, assert_healthy, stack};
use crate::support::wire::{FUNCTIONS, WireCaller, length, text};

const KIB_OF_MIB: u64 = 1024;

/// Watches how much memory the provider has at most.
struct Peak {
    kib: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    watching: JoinHandle<()>,
}

impl Peak {
    fn watch(stack: &Stack) -> Self {
        let (kib, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let pid = stack.provider.pid();
        let watching = tokio::spawn({
            let (kib, stop) = (Arc::clone(&kib), Arc::clone(&stop));
            async move {
                while !stop.load(Ordering::Relaxed) {
                    kib.fetch_max(rss_kib(pid).unwrap_or(0), Ordering::Relaxed);
                    sleep(Duration::from_millis(10)).await;
                }
            }
        });
        Self {
            kib,
            stop,
            watching,
        }
    }

    async fn stop(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.watching.await?;
        Ok(self.kib.load(Ordering::Relaxed))
    }
}

fn rss_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Each brings most of a message of keys at once, and says that more will come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn incomplete_calls_take_no_more_than_the_bound() -> Result<()> {
    const CALLS: usize = 1200;
    const KEY: usize = 1000;
    const KEYS: usize = 900;
    let mut stack = stack(NEWEST).await?;
    let others = Bystander::start(&stack).await?;
    let mut params = [text("default"), length(KEYS + 1)].concat();
    for key in 0..KEYS {
        params.extend(text(&format!("{key:0KEY$}")));
    }
    ensure!(params.len() > 900_000 && params.len() < 1024 * 1024);
    let before = stack.provider.rss_kib()?;
    let peak = Peak::watch(&stack);
    let served = others.rounds();
    let mut wire = WireCaller::new(&stack, "large").await?;
    let mut told = 0;
    for call in 0..CALLS {
        let (instance, function) = FUNCTIONS[0];
        let opened = wire.open(instance, function, params.clone()).await?;
        if call % 20 == 19 {
            // The server would cut off a provider that has 64 MiB to read.
            wire.accepted(&opened).await?;
        }
        if call % 100 == 99 {
            let said = wire.results(&opened, Duration::from_millis(100)).await?;
            ensure!(said.is_empty() || said.contains("512 MiB"), "{said:?}");
            told += usize::from(!said.is_empty());
        }
    }
    let grown = peak.stop().await?.saturating_sub(before) / KIB_OF_MIB;
    // Others are served while the hostile calls are waited for.
    let served = others.stop().await? - served;
    eprintln!(
        "{CALLS} incomplete calls: {grown} MiB more; {told} of 12 were told; {served} rounds of others"
    );
    assert!(told > 0, "no caller over the bound was told so");
    assert!(grown < 640, "{grown} MiB more than before");
    assert!(served > 5, "only {served} rounds of others meanwhile");
    assert_healthy(&mut stack).await
}

/// Each answer is nearly as large as the link allows, and no caller reads its answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_take_no_more_than_the_bound() -> Result<()> {
    const CALLS: usize = 40;
    const KEYS: usize = 60;
    const VALUE: usize = 1_000_000;
    let mut stack = stack(NEWEST).await?;
    stack.create_bucket("large", kv::Config::default()).await?;
    let caller = stack.caller("large").with_timeout(Duration::from_secs(60));
    let value = "v".repeat(VALUE);
    let keys: Vec<_> = (0..KEYS).map(|key| format!("key.{key}")).collect();
    for keys in keys.chunks(10) {
        let pairs: Vec<_> = keys.iter().map(|key| (key, &value)).collect();
        caller.set_many("default", &pairs).await??;
    }
    let others = Bystander::start(&stack).await?;
    let mut params = [text("default"), length(KEYS)].concat();
    for key in &keys {
        params.extend(text(key));
    }
    let before = stack.provider.rss_kib()?;
    let peak = Peak::watch(&stack);
    let served = others.rounds();
    let ended_before = ended(&stack);
    let mut wire = WireCaller::new(&stack, "large").await?;
    for _ in 0..CALLS {
        let (instance, function) = FUNCTIONS[0];
        wire.open(instance, function, params.clone()).await?;
    }
    wire.flush().await?;
    // Each call has 30 s, and its answer as long as it takes to send.
    let mut looked = 0;
    while ended(&stack) - ended_before < CALLS {
        ensure!(looked < 1200, "the calls do not end");
        looked += 1;
        sleep(Duration::from_millis(100)).await;
    }
    let grown = peak.stop().await?.saturating_sub(before) / KIB_OF_MIB;
    let served = others.rounds() - served;
    eprintln!("{CALLS} answers of 60 MB: {grown} MiB more; {served} rounds of others");
    assert!(grown < 700, "{grown} MiB more than before");
    assert!(served > 5, "only {served} rounds of others meanwhile");
    others.stop().await?;
    assert_healthy(&mut stack).await
}

/// How many calls of the component with large answers have ended.
fn ended(stack: &Stack) -> usize {
    let logs = stack.provider.logs();
    let is_end = |line: &&str| {
        let answer = ["answered", "call failed", "call refused"];
        line.contains("get-many")
            && line.contains("large")
            && answer.iter().any(|a| line.contains(a))
    };
    logs.lines().filter(is_end).count()
}

/// The bound can be set, and a call that does not fit into it is served alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bound_on_answers_can_be_set() -> Result<()> {
    let stack = crate::support::stack(NEWEST)
        .provider(|provider, _| provider.config("max_response_bytes_in_flight", "2000000"));
    let stack = stack.start().await?;
    ensure!(
        !stack.provider.logs().contains("WARN"),
        "{}",
        stack.provider.logs()
    );
    stack.create_bucket("orders", kv::Config::default()).await?;
    let link = stack.link("shop", "orders").config("timeout", "30s");
    stack.provider.put_link(&link).await?;
    let caller = stack.caller("shop").with_timeout(Duration::from_secs(60));
    let value = "v".repeat(900_000);
    let keys = ["a", "b", "c", "d"];
    for key in keys {
        caller.set_many("default", &[(key, &value)]).await??;
    }
    let calls = (0..20).map(|_| {
        let caller = caller.clone();
        tokio::spawn(async move { caller.get_many("default", &keys).await })
    });
    for call in calls.collect::<Vec<_>>() {
        let values = call.await???;
        ensure!(
            values
                .iter()
                .all(|got| got.as_deref() == Some(value.as_bytes()))
        );
    }
    Ok(())
}
