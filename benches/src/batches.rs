//! Batches of some sizes: beside the limit, and beside a peer.

use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use testkit::Caller;

use crate::measure::{Side, take_turns};
use crate::raw::{Ids, Raw};
use crate::stage::{Stage, caller};

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

/// The bucket, which is also the name of its link.
const BUCKET: &str = "default";

/// A link to it with more slots than the default, which is for large batches of writes.
const WIDE: &str = "wide";
const WIDE_SLOTS: &str = "1024";

/// Prints a row for each operation and shape whose name has `rows` in it.
pub(crate) async fn print(stage: &Stage, rows: &str, time: Duration) -> Result<()> {
    stage.bucket(BUCKET).await?;
    stage.wide_link(WIDE, BUCKET, WIDE_SLOTS).await?;
    let raw = Raw::new(stage.nats.client().await?, BUCKET);
    println!(
        "\n| batch | limit | with ids | empty call | here | here / (limit + call) | {WIDE_SLOTS} slots | peer | here / peer |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for operation in ["get-many", "set-many", "delete-many"] {
        for (count, size) in SHAPES {
            let name = format!("{operation} {count} × {size} B");
            if !name.contains(rows) {
                continue;
            }
            let keys: Vec<String> = (0..count).map(|n| format!("key.{size}.{n}")).collect();
            let value = Bytes::from(vec![b'x'; size]);
            raw.set(&keys, &value, Ids::Without).await?;
            let batch = Batch {
                operation,
                keys: &keys,
                value: &value,
            };
            batch.print_row(&name, stage, &raw, time).await?;
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Batch<'a> {
    operation: &'static str,
    keys: &'a [String],
    value: &'a Bytes,
}

impl Batch<'_> {
    async fn print_row(self, name: &str, stage: &Stage, raw: &Raw, time: Duration) -> Result<()> {
        let floor_bucket = self.value.len().to_string();
        let floor = stage.floor();
        let ours = caller(&stage.ours, BUCKET);
        let wide = caller(&stage.ours, WIDE);
        let peer = stage.peer.as_ref().map(|peer| {
            let caller = caller(peer, BUCKET);
            caller.with_timeout(PEER_TIMEOUT)
        });
        let (floor, floor_bucket, ours, wide) = (&floor, floor_bucket.as_str(), &ours, &wide);
        let mut sides = vec![
            Side::new("empty call", move || {
                self.call_until_heard(floor, floor_bucket)
            }),
            Side::new("here", move || self.call(ours, BUCKET)),
            Side::new("limit", move || self.pipelined(raw, Ids::Without)),
        ];
        if self.operation == "get-many" {
            // Which of the two is better depends on the machine.
            sides.push(Side::new("limit", move || raw.get_multi_last(self.keys)));
        } else {
            sides.push(Side::new("with ids", move || {
                self.pipelined(raw, Ids::With)
            }));
            sides.push(Side::new("wide", move || self.call(wide, BUCKET)));
        }
        if let Some(peer) = &peer {
            sides.push(Side::new("peer", move || {
                self.call_until_heard(peer, BUCKET)
            }));
        }
        take_turns(&mut sides, time).await?;
        let median = |name| {
            let medians = sides.iter().filter(|side| side.name == name);
            medians.map(Side::median).reduce(f64::min)
        };
        let [limit, floor, here] =
            ["limit", "empty call", "here"].map(|name| median(name).unwrap_or(f64::NAN));
        let or_dash = |name| median(name).map_or_else(|| "–".to_owned(), |ms| format!("{ms:.2}"));
        let (with_ids, wide) = (or_dash("with ids"), or_dash("wide"));
        let peer = median("peer").map_or_else(
            || "– | –".to_owned(),
            |peer| format!("{peer:.2} | {:.2}", here / peer),
        );
        println!(
            "| {name} | {limit:.2} | {with_ids} | {floor:.2} | {here:.2} | {:.2} | {wide} | {peer} |",
            here / (limit + floor),
        );
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
    async fn call_until_heard(self, caller: &Caller, bucket: &str) -> Result<()> {
        for _ in 0..3 {
            if self.call(caller, bucket).await.is_ok() {
                return Ok(());
            }
        }
        self.call(caller, bucket).await
    }

    async fn call(self, caller: &Caller, bucket: &str) -> Result<()> {
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
