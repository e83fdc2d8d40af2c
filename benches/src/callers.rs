//! Many callers at once, and a small batch beside a large one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use futures::future::try_join_all;
use testkit::LatticeCaller;

use crate::figure::{Figure, FigureUnit};
use crate::progress::{PlannedRow, planned};
use crate::raw::{Ids, Raw};
use crate::recorder::FigureRecorder;
use crate::report::FigureRow;
use crate::setup::{BenchSetup, COMPONENT, TIMEOUT, caller};

const BATCH: usize = 100;
const SIZE: usize = 256;
const LINKS: usize = 16;
const LARGE: usize = 20_000;
const SMALL: usize = 5;
const CALLERS: [usize; 3] = [1, 16, 64];

/// What the table of the throughput is called in files.
pub(crate) const THROUGHPUT: &str = "throughput";
const FAIRNESS: &str = "fairness";

/// The rows of both tables, and how long they take.
pub(crate) fn plan(time: Duration) -> Vec<PlannedRow> {
    let mut rows = planned(THROUGHPUT, [2 * time; 2 * CALLERS.len()]);
    rows.extend(planned(FAIRNESS, [4 * time; 3]));
    rows
}

/// Prints the throughput of 1, 16 and 64 callers, on one link and on 16.
pub(crate) async fn print_throughput(
    setup: &BenchSetup,
    time: Duration,
    recorder: &mut FigureRecorder,
) -> Result<()> {
    println!("\n| callers | links | get-many, keys/s | set-many, keys/s |");
    println!("| ---: | ---: | ---: | ---: |");
    for n in 0..LINKS {
        setup.bucket(&format!("many-{n}")).await?;
    }
    let keys: Arc<Vec<String>> = Arc::new((0..BATCH).map(|n| format!("key.{n}")).collect());
    let value = value();
    for links in [1, LINKS] {
        for callers in CALLERS {
            let name = format!("callers {callers}, links {links}");
            recorder.begin_row(&name);
            let mut rates = Vec::new();
            for operation in ["set-many", "get-many"] {
                let get = operation == "get-many";
                let begun = Instant::now();
                let calls = try_join_all((0..callers).map(|n| {
                    let link = format!("many-{}", n % links);
                    let caller = caller(&setup.ours, &link);
                    let (keys, value) = (Arc::clone(&keys), value.clone());
                    async move {
                        let mut done = Vec::new();
                        while begun.elapsed() < time {
                            batch(&caller, &link, &keys, (!get).then_some(&value)).await?;
                            done.push(begun.elapsed());
                        }
                        anyhow::Ok(done)
                    }
                }))
                .await?;
                let (span, unit) = (begun.elapsed(), FigureUnit::KeysPerSecond);
                let keys = f64::from(u32::try_from(BATCH)?);
                rates.push(Figure::rate(operation, unit, &calls.concat(), keys, span));
            }
            println!(
                "| {callers} | {links} | {:.0} | {:.0} |",
                rates[1].value, rates[0].value
            );
            let row = FigureRow::new(name).at("callers", callers);
            recorder.keep(THROUGHPUT, row.at("links", links).figures(rates));
        }
    }
    Ok(())
}

/// Prints how long a small batch takes on an idle link, and while large ones are under way on it.
pub(crate) async fn print_fairness(
    setup: &BenchSetup,
    time: Duration,
    recorder: &mut FigureRecorder,
) -> Result<()> {
    let bucket = "fair";
    setup.bucket(bucket).await?;
    let raw = Raw::new(setup.nats.client().await?, bucket);
    let small: Vec<String> = (0..SMALL).map(|n| format!("small.{n}")).collect();
    let value = value();
    raw.set(&large_keys(), &value, Ids::Without).await?;
    raw.set(&small, &value, Ids::Without).await?;
    println!("\n| {SMALL} keys | p50 | p99 |");
    println!("| --- | ---: | ---: |");
    let name = "on an idle link";
    recorder.begin_row(name);
    let idle = small_batches(setup, bucket, &small, time).await?;
    print_line(name, &idle);
    recorder.keep(FAIRNESS, FigureRow::new(name).figures(idle.clone()));
    for operation in ["get-many", "set-many"] {
        let name = format!("beside a {operation} of {LARGE}");
        recorder.begin_row(&name);
        let provider = [setup.ours.lattice(), setup.ours.key()];
        let mut load = setup
            .child(&["load", provider[0], provider[1], bucket, operation])
            .await?;
        let busy = small_batches(setup, bucket, &small, time).await?;
        ensure!(load.try_wait()?.is_none(), "the large batches have ended");
        print_line(&name, &busy);
        let slower = busy[1].over("p99 / idle", &idle[1]);
        let row = FigureRow::new(name).operation(operation);
        recorder.keep(FAIRNESS, row.figures(busy).figures([slower]));
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

fn print_line(name: &str, [half, most]: &[Figure; 2]) {
    println!("| {name} | {:.2} | {:.2} |", half.value, most.value);
}

/// The median and the 99th percentile of small batches.
async fn small_batches(
    setup: &BenchSetup,
    bucket: &str,
    keys: &[String],
    time: Duration,
) -> Result<[Figure; 2]> {
    let caller = caller(&setup.ours, bucket);
    let mut times = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < time * 4 {
        let one = Instant::now();
        batch(&caller, bucket, keys, None).await?;
        times.push(one.elapsed());
    }
    Ok([50, 99].map(|percent| Figure::percentile(&format!("p{percent}"), &times, percent)))
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
