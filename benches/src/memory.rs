//! The provider's memory: idle, and at its most while it carries a large batch.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use tokio::time::sleep;

use crate::stage::{Stage, caller};

const MIB: usize = 1024 * 1024;
const VALUES: usize = 64;

/// Prints what is resident when idle, and the most above that during a get-many and a set-many of
/// nearly 64 MiB.
pub(crate) async fn print(stage: &Stage) -> Result<()> {
    let bucket = "large";
    stage.bucket(bucket).await?;
    let provider = &stage.ours;
    let caller = caller(provider, bucket);
    let batch = caller.batch();
    let idle = provider.rss_kib()?;
    let keys: Vec<String> = (0..VALUES).map(|n| format!("key.{n}")).collect();
    // With the keys it is just within the limit of a batch, and with headers within that of a
    // message.
    let value = Bytes::from(vec![b'x'; MIB - 1024]);
    let pairs: Vec<_> = keys.iter().map(|key| (key.as_str(), &value)).collect();

    println!("\n| resident memory | MiB |");
    println!("| --- | ---: |");
    println!("| idle | {:.1} |", mib(idle));
    let set = Box::pin(batch.set_many_raw(bucket, &pairs));
    let (set, peak) = watched(stage, set).await?;
    set??;
    print_peak("set-many of 64 MiB", idle, peak);
    let got = Box::pin(batch.get_many(bucket, &keys));
    let (got, peak) = watched(stage, got).await?;
    drop(got??);
    print_peak("get-many of 64 MiB", idle, peak);
    Ok(())
}

fn print_peak(name: &str, idle: u64, peak: u64) {
    let above = mib(peak.saturating_sub(idle));
    println!(
        "| {name}: above idle | {above:.1} ({:.2} × 64) |",
        above / 64.0
    );
}

fn mib(kib: u64) -> f64 {
    u32::try_from(kib).map_or(f64::INFINITY, f64::from) / 1024.0
}

/// The most that is resident while this is under way.
async fn watched<T>(stage: &Stage, work: impl Future<Output = T>) -> Result<(T, u64)> {
    let (ended, peak) = (AtomicBool::new(false), AtomicU64::new(0));
    let (done, watched) = tokio::join!(
        async {
            let done = work.await;
            ended.store(true, Ordering::Relaxed);
            done
        },
        async {
            while !ended.load(Ordering::Relaxed) {
                peak.fetch_max(stage.ours.rss_kib()?, Ordering::Relaxed);
                sleep(Duration::from_millis(2)).await;
            }
            anyhow::Ok(())
        }
    );
    watched?;
    Ok((done, peak.into_inner()))
}
