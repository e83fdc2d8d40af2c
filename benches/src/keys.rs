//! Listing a bucket, beside the ways a program of its own has.

use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;

use crate::measure::{Side, take_turns};
use crate::progress::{PlannedRow, planned};
use crate::raw::{Ids, Raw};
use crate::recorder::FigureRecorder;
use crate::report::FigureRow;
use crate::setup::{BenchSetup, caller};

/// How many keys the buckets have; a tenth of them deleted.
const LISTED: [usize; 2] = [1_000, 100_000];

const TABLE: &str = "keys";

/// The rows, and how long they take.
pub(crate) fn plan(time: Duration) -> Vec<PlannedRow> {
    let turns = [1, 8].map(Duration::from_secs);
    planned(TABLE, turns.map(|turns| time.max(turns) + turns / 4))
}

/// Prints a row for each size of a bucket. The peer's interface for batches cannot list.
pub(crate) async fn print(
    setup: &BenchSetup,
    time: Duration,
    recorder: &mut FigureRecorder,
) -> Result<()> {
    println!("\n| keys of | ordered consumer | few pulls | here | here / best |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    for count in LISTED {
        recorder.begin_row(&format!("keys of {count}"));
        let bucket = format!("listed-{count}");
        setup.bucket(&bucket).await?;
        let raw = Raw::new(setup.nats.client().await?, &bucket);
        let keys: Vec<String> = (0..count).map(|n| format!("key.{n}")).collect();
        for keys in keys.chunks(1000) {
            raw.set(keys, &Bytes::from_static(b"value"), Ids::Without)
                .await?;
        }
        let (deleted, live) = keys.split_at(count / 10);
        for keys in deleted.chunks(1000) {
            raw.delete(keys, Ids::Without).await?;
        }
        let (live, ours) = (live.len(), caller(&setup.ours, &bucket));
        let (raw, ours, bucket) = (&raw, &ours, bucket.as_str());
        let mut sides = [
            Side::new("ordered consumer", move || async move {
                ensure!(raw.keys().await? == live);
                Ok(())
            }),
            Side::new("few pulls", move || async move {
                ensure!(raw.keys_by_pull().await? == live);
                Ok(())
            }),
            Side::new("here", move || async move {
                ensure!(ours.keys(bucket).await??.len() == live);
                Ok(())
            }),
        ];
        take_turns(&mut sides, time).await?;
        let [ordered, pull, here] = sides.each_ref().map(Side::figure);
        let best = if ordered.value < pull.value {
            &ordered
        } else {
            &pull
        };
        let ratio = here.over("here / best", best);
        println!(
            "| {count} | {:.2} | {:.2} | {:.2} | {:.2} |",
            ordered.value, pull.value, here.value, ratio.value
        );
        let row = FigureRow::new(format!("keys of {count}")).operation("keys");
        let row = row.at("keys", count);
        recorder.keep(TABLE, row.figures([ordered, pull, here, ratio]));
    }
    Ok(())
}
