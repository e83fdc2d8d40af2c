//! Batches of some sizes: beside the limit, and beside a peer.

use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use testkit::LatticeCaller;

use crate::measure::{Side, take_turns};
use crate::raw::{Ids, Raw};
use crate::setup::{BenchSetup, caller};

const SHAPES: [(usize, usize); 6] = [
    (1, 128),
    (100, 128),
    (100, 1024),
    (1000, 128),
    (1000, 1024),
    (10_000, 128),
];

/// After how long a peer's call counts as lost.
const PEER_TIMEOUT: Duration = Duration::from_secs(5);

/// How many operations a link has in flight that allows more than the default. That is for large batches of writes.
const WIDE_CONCURRENCY: &str = "1024";

/// Prints a row for each operation and shape whose name has `rows` in it.
pub(crate) async fn print(setup: &BenchSetup, rows: &str, time: Duration) -> Result<()> {
    println!(
        "\n| batch | limit | with ids | empty call | here | / (limit + call) | peer | here / peer \
         | {WIDE_CONCURRENCY} in flight | / (limit + call) | / peer |"
    );
    println!("| --- |{}", " ---: |".repeat(10));
    for operation in ["get-many", "set-many", "delete-many"] {
        for (count, size) in SHAPES {
            let name = format!("{operation} {count} × {size} B");
            if !name.contains(rows) {
                continue;
            }
            // A bucket of its own, which nothing is in of earlier rows: above all no ids of their writes,
            // which the server keeps for two minutes.
            let bucket = format!("{operation}-{count}-{size}");
            let wide = format!("{bucket}-wide");
            setup.bucket(&bucket).await?;
            setup.wide_link(&wide, &bucket, WIDE_CONCURRENCY).await?;
            let raw = Raw::new(setup.nats.client().await?, &bucket);
            let keys: Vec<String> = (0..count).map(|n| format!("key.{n}")).collect();
            let value = Bytes::from(vec![b'x'; size]);
            raw.set(&keys, &value, Ids::Without).await?;
            let batch = MeasuredBatch {
                operation,
                keys: &keys,
                value: &value,
                link: &bucket,
                wide_link: &wide,
            };
            batch.print_row(&name, setup, &raw, time).await?;
            let jetstream = setup.nats.jetstream().await?;
            jetstream.delete_key_value(&bucket).await?;
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct MeasuredBatch<'a> {
    operation: &'static str,
    keys: &'a [String],
    value: &'a Bytes,
    link: &'a str,
    wide_link: &'a str,
}

impl MeasuredBatch<'_> {
    async fn print_row(
        self,
        name: &str,
        setup: &BenchSetup,
        raw: &Raw,
        time: Duration,
    ) -> Result<()> {
        let floor_bucket = self.value.len().to_string();
        let floor = setup.floor();
        let ours = caller(&setup.ours, self.link);
        let wide = caller(&setup.ours, self.wide_link);
        let peer = setup.peer.as_ref().map(|peer| {
            let caller = caller(peer, self.link);
            caller.with_timeout(PEER_TIMEOUT)
        });
        let (floor, floor_bucket, ours, wide) = (&floor, floor_bucket.as_str(), &ours, &wide);
        let mut sides = vec![
            Side::new("empty call", move || {
                self.call_until_heard(floor, floor_bucket)
            }),
            Side::new("here", move || self.call(ours, self.link)),
            Side::new("limit", move || self.pipelined(raw, Ids::Without)),
        ];
        if self.operation == "get-many" {
            // Which of the two is better depends on the machine.
            sides.push(Side::new("limit", move || raw.get_multi_last(self.keys)));
        } else {
            sides.push(Side::new("with ids", move || {
                self.pipelined(raw, Ids::With)
            }));
            sides.push(Side::new("wide", move || self.call(wide, self.wide_link)));
        }
        if let Some(peer) = &peer {
            sides.push(Side::new("peer", move || {
                self.call_until_heard(peer, self.link)
            }));
        }
        take_turns(&mut sides, time).await?;
        let median = |name| {
            let medians = sides.iter().filter(|side| side.name == name);
            medians.map(Side::median).reduce(f64::min)
        };
        // A side that is not there has no cell, and no ratio.
        let cell = |ms: Option<f64>| ms.map_or_else(|| "–".to_owned(), |ms| format!("{ms:.2}"));
        let ratio = |a: Option<f64>, b: Option<f64>| cell(a.zip(b).map(|(a, b)| a / b));
        let [limit, with_ids, empty, here, wide, peer] =
            ["limit", "with ids", "empty call", "here", "wide", "peer"].map(median);
        let limit_and_call = limit.zip(empty).map(|(limit, call)| limit + call);
        let columns = [
            cell(limit),
            cell(with_ids),
            cell(empty),
            cell(here),
            ratio(here, limit_and_call),
            cell(peer),
            ratio(here, peer),
            cell(wide),
            ratio(wide, limit_and_call),
            ratio(wide, peer),
        ];
        println!("| {name} | {} |", columns.join(" | "));
        Ok(())
    }

    async fn pipelined(self, raw: &Raw, ids: Ids) -> Result<()> {
        match self.operation {
            "get-many" => raw.get_pipelined(self.keys).await,
            "set-many" => raw.set(self.keys, self.value, ids).await,
            _ => raw.delete(self.keys, ids).await,
        }
    }

    /// The transport crate's server and client lose a call now and then when they are busy; other
    /// providers than ours use that server.
    async fn call_until_heard(self, caller: &LatticeCaller, bucket: &str) -> Result<()> {
        for _ in 0..3 {
            if self.call(caller, bucket).await.is_ok() {
                return Ok(());
            }
        }
        self.call(caller, bucket).await
    }

    async fn call(self, caller: &LatticeCaller, bucket: &str) -> Result<()> {
        let batch = caller.batch();
        match self.operation {
            "get-many" => {
                let found = batch.get_many(bucket, self.keys).await??;
                ensure!(found.iter().flatten().count() == self.keys.len());
            }
            "set-many" => {
                let pairs: Vec<_> = self
                    .keys
                    .iter()
                    .map(|key| (key.as_str(), self.value))
                    .collect();
                batch.set_many_raw(bucket, &pairs).await??;
            }
            _ => batch.delete_many(bucket, self.keys).await??,
        }
        Ok(())
    }
}
