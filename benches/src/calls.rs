//! Whether the provider's memory stays where it is over many calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use futures::future::try_join_all;
use testkit::LatticeCaller;

use crate::figure::{Figure, FigureUnit};
use crate::noise::middle;
use crate::progress::{PlannedRow, planned};
use crate::recorder::FigureRecorder;
use crate::report::FigureRow;
use crate::setup::{BenchSetup, caller};

const TABLE: &str = "calls";

/// Calls after which the provider has all that it needs for this load.
const WARM_UP: u64 = 50_000;
const CALLERS: usize = 16;

/// After the warm-up, it is looked at the memory so many times.
const STEPS: u64 = 5;

/// The row, and how long it takes.
pub(crate) fn plan(calls: u64) -> Vec<PlannedRow> {
    planned(TABLE, [Duration::from_millis(calls / 14)])
}

/// Prints what is resident as a process of its own answers calls of get-many with one key.
pub(crate) async fn print(
    setup: &BenchSetup,
    calls: u64,
    recorder: &mut FigureRecorder,
) -> Result<()> {
    ensure!(
        calls > WARM_UP,
        "{calls} calls: the first {WARM_UP} warm up"
    );
    recorder.begin_row(&format!("{calls} calls"));
    let bucket = "calls";
    setup.bucket(bucket).await?;
    let provider = setup.another(bucket).await?;
    let caller = caller(&provider, "default");
    let value = Bytes::from_static(b"value");
    let batch = caller.batch();
    batch.set_many_raw(bucket, &[("key", &value)]).await??;

    println!("\n| calls of one key, {CALLERS} callers | calls/s | resident, MiB | to the first |");
    println!("| ---: | ---: | ---: | ---: |");
    let mut first = None;
    let mut done = 0;
    let (mut rates, mut sizes) = (Vec::new(), Vec::new());
    while done < calls {
        let step = if done == 0 {
            WARM_UP
        } else {
            (calls - WARM_UP).div_ceil(STEPS)
        };
        let step = step.min(calls - done);
        let begun = Instant::now();
        run(&caller, step).await?;
        let per_second = as_f64(step) / begun.elapsed().as_secs_f64();
        done += step;
        let resident = as_f64(provider.rss_kib()?) / 1024.0;
        if first.is_some() {
            rates.push(per_second);
            sizes.push(resident);
        }
        let first = *first.get_or_insert(resident);
        println!(
            "| {done} | {per_second:.0} | {resident:.1} | {:+.1} % |",
            (resident / first - 1.0) * 100.0
        );
    }
    let row = FigureRow::new(format!("{CALLERS} callers")).figures([
        Figure::new("calls", FigureUnit::CallsPerSecond, middle(&rates), rates),
        Figure::new("resident", FigureUnit::Mebibytes, middle(&sizes), sizes),
    ]);
    recorder.keep(TABLE, row);
    Ok(())
}

async fn run(caller: &LatticeCaller, calls: u64) -> Result<()> {
    let next = Arc::new(AtomicU64::new(0));
    let callers = (0..CALLERS).map(async |_| {
        let (caller, next) = (caller.clone(), Arc::clone(&next));
        tokio::spawn(async move {
            let batch = caller.batch();
            while next.fetch_add(1, Ordering::Relaxed) < calls {
                let found = batch.get_many("default", &["key"]).await??;
                ensure!(found.len() == 1, "{} answers", found.len());
            }
            Ok(())
        })
        .await?
    });
    try_join_all(callers).await?;
    Ok(())
}

#[allow(clippy::cast_precision_loss)]
fn as_f64(number: u64) -> f64 {
    number as f64
}
