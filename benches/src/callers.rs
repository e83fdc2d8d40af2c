//! Many callers at once, and a small batch beside a large one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use futures::future::try_join_all;
use testkit::LatticeCaller;

use crate::measure::percentile;
use crate::raw::{Ids, Raw};
use crate::setup::{BenchSetup, COMPONENT, TIMEOUT, caller};

const BATCH: usize = 100;
const SIZE: usize = 256;
const LINKS: usize = 16;
const LARGE: usize = 20_000;
const SMALL: usize = 5;

/// Prints the throughput of 1, 16 and 64 callers, on one link and on 16.
pub(crate) async fn print_throughput(setup: &BenchSetup, time: Duration) -> Result<()> {
    println!("\n| callers | links | get-many, keys/s | set-many, keys/s |");
    println!("| ---: | ---: | ---: | ---: |");
    for n in 0..LINKS {
        setup.bucket(&format!("many-{n}")).await?;
    }
    let keys: Arc<Vec<String>> = Arc::new((0..BATCH).map(|n| format!("key.{n}")).collect());
    let value = value();
    for links in [1, LINKS] {
        for callers in [1, 16, 64] {
            let mut rates = Vec::new();
            for get in [false, true] {
                let begun = Instant::now();
                let calls = try_join_all((0..callers).map(|n| {
                    let link = format!("many-{}", n % links);
                    let caller = caller(&setup.ours, &link);
                    let (keys, value) = (Arc::clone(&keys), value.clone());
                    async move {
                        let mut calls = 0;
                        while begun.elapsed() < time {
                            batch(&caller, &link, &keys, (!get).then_some(&value)).await?;
                            calls += 1;
                        }
                        anyhow::Ok(calls)
                    }
                }))
                .await?;
                let keys = calls.iter().sum::<usize>() * BATCH;
                rates.push(f64::from(u32::try_from(keys)?) / begun.elapsed().as_secs_f64());
            }
            println!(
                "| {callers} | {links} | {:.0} | {:.0} |",
                rates[1], rates[0]
            );
        }
    }
    Ok(())
}

/// Prints how long a small batch takes on an idle link, and while large ones are under way on it.
pub(crate) async fn print_fairness(setup: &BenchSetup, time: Duration) -> Result<()> {
    let bucket = "fair";
    setup.bucket(bucket).await?;
    let raw = Raw::new(setup.nats.client().await?, bucket);
    let small: Vec<String> = (0..SMALL).map(|n| format!("small.{n}")).collect();
    let value = value();
    raw.set(&large_keys(), &value, Ids::Without).await?;
    raw.set(&small, &value, Ids::Without).await?;
    println!("\n| {SMALL} keys | p50 | p99 |");
    println!("| --- | ---: | ---: |");
    let idle = small_batches(setup, bucket, &small, time).await?;
    print_line("on an idle link", &idle);
    for operation in ["get-many", "set-many"] {
        let provider = [setup.ours.lattice(), setup.ours.key()];
        let mut load = setup
            .child(&["load", provider[0], provider[1], bucket, operation])
            .await?;
        let busy = small_batches(setup, bucket, &small, time).await?;
        ensure!(load.try_wait()?.is_none(), "the large batches have ended");
        print_line(&format!("beside a {operation} of {LARGE}"), &busy);
    }
    Ok(())
}

/// Calls one large batch after the other until the process is killed: a process of its own, as
/// whoever decodes a large answer does nothing else meanwhile.
pub(crate) async fn load(
    nats: &str,
    lattice: &str,
    provider: &str,
    link: &str,
    operation: &str,
) -> Result<()> {
    let caller = LatticeCaller::connect(nats, lattice, provider).await?;
    let caller = caller
        .with_source(COMPONENT)
        .with_link(link)
        .with_timeout(TIMEOUT);
    let keys = large_keys();
    let value = value();
    let value = (operation == "set-many").then_some(&value);
    batch(&caller, link, &keys, value).await?;
    // Whoever started this waits for a line.
    println!("loading");
    loop {
        batch(&caller, link, &keys, value).await?;
    }
}

fn large_keys() -> Vec<String> {
    (0..LARGE).map(|n| format!("large.{n}")).collect()
}

fn value() -> Bytes {
    Bytes::from(vec![b'x'; SIZE])
}

fn print_line(name: &str, times: &[Duration]) {
    println!(
        "| {name} | {:.2} | {:.2} |",
        percentile(times, 50),
        percentile(times, 99)
    );
}

async fn small_batches(
    setup: &BenchSetup,
    bucket: &str,
    keys: &[String],
    time: Duration,
) -> Result<Vec<Duration>> {
    let caller = caller(&setup.ours, bucket);
    let mut times = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < time * 4 {
        let one = Instant::now();
        batch(&caller, bucket, keys, None).await?;
        times.push(one.elapsed());
    }
    Ok(times)
}

/// A set-many of this value, or a get-many.
async fn batch(
    caller: &LatticeCaller,
    bucket: &str,
    keys: &[String],
    value: Option<&Bytes>,
) -> Result<()> {
    match value {
        Some(value) => {
            let pairs: Vec<_> = keys.iter().map(|key| (key.as_str(), value)).collect();
            caller.batch().set_many_raw(bucket, &pairs).await??;
        }
        None => drop(caller.batch().get_many(bucket, keys).await??),
    }
    Ok(())
}
