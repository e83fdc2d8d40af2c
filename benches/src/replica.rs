//! Reads from memory, beside the same reads from the server: of the engine, called from Rust, and over
//! the lattice; and what a copy costs those who write.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use eventual_batch_engine::{
    Bucket, BucketOptions, Connection, ConnectionSettings, Connections, Deadline, ReplicaMode,
    ReplicaSettings, Replicas,
};
use testkit::async_nats::jetstream::kv;
use tokio::time::{Instant, sleep};

use crate::engine;
use crate::figure::Figure;
use crate::measure::{Side, fastest, take_turns};
use crate::progress::{PlannedRow, planned};
use crate::raw::{Ids, Raw};
use crate::recorder::FigureRecorder;
use crate::report::FigureRow;
use crate::setup::{BenchSetup, TIMEOUT, caller, peer_caller, until_heard};

/// How many keys the bucket has, and the size of their values.
const SIZES: [(usize, usize); 2] = [(100_000, 128), (10_000, 1024)];

const BATCHES: [usize; 3] = [1, 100, 1000];

const IN_PROCESS: &str = "replica in process";
const OVER_THE_LATTICE: &str = "replica over the lattice";
const WRITERS: &str = "writers to a replica";

/// The rows of all tables, and how long they take.
pub(crate) fn plan(time: Duration) -> Vec<PlannedRow> {
    let begin = Duration::from_millis(500);
    let batches = SIZES.len() * BATCHES.len();
    let mut rows = planned(IN_PROCESS, vec![time + begin; batches + SIZES.len()]);
    rows.extend(planned(OVER_THE_LATTICE, vec![time + 2 * begin; batches]));
    rows.extend(planned(WRITERS, [time + begin]));
    rows
}

/// Prints all tables.
pub(crate) async fn print(
    setup: &BenchSetup,
    time: Duration,
    recorder: &mut FigureRecorder,
) -> Result<()> {
    let connections = Connections::new("bench");
    let settings = engine::settings(setup.nats.url());
    println!(
        "\n| in process | off | bounded | off / bounded | fresh | question | fresh / question |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    for (count, size) in SIZES {
        let name = format!("replica-{size}");
        setup.bucket(&name).await?;
        let raw = Raw::new(setup.nats.client().await?, &name);
        let keys: Vec<String> = (0..count).map(|number| format!("key.{number}")).collect();
        for keys in keys.chunks(1000) {
            raw.set(keys, &Bytes::from(vec![b'x'; size]), Ids::Without)
                .await?;
        }
        let connection = connections.get(&settings).await?;
        in_process(setup, &connection, &name, &keys, time, recorder).await?;
    }
    over_the_lattice(setup, time, recorder).await?;
    recorder.begin_row("set-many 1000 × 128 B");
    let row = writers(setup, &connections, &settings, time).await?;
    recorder.keep(WRITERS, row);
    Ok(())
}

async fn in_process(
    setup: &BenchSetup,
    connection: &Arc<Connection>,
    name: &str,
    keys: &[String],
    time: Duration,
    recorder: &mut FigureRecorder,
) -> Result<()> {
    let replicas = Replicas::new(1 << 30);
    let before = rss_kib()?;
    let off = engine::bucket(connection, name);
    let bounded = copied(connection, name, &replicas, ReplicaMode::Bounded).await?;
    let fresh = copied(connection, name, &replicas, ReplicaMode::Fresh).await?;
    let grown = rss_kib()?.saturating_sub(before);
    let js = setup.nats.jetstream().await?;
    let stream = js.get_stream_no_info(format!("KV_{name}")).await?;
    let (off, bounded, fresh, stream) = (&off, &bounded, &fresh, &stream);
    for batch in BATCHES {
        let asked = &keys[..batch];
        let name = format!("get-many {batch} of {name}");
        recorder.begin_row(&name);
        let mut sides = [
            Side::new("off", move || get(off, asked)),
            Side::new("bounded", move || get(bounded, asked)),
            Side::new("fresh", move || get(fresh, asked)),
            Side::new("question", move || async move {
                stream.get_info().await?;
                Ok(())
            }),
        ];
        take_turns(&mut sides, time).await?;
        recorder.keep(IN_PROCESS, row(name, sides.each_ref().map(Side::figure)));
    }
    let listing = format!("keys of {} of {name}", keys.len());
    recorder.begin_row(&listing);
    let mut sides = [
        Side::new("off", move || list(off, keys.len())),
        Side::new("bounded", move || list(bounded, keys.len())),
        Side::new("fresh", move || list(fresh, keys.len())),
        Side::new("question", move || async move {
            stream.get_info().await?;
            Ok(())
        }),
    ];
    take_turns(&mut sides, time).await?;
    recorder.keep(IN_PROCESS, row(listing, sides.each_ref().map(Side::figure)));
    let stats = bounded.replica_stats().context("it has a copy")?;
    let plain: usize = keys.iter().map(String::len).sum::<usize>()
        + keys.len() * name.rsplit('-').next().unwrap_or("0").parse::<usize>()?;
    println!(
        "\n{} keys: {} bytes of keys and values, {} counted, {} KiB more resident; {:?}\n",
        stats.keys, plain, stats.bytes, grown, stats.fallbacks
    );
    Ok(())
}

/// Prints a row.
fn row(name: String, [off, bounded, fresh, question]: [Figure; 4]) -> FigureRow {
    let faster = off.over("off / bounded", &bounded);
    let slower = fresh.over("fresh / question", &question);
    println!(
        "| {name} | {:.3} | {:.4} | {:.1} | {:.3} | {:.3} | {:.2} |",
        off.value, bounded.value, faster.value, fresh.value, question.value, slower.value
    );
    FigureRow::new(name).figures([
        off,
        bounded,
        faster.better_if_more(),
        fresh,
        question,
        slower,
    ])
}

async fn get(bucket: &Bucket, keys: &[String]) -> Result<()> {
    let values = bucket.get_many(keys, Deadline::after(TIMEOUT)).await?;
    ensure!(values.iter().all(Option::is_some));
    Ok(())
}

async fn list(bucket: &Bucket, count: usize) -> Result<()> {
    let keys = bucket.keys(Deadline::after(TIMEOUT)).await?;
    ensure!(keys.len() == count);
    Ok(())
}

async fn over_the_lattice(
    setup: &BenchSetup,
    time: Duration,
    recorder: &mut FigureRecorder,
) -> Result<()> {
    println!("\n| over the lattice | off | bounded | off / bounded | peer | peer / bounded |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    for (count, size) in SIZES {
        let name = format!("replica-{size}");
        let link = format!("bounded-{size}");
        setup
            .link_with(&link, &name, ("replica", "bounded"))
            .await?;
        let keys: Vec<String> = (0..count).map(|number| format!("key.{number}")).collect();
        let (off, bounded) = (caller(&setup.ours, &name), caller(&setup.ours, &link));
        let (off, bounded) = (&off, &bounded);
        let peer = setup.peer.as_ref().map(|peer| peer_caller(peer, &name));
        let bucket = name.as_str();
        if let Some(peer) = &peer {
            // A peer may keep its values elsewhere.
            let value = Bytes::from(vec![b'x'; size]);
            let most = BATCHES.into_iter().max().unwrap_or_default();
            let pairs: Vec<_> = keys[..most]
                .iter()
                .map(|key| (key.as_str(), &value))
                .collect();
            until_heard(async || {
                peer.batch().set_many_raw(bucket, &pairs).await??;
                Ok(())
            })
            .await?;
        }
        // The copy is read meanwhile.
        bounded.get_many("", &keys[..1]).await??;
        sleep(Duration::from_secs(3)).await;
        for batch in BATCHES {
            let asked = &keys[..batch];
            let name = format!("get-many {batch} × {size} B");
            recorder.begin_row(&name);
            let mut sides = vec![
                Side::new("off", move || async move {
                    ensure!(off.get_many("", asked).await??.len() == batch);
                    Ok(())
                }),
                Side::new("bounded", move || async move {
                    ensure!(bounded.get_many("", asked).await??.len() == batch);
                    Ok(())
                }),
            ];
            if let Some(peer) = &peer {
                sides.push(Side::new("peer", move || {
                    until_heard(move || async move {
                        let found = peer.batch().get_many(bucket, asked).await??;
                        ensure!(found.iter().flatten().count() == batch);
                        Ok(())
                    })
                }));
            }
            take_turns(&mut sides, time).await?;
            let [off, bounded] = [0, 1].map(|side: usize| sides[side].figure());
            let ratio = off.over("off / bounded", &bounded).better_if_more();
            let peer = fastest(&sides, "peer").map(|peer| {
                let ratio = peer.over("peer / bounded", &bounded).better_if_more();
                [peer, ratio]
            });
            let cells = match &peer {
                Some([peer, ratio]) => format!("{:.2} | {:.2}", peer.value, ratio.value),
                None => "– | –".to_owned(),
            };
            println!(
                "| {name} | {:.2} | {:.2} | {:.2} | {cells} |",
                off.value, bounded.value, ratio.value
            );
            let row = FigureRow::new(name).figures([off, bounded, ratio]);
            recorder.keep(OVER_THE_LATTICE, row.figures(peer.into_iter().flatten()));
        }
    }
    Ok(())
}

/// Writes to a bucket of which there is a copy, and to one of which there is none.
async fn writers(
    setup: &BenchSetup,
    connections: &Connections,
    settings: &ConnectionSettings,
    time: Duration,
) -> Result<FigureRow> {
    println!("\n| set-many 1000 × 128 B | without a copy | with one | with / without |");
    println!("| --- | ---: | ---: | ---: |");
    let connection = connections.get(settings).await?;
    let replicas = Replicas::new(1 << 30);
    let js = setup.nats.jetstream().await?;
    for name in ["written-alone", "written-copied"] {
        let bucket = kv::Config {
            bucket: name.to_owned(),
            ..kv::Config::default()
        };
        js.create_key_value(bucket).await?;
    }
    let alone = engine::bucket(&connection, "written-alone");
    let copied = copied(
        &connection,
        "written-copied",
        &replicas,
        ReplicaMode::Bounded,
    );
    let copied = copied.await?;
    let (alone, copied) = (&alone, &copied);
    let mut sides = [
        Side::new("alone", move || set(alone)),
        Side::new("copied", move || set(copied)),
    ];
    take_turns(&mut sides, time).await?;
    let [alone, copied] = sides.each_ref().map(Side::figure);
    let ratio = copied.over("copied / alone", &alone);
    println!(
        "| | {:.2} | {:.2} | {:.2} |",
        alone.value, copied.value, ratio.value
    );
    Ok(FigureRow::new("set-many 1000 × 128 B").figures([alone, copied, ratio]))
}

async fn set(bucket: &Bucket) -> Result<()> {
    let entry = |number| (format!("key.{number}"), Bytes::from_static(&[b'x'; 128]));
    let entries = (0..1000).map(entry).collect();
    bucket.set_many(entries, Deadline::after(TIMEOUT)).await?;
    Ok(())
}

/// A bucket whose copy is complete.
async fn copied(
    connection: &Arc<Connection>,
    name: &str,
    replicas: &Replicas,
    mode: ReplicaMode,
) -> Result<Bucket> {
    let settings = ReplicaSettings {
        mode,
        ..ReplicaSettings::default()
    };
    let options = BucketOptions {
        replica: Some((replicas, settings)),
        ..BucketOptions::default()
    };
    let bucket = engine::bucket_with(connection, name, options);
    let begun = Instant::now();
    loop {
        bucket
            .get_many(&["key.0".to_owned()], Deadline::after(TIMEOUT))
            .await?;
        if bucket.replica_stats().is_some_and(|stats| stats.hits > 0) {
            return Ok(bucket);
        }
        ensure!(begun.elapsed() < TIMEOUT, "{:?}", bucket.replica_stats());
        sleep(Duration::from_millis(20)).await;
    }
}

/// The resident memory of this process.
fn rss_kib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.context("no VmRSS")?.parse()?)
}
