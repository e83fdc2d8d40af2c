//! Batches of some sizes: beside the limit, and beside a peer.

use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use testkit::LatticeCaller;

use crate::figure::Figure;
use crate::measure::{Side, fastest, take_turns};
use crate::progress::{PlannedRow, planned};
use crate::raw::{Ids, Raw};
use crate::recorder::FigureRecorder;
use crate::report::FigureRow;
use crate::setup::{BenchSetup, caller, peer_caller, until_heard};

/// What the table is called in files.
pub(crate) const TABLE: &str = "batches";

const OPERATIONS: [&str; 3] = ["get-many", "set-many", "delete-many"];

const SHAPES: [(usize, usize); 6] = [
    (1, 128),
    (100, 128),
    (100, 1024),
    (1000, 128),
    (1000, 1024),
    (10_000, 128),
];

/// How many operations a link has in flight that allows more than the default. That is for large batches of writes.
const WIDE_CONCURRENCY: &str = "1024";

/// The operations and shapes whose name has `rows` in it.
fn chosen(rows: &str) -> impl Iterator<Item = (String, &'static str, usize, usize)> {
    OPERATIONS
        .into_iter()
        .flat_map(|operation| SHAPES.map(|(count, size)| (operation, count, size)))
        .map(|(operation, count, size)| {
            let name = format!("{operation} {count} × {size} B");
            (name, operation, count, size)
        })
        .filter(move |(name, ..)| name.contains(rows))
}

/// The rows, and how long they take.
pub(crate) fn plan(rows: &str, time: Duration) -> Vec<PlannedRow> {
    let times = chosen(rows).map(|(_, _, count, _)| {
        // Of the largest, the fewest turns take longer than a row should.
        let turns = Duration::from_millis(if count < 10_000 { 500 } else { 8000 });
        time.max(turns) + Duration::from_millis(600)
    });
    planned(TABLE, times)
}

/// Prints a row for each operation and shape whose name has `rows` in it.
pub(crate) async fn print(
    setup: &BenchSetup,
    rows: &str,
    time: Duration,
    recorder: &mut FigureRecorder,
) -> Result<()> {
    println!(
        "\n| batch | limit | with ids | empty call | here | / (limit + call) | peer | here / peer \
         | {WIDE_CONCURRENCY} in flight | / (limit + call) | / peer |"
    );
    println!("| --- |{}", " ---: |".repeat(10));
    for (name, operation, count, size) in chosen(rows) {
        recorder.begin_row(&name);
        // A bucket of its own, which nothing is in of earlier rows: above all no ids of their writes,
        // which the server keeps for two minutes.
        let bucket = format!("{operation}-{count}-{size}");
        let wide = format!("{bucket}-wide");
        setup.bucket(&bucket).await?;
        let concurrency = ("max_concurrency", WIDE_CONCURRENCY);
        setup.link_with(&wide, &bucket, concurrency).await?;
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
        let figures = batch.print_row(&name, setup, &raw, time).await?;
        let row = FigureRow::new(name).operation(operation);
        let row = row.at("keys", count).at("bytes", size);
        recorder.keep(TABLE, row.figures(figures));
        let jetstream = setup.nats.jetstream().await?;
        jetstream.delete_key_value(&bucket).await?;
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
    ) -> Result<Vec<Figure>> {
        let floor_bucket = self.value.len().to_string();
        let floor = setup.floor();
        let ours = caller(&setup.ours, self.link);
        let wide = caller(&setup.ours, self.wide_link);
        let peer = setup.peer.as_ref();
        let peer = peer.map(|peer| peer_caller(peer, self.link));
        let (floor, floor_bucket, ours, wide) = (&floor, floor_bucket.as_str(), &ours, &wide);
        let mut sides = vec![
            Side::new("empty call", move || {
                until_heard(move || self.call(floor, floor_bucket))
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
            sides.push(Side::new("1024 in flight", move || {
                self.call(wide, self.wide_link)
            }));
        }
        if let Some(peer) = &peer {
            sides.push(Side::new("peer", move || {
                until_heard(move || self.call(peer, self.link))
            }));
        }
        take_turns(&mut sides, time).await?;
        // A side that is not there has no cell, and no ratio.
        let [limit, with_ids, empty, here, wide, peer] = [
            "limit",
            "with ids",
            "empty call",
            "here",
            "1024 in flight",
            "peer",
        ]
        .map(|name| fastest(&sides, name));
        let limit_and_call = limit
            .as_ref()
            .zip(empty.as_ref())
            .map(|(limit, call)| limit.plus(call));
        let ratio = |name, over: &Option<Figure>, under: &Option<Figure>| {
            let sides = over.as_ref().zip(under.as_ref());
            sides.map(|(over, under)| over.over(name, under))
        };
        let ratios = [
            ratio("here / (limit + call)", &here, &limit_and_call),
            ratio("here / peer", &here, &peer),
            ratio("1024 in flight / (limit + call)", &wide, &limit_and_call),
            ratio("1024 in flight / peer", &wide, &peer),
        ];
        let [to_limit, to_peer, wide_to_limit, wide_to_peer] = &ratios;
        let columns = [
            &limit,
            &with_ids,
            &empty,
            &here,
            to_limit,
            &peer,
            to_peer,
            &wide,
            wide_to_limit,
            wide_to_peer,
        ]
        .map(|figure| match figure {
            Some(figure) => format!("{:.2}", figure.value),
            None => "–".to_owned(),
        });
        println!("| {name} | {} |", columns.join(" | "));
        let sides = [limit, with_ids, empty, here, wide, peer];
        Ok(sides.into_iter().chain(ratios).flatten().collect())
    }

    async fn pipelined(self, raw: &Raw, ids: Ids) -> Result<()> {
        match self.operation {
            "get-many" => raw.get_pipelined(self.keys).await,
            "set-many" => raw.set(self.keys, self.value, ids).await,
            _ => raw.delete(self.keys, ids).await,
        }
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
