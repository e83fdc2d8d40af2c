//! The provider's memory: idle, and at its most while it carries a large batch.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use testkit::{LatticeCaller, Provider};
use tokio::time::sleep;

use crate::figure::{Figure, FigureUnit};
use crate::progress::{PlannedRow, planned};
use crate::recorder::FigureRecorder;
use crate::report::FigureRow;
use crate::setup::{BenchSetup, caller};

const MIB: usize = 1024 * 1024;
const VALUES: usize = 64;

/// Processes that carry out each batch, once.
const PROCESSES: usize = 5;

const TABLE: &str = "memory";

/// The row, and how long it takes.
pub(crate) fn plan() -> Vec<PlannedRow> {
    planned(TABLE, [Duration::from_secs(10)])
}

/// Prints what is resident when idle, and the most above that during a set-many and a get-many of
/// nearly 64 MiB: medians of some processes, which do nothing else, as an allocator keeps for a while
/// what was freed before.
pub(crate) async fn print(setup: &BenchSetup, recorder: &mut FigureRecorder) -> Result<()> {
    recorder.begin_row(&format!("{PROCESSES} processes for each batch"));
    let bucket = "large";
    setup.bucket(bucket).await?;
    let keys: Vec<String> = (0..VALUES).map(|n| format!("key.{n}")).collect();
    // With the keys it is just within the limit of a batch, and with headers within that of a
    // message.
    let value = Bytes::from(vec![b'x'; MIB - 1024]);
    let pairs: Vec<_> = keys.iter().map(|key| (key.as_str(), &value)).collect();
    let (mut idle, mut set, mut get) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..PROCESSES {
        let (provider, caller, before) = idle_provider(setup, bucket).await?;
        let batch = caller.batch();
        let (done, peak) = watched(&provider, Box::pin(batch.set_many_raw(bucket, &pairs))).await?;
        done??;
        idle.push(mib(before));
        set.push(mib(peak.saturating_sub(before)));

        let (provider, caller, before) = idle_provider(setup, bucket).await?;
        let batch = caller.batch();
        let (done, peak) = watched(&provider, Box::pin(batch.get_many(bucket, &keys))).await?;
        drop(done??);
        get.push(mib(peak.saturating_sub(before)));
    }
    println!(
        "\n| resident memory, {PROCESSES} processes | least | median | most | median / 64 | most / 64 |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    let row = FigureRow::new(format!("batches of {VALUES} MiB")).figures([
        resident("idle", &idle),
        resident("set-many, above idle", &set),
        resident("get-many, above idle", &get),
    ]);
    recorder.keep(TABLE, row);
    let [least, median, most] = spread(idle);
    println!("| idle, MiB | {least:.1} | {median:.1} | {most:.1} | | |");
    for (name, above) in [("set-many", set), ("get-many", get)] {
        let [least, median, most] = spread(above);
        let [of_median, of_most] = [median, most].map(|above| above / 64.0);
        println!(
            "| {name} of 64 MiB: above idle, MiB | {least:.1} | {median:.1} | {most:.1} | \
             {of_median:.2} | {of_most:.2} |"
        );
    }
    Ok(())
}

/// A process that has answered one call of one key, and what is resident of it.
async fn idle_provider(setup: &BenchSetup, bucket: &str) -> Result<(Provider, LatticeCaller, u64)> {
    let provider = setup.another(bucket).await?;
    let caller = caller(&provider, "default");
    caller.batch().get_many(bucket, &["none"]).await??;
    let resident = provider.rss_kib()?;
    Ok((provider, caller, resident))
}

/// The median of some processes.
fn resident(name: &str, values: &[f64]) -> Figure {
    let [_, median, _] = spread(values.to_vec());
    Figure::new(name, FigureUnit::Mebibytes, median, values.to_vec())
}

fn spread(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let at = |place: usize| values.get(place).copied().unwrap_or(f64::NAN);
    [
        at(0),
        at(values.len() / 2),
        at(values.len().saturating_sub(1)),
    ]
}

fn mib(kib: u64) -> f64 {
    u32::try_from(kib).map_or(f64::INFINITY, f64::from) / 1024.0
}

/// The most that is resident while this is under way.
async fn watched<T>(provider: &Provider, work: impl Future<Output = T>) -> Result<(T, u64)> {
    let (ended, peak) = (AtomicBool::new(false), AtomicU64::new(0));
    let (done, watched) = tokio::join!(
        async {
            let done = work.await;
            ended.store(true, Ordering::Relaxed);
            done
        },
        async {
            while !ended.load(Ordering::Relaxed) {
                peak.fetch_max(provider.rss_kib()?, Ordering::Relaxed);
                sleep(Duration::from_millis(2)).await;
            }
            anyhow::Ok(())
        }
    );
    watched?;
    Ok((done, peak.into_inner()))
}
