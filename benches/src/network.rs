//! Batches over a network, and reads over several connections.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use testkit::{DelayProxy, LatticeCaller};

use crate::figure::Figure;
use crate::measure::{Side, fastest, take_turns};
use crate::progress::{PlannedRow, planned};
use crate::raw::{Ids, Raw};
use crate::recorder::FigureRecorder;
use crate::report::FigureRow;
use crate::setup::{BenchSetup, LINK_TIMEOUT, caller};

/// How much longer the way to the bucket's server is, in each direction.
const DELAYS: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_micros(500),
    Duration::from_millis(2),
];

const BATCHES: [(&str, usize, usize); 9] = [
    ("get-many", 100, 128),
    ("get-many", 100, 1024),
    ("get-many", 1000, 128),
    ("get-many", 1000, 1024),
    ("set-many", 100, 128),
    ("set-many", 1000, 128),
    ("delete-many", 100, 128),
    ("delete-many", 1000, 128),
    ("keys", 1000, 128),
];

/// What the table of batches over a network is called in files.
pub(crate) const TABLE: &str = "network";
const CONNECTIONS: &str = "connections";

/// How many keys are read over several connections.
const READ: [usize; 2] = [1000, 10_000];

/// The rows of both tables, and how long they take.
pub(crate) fn plan(time: Duration) -> Vec<PlannedRow> {
    let begin = Duration::from_millis(300);
    let mut rows = planned(TABLE, [time + begin; BATCHES.len() * DELAYS.len()]);
    rows.extend(planned(CONNECTIONS, READ.map(|_| time + begin)));
    rows
}

/// Prints a row for each batch and each delay.
pub(crate) async fn print(
    setup: &BenchSetup,
    time: Duration,
    recorder: &mut FigureRecorder,
) -> Result<()> {
    println!(
        "\n| batch | ms each way | limit | empty call | here | / (limit + call) | round trips |"
    );
    println!("| --- |{}", " ---: |".repeat(6));
    for (number, (operation, count, size)) in BATCHES.into_iter().enumerate() {
        let bucket = format!("network-{number}");
        setup.bucket(&bucket).await?;
        let mut without_delay = None;
        for delay in DELAYS {
            let delay_ms = delay.as_secs_f64() * 1e3;
            let name = format!("{operation} {count} × {size} B, {delay_ms:.1} ms each way");
            recorder.begin_row(&name);
            let proxy = DelayProxy::start(setup.nats.port(), delay)?;
            let link = format!("{bucket}-{}", delay.as_micros());
            let far = setup.link_to(&bucket).name(&link);
            let far = far.config("cluster_uri", proxy.url());
            let far = far.config("timeout", LINK_TIMEOUT);
            setup.ours.put_link(&far).await?;
            let client = async_nats::connect(proxy.url()).await?;
            let batch = FarBatch {
                operation,
                keys: (0..count).map(|n| format!("key.{n}")).collect(),
                value: Bytes::from(vec![b'x'; size]),
                raw: Raw::new(client, &bucket),
                caller: caller(&setup.ours, &link),
                floor: setup.floor(),
                link: link.clone(),
            };
            let [limit, empty, here] = batch.measure(time).await?;
            let ratio = here.over("here / (limit + call)", &limit.plus(&empty));
            let without = *without_delay.get_or_insert(here.value);
            let round_trips = if delay.is_zero() {
                "–".to_owned()
            } else {
                format!("{:.1}", (here.value - without) / (2.0 * delay_ms))
            };
            println!(
                "| {operation} {count} × {size} B | {delay_ms:.1} | {:.2} | {:.2} | {:.2} | {:.2} | \
                 {round_trips} |",
                limit.value, empty.value, here.value, ratio.value
            );
            let row = FigureRow::new(name).operation(operation);
            let row = row.at("keys", count).at("bytes", size);
            let row = row.at_fraction("delay_ms", delay_ms);
            recorder.keep(TABLE, row.figures([limit, empty, here, ratio]));
            setup.ours.delete_link(&far).await?;
        }
        let jetstream = setup.nats.jetstream().await?;
        jetstream.delete_key_value(&bucket).await?;
    }
    Ok(())
}

struct FarBatch {
    operation: &'static str,
    keys: Vec<String>,
    value: Bytes,
    raw: Raw,
    caller: LatticeCaller,
    floor: LatticeCaller,
    link: String,
}

impl FarBatch {
    /// The times of the plain program, of an empty call, and of ours.
    async fn measure(&self, time: Duration) -> Result<[Figure; 3]> {
        self.raw.set(&self.keys, &self.value, Ids::Without).await?;
        let floor_bucket = &self.value.len().to_string();
        let mut sides = vec![
            Side::new("limit", || self.limit()),
            Side::new("empty call", move || async move {
                // The transport crate's server loses a call now and then.
                match self.call(&self.floor, floor_bucket).await {
                    Ok(()) => Ok(()),
                    Err(_) => self.call(&self.floor, floor_bucket).await,
                }
            }),
            Side::new("here", || self.call(&self.caller, &self.link)),
        ];
        if self.operation == "get-many" {
            sides.push(Side::new("limit", || self.raw.get_multi_last(&self.keys)));
        }
        take_turns(&mut sides, time).await?;
        let figure = |name| fastest(&sides, name).context("no such side");
        Ok([figure("limit")?, figure("empty call")?, figure("here")?])
    }

    async fn limit(&self) -> Result<()> {
        match self.operation {
            "get-many" => self.raw.get_pipelined(&self.keys).await,
            "set-many" => self.raw.set(&self.keys, &self.value, Ids::Without).await,
            "delete-many" => self.raw.delete(&self.keys, Ids::Without).await,
            _ => self.raw.keys_by_pull().await.map(drop),
        }
    }

    async fn call(&self, caller: &LatticeCaller, bucket: &str) -> Result<()> {
        match self.operation {
            "get-many" => {
                let found = caller.batch().get_many(bucket, &self.keys).await??;
                ensure!(found.iter().flatten().count() == self.keys.len());
            }
            "set-many" => {
                let pairs = self.keys.iter().map(|key| (key.as_str(), &self.value));
                let pairs: Vec<_> = pairs.collect();
                caller.batch().set_many_raw(bucket, &pairs).await??;
            }
            "delete-many" => caller.batch().delete_many(bucket, &self.keys).await??,
            // The empty call's server cannot list, and answers a batch.
            _ if bucket != self.link => {
                caller.batch().delete_many(bucket, &self.keys).await??;
            }
            _ => ensure!(caller.keys(bucket).await??.len() == self.keys.len()),
        }
        Ok(())
    }
}

/// Prints what a second connection gains.
pub(crate) async fn print_connections(
    setup: &BenchSetup,
    time: Duration,
    recorder: &mut FigureRecorder,
) -> Result<()> {
    println!("\n| get-many | one connection | two | two / one |");
    println!("| --- | ---: | ---: | ---: |");
    for count in READ {
        let name = format!("get-many {count} × 128 B");
        recorder.begin_row(&name);
        let bucket = format!("connections-{count}");
        setup.bucket(&bucket).await?;
        let two = format!("{bucket}-two");
        let link = setup.link_to(&bucket).name(&two).config("connections", "2");
        setup
            .ours
            .put_link(&link.config("timeout", LINK_TIMEOUT))
            .await?;
        let keys: Vec<String> = (0..count).map(|n| format!("key.{n}")).collect();
        let raw = Raw::new(setup.nats.client().await?, &bucket);
        let value = Bytes::from(vec![b'x'; 128]);
        for keys in keys.chunks(1000) {
            raw.set(keys, &value, Ids::Without).await?;
        }
        let callers = [caller(&setup.ours, &bucket), caller(&setup.ours, &two)];
        let (keys, [over_one, over_two]) = (&keys, &callers);
        let mut sides = [
            Side::new("one", || get_many(over_one, keys)),
            Side::new("two", || get_many(over_two, keys)),
        ];
        take_turns(&mut sides, time).await?;
        let [one, two] = sides.each_ref().map(Side::figure);
        let ratio = two.over("two / one", &one);
        println!(
            "| {count} × 128 B | {:.2} | {:.2} | {:.2} |",
            one.value, two.value, ratio.value
        );
        let row = FigureRow::new(name).operation("get-many").at("keys", count);
        recorder.keep(CONNECTIONS, row.figures([one, two, ratio]));
    }
    Ok(())
}

async fn get_many(caller: &LatticeCaller, keys: &[String]) -> Result<()> {
    let found = caller.batch().get_many("default", keys).await??;
    ensure!(found.iter().flatten().count() == keys.len());
    Ok(())
}
