//! Rounds: a fault under load, then a comparison.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use fastrand::Rng;
use tokio::time::sleep;

use crate::batches::BatchWriter;
use crate::check::{compare, purge_fresh};
use crate::counts::{Counts, Recorder, Times};
use crate::fault::{Fault, settled};
use crate::load::Workload;
use crate::replica::{CopiedBucket, CopiedReads};
use crate::setup::Setup;
use crate::watching::{ToldChanges, WatchedBucket};

/// The pause of each writer and reader between two calls.
const PACE: Duration = Duration::from_millis(10);

/// How long the load runs before the first fault.
const CALM: Duration = Duration::from_secs(1);

/// The result of all rounds.
#[derive(Debug, Default)]
pub struct Report {
    /// The calls of all rounds.
    pub counts: Counts,
    /// The longest time until calls succeeded again.
    pub recovery: Duration,
    /// What a component was told, in all rounds.
    pub told: ToldChanges,
    /// What was read of the copied bucket, in all rounds.
    pub copied: CopiedReads,
    /// Broken promises: the first few in words.
    pub broken: Vec<String>,
}

/// Runs these faults, one after the other, each for a time from this range of seconds, holds the
/// calls to these times, and prints how each went.
///
/// # Errors
/// If something does not work that has to. Broken promises are in the report.
pub async fn run(
    version: &str,
    provider: &Path,
    mut rng: Rng,
    faults: impl IntoIterator<Item = Fault>,
    hold: std::ops::Range<f64>,
    times: Times,
) -> Result<Report> {
    let mut setup = Setup::set(version, provider).await?;
    let recorder = Arc::new(Recorder::new(times));
    let mut load = Workload::new(&setup.links, &recorder, &mut rng, PACE);
    let atomic = setup.atomic.as_ref();
    let mut batches = atomic.map(|link| BatchWriter::new(link, &recorder));
    let mut watched = WatchedBucket::set(&setup, &recorder, &mut rng).await?;
    let mut copied = CopiedBucket::set(&setup, &recorder, &mut rng).await?;
    let mut report = Report::default();
    for (round, fault) in faults.into_iter().enumerate() {
        let seconds = hold.start + rng.f64() * (hold.end - hold.start);
        watched.start(&setup).await?;
        copied.start(&setup, PACE).await?;
        load.start();
        if let Some(batches) = &mut batches {
            batches.start(PACE);
        }
        sleep(CALM).await;
        let recovery = fault
            .run(&mut setup, &recorder, Duration::from_secs_f64(seconds))
            .await?;
        load.stop().await?;
        copied.stop().await?;
        if let Some(batches) = &mut batches {
            batches.stop().await?;
        }
        settled(&setup).await?;
        let compared = compare(&setup, load.ledger(), |what| recorder.broken(what)).await?;
        if let Some(batches) = &mut batches {
            let found = batches.compare(&setup).await?;
            println!(
                "     {} atomic batches are whole; of {} that are unclear, {} are there",
                found.whole, found.unclear, found.unclear_and_stored
            );
        }
        let told = watched.compare(&setup, load.ledger()).await?;
        println!("     {told}");
        report.told.add(&told);
        let reads = copied.compare(&setup).await?;
        println!("     {reads}");
        report.copied.add(&reads);
        purge_fresh(&setup, load.ledger()).await?;
        load.forget_fresh();
        let counts = recorder.take();
        println!(
            "{:>3}. {fault} ({seconds:.1} s): {counts}; succeeded again after {:.1} s; {} keys and {} \
             revisions compared, {} overtaken",
            round + 1,
            recovery.as_secs_f64(),
            compared.keys,
            compared.revisions,
            compared.overtaken,
        );
        report.counts.add(&counts);
        report.recovery = report.recovery.max(recovery);
    }
    report.broken = recorder.all_broken().0;
    println!(
        "all: {}; succeeded again after {:.1} s at most; {}; {}",
        report.counts,
        report.recovery.as_secs_f64(),
        report.told,
        report.copied
    );
    Ok(report)
}
