//! Instances of the provider, which share its calls, are replaced one after the other.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testkit::async_nats::jetstream::kv;
use testkit::{LatticeCaller, LinkDefinition, NEWEST, OtlpCollector, Provider, Stack};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::support::machine::shared;
use crate::support::waiting;

const LONG_TIMEOUT: Duration = Duration::from_secs(90);
const CALLERS: usize = 12;

/// As a host does it for a new version: an instance is started and given its links, and an older
/// one is shut down.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_instance_is_replaced_under_load_and_no_call_is_lost() -> Result<()> {
    let _machine = shared().await;
    let directory = tempfile::tempdir()?;
    let newer = newer_provider(directory.path())?;
    let mut stack = crate::support::stack(NEWEST).start().await?;
    stack.create_bucket("orders", kv::Config::default()).await?;
    let link = stack.link("component", "orders").config("timeout", "60s");
    stack.provider.put_link(&link).await?;
    let mut old = MeasuredInstance::start(&stack, &link, crate::support::PROVIDER).await?;
    let load = Load::start(&stack);
    load.goes_on(&old.provider).await?;

    let first = MeasuredInstance::start(&stack, &link, &newer).await?;
    load.goes_on(&first.provider).await?;
    let status = stack.provider.shutdown().await?;
    assert!(status.success(), "{status}");
    load.goes_on(&first.provider).await?;
    let second = MeasuredInstance::start(&stack, &link, &newer).await?;
    load.goes_on(&second.provider).await?;
    let status = old.provider.shutdown().await?;
    assert!(status.success(), "{status}");
    load.goes_on(&second.provider).await?;
    load.stop().await?;

    assert_eq!(old.version().await?, VERSION);
    for instance in [first, second] {
        assert_eq!(instance.version().await?, newer_version());
    }
    Ok(())
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Another version, of the same length.
fn newer_version() -> String {
    VERSION.replacen(char::is_numeric, "9", 1)
}

/// The provider's program, with another version in it. A second build would take minutes.
fn newer_provider(directory: &Path) -> Result<PathBuf> {
    const ATTRIBUTE: &[u8] = b"service.version=";
    let (own, newer) = (VERSION.as_bytes(), newer_version());
    let mut program = fs::read(crate::support::PROVIDER)?;
    let own = [ATTRIBUTE, own].concat();
    // By its first byte, as a comparison at each place takes seconds in a program so large.
    let mut from = 0;
    let place = loop {
        let next = program[from..].iter().position(|byte| *byte == own[0]);
        let next = from + next.context("the program does not have its version in it")?;
        if program[next..].starts_with(&own) {
            break next + ATTRIBUTE.len();
        }
        from = next + 1;
    };
    program[place..place + newer.len()].copy_from_slice(newer.as_bytes());
    let path = directory.join("provider");
    fs::copy(crate::support::PROVIDER, &path)?;
    fs::write(&path, program)?;
    Ok(path)
}

/// One more instance, and what collects its metrics.
struct MeasuredInstance {
    provider: Provider,
    collector: OtlpCollector,
}

impl MeasuredInstance {
    /// It has the link from its start.
    async fn start(
        stack: &Stack,
        link: &LinkDefinition,
        binary: impl Into<PathBuf>,
    ) -> Result<Self> {
        let collector = OtlpCollector::start().await?;
        let provider = Provider::builder(stack.nats.url())
            .binary(binary)
            .instance_of(&stack.provider)
            .link(link.clone())
            .metrics_collector(collector.url())
            .start()
            .await?;
        Ok(Self {
            provider,
            collector,
        })
    }

    /// Its version, as its metrics have it.
    async fn version(&self) -> Result<String> {
        waiting::eventually("metrics of the instance", async || {
            let resource = self.collector.resource()?;
            let mut resource = resource.into_iter();
            Ok(resource.find(|(name, _)| name == "service.version"))
        })
        .await
        .map(|(_, version)| version)
    }
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
