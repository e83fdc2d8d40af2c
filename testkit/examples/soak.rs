//! Makes many calls of one key and tells whether the provider's memory stays where it was.
//!
//! ```text
//! cargo build --release -p eventual-batch-nats-provider
//! TESTKIT_PROVIDER=target/release/eventual-batch-nats-provider \
//!     cargo run -p testkit --release --example soak -- --calls 200000
//! ```

use std::env;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use testkit::async_nats::jetstream::kv;
use testkit::{Caller, Level, Link, NEWEST, NatsServer, Provider};

/// Calls after which the provider has all that it needs for this load.
const WARM_UP: u64 = 20_000;
/// How much more memory it may have at the end, in per cent.
const MAX_GROWTH: f64 = 10.0;

struct Arguments {
    calls: u64,
    concurrency: u64,
    nats: String,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::read()?;
    testkit::init_tracing();
    let nats = NatsServer::run(&arguments.nats).await?;
    nats.jetstream()
        .await?
        .create_key_value(kv::Config {
            bucket: "soak".to_owned(),
            ..kv::Config::default()
        })
        .await?;
    let provider = Provider::builder(nats.url())
        .log_level(Level::Info)
        .start()
        .await?;
    provider
        .put_link(
            &Link::new("soak")
                .config("cluster_uri", nats.url())
                .config("bucket", "soak"),
        )
        .await?;
    let caller = provider.caller("soak");
    caller.set_many("default", &[("key", "value")]).await??;

    let Arguments {
        calls, concurrency, ..
    } = arguments;
    println!(
        "nats-server {}, get-many of one key, {concurrency} callers",
        nats.version()
    );
    let mut last = memory(&provider, 0)?;
    let warm = WARM_UP.min(calls);
    let mut time = run(&caller, warm, concurrency).await?;
    let after_warm_up = memory(&provider, warm)?;
    let mut done = warm;
    while done < calls {
        let part = WARM_UP.min(calls - done);
        time += run(&caller, part, concurrency).await?;
        done += part;
        last = memory(&provider, done)?;
    }
    println!("{:.0} calls a second", as_f64(calls) / time.as_secs_f64());
    if calls <= warm {
        println!("too few calls to compare memory: more than {WARM_UP} are needed");
        return Ok(ExitCode::FAILURE);
    }
    let growth = (as_f64(last) / as_f64(after_warm_up) - 1.0) * 100.0;
    println!("resident memory {growth:+.1} % from {warm} calls to {calls}");
    if growth > MAX_GROWTH {
        println!("that is over {MAX_GROWTH} %");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes the calls, and tells how long they took.
async fn run(caller: &Caller, calls: u64, concurrency: u64) -> Result<Duration> {
    let started = Instant::now();
    let next = Arc::new(AtomicU64::new(0));
    let callers: Vec<_> = (0..concurrency)
        .map(|_| {
            let (caller, next) = (caller.clone(), Arc::clone(&next));
            tokio::spawn(async move {
                while next.fetch_add(1, Ordering::Relaxed) < calls {
                    let values = caller.get_many("default", &["key"]).await??;
                    ensure!(values == [Some(b"value".to_vec())], "{values:?}");
                }
                Ok(())
            })
        })
        .collect();
    for caller in callers {
        caller.await??;
    }
    Ok(started.elapsed())
}

fn memory(provider: &Provider, calls: u64) -> Result<u64> {
    let kib = provider.rss_kib()?;
    println!("{calls:>9} calls: {kib} KiB resident");
    Ok(kib)
}

#[allow(clippy::cast_precision_loss)]
fn as_f64(number: u64) -> f64 {
    number as f64
}

impl Arguments {
    fn read() -> Result<Self> {
        let mut read = Self {
            calls: 200_000,
            concurrency: 16,
            nats: NEWEST.to_owned(),
        };
        let mut arguments = env::args().skip(1);
        while let Some(name) = arguments.next() {
            let value = arguments
                .next()
                .with_context(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--calls" => read.calls = value.parse().context("--calls")?,
                "--concurrency" => read.concurrency = value.parse().context("--concurrency")?,
                "--nats" => read.nats = value,
                _ => bail!("unknown {name}; known are --calls, --concurrency and --nats"),
            }
        }
        Ok(read)
    }
}
