//! Single keys, and the pages of a listing: beside a peer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use futures::future::try_join_all;
use testkit::{LatticeCaller, LinkDefinition, Provider};

use crate::measure::{Side, percentile, take_turns};
use crate::raw::{Ids, Raw};
use crate::setup::{BenchSetup, COMPONENT, caller};

const OPERATIONS: [&str; 4] = ["get", "set", "exists", "increment"];
const CALLERS: [usize; 2] = [1, 64];
const SIZE: usize = 128;
const KEYS: usize = 1000;
const LISTED: usize = 200_000;

/// What a peer may answer after, or never: it loses calls of many callers at once.
const WAIT_LIMIT: Duration = Duration::from_secs(2);

/// Prints a row for each operation and number of callers. All callers increment one key; of the
/// other operations each call is about another one.
pub(crate) async fn print(setup: &BenchSetup, time: Duration) -> Result<()> {
    println!(
        "\n| single keys | callers | here, calls/s | p50 | p99 | peer, calls/s | p50 | p99 | failed | here / peer |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for operation in OPERATIONS {
        for callers in CALLERS {
            let bucket = format!("single-{operation}-{callers}");
            setup.bucket(&bucket).await?;
            let keys: Vec<_> = (0..KEYS).map(key).collect();
            let raw = Raw::new(setup.nats.client().await?, &bucket);
            raw.set(&keys, &Bytes::from(vec![b'x'; SIZE]), Ids::Without)
                .await?;
            let load = CallLoad {
                operation,
                callers,
                bucket,
            };
            load.print_row(setup, time).await?;
        }
    }
    Ok(())
}

fn key(n: usize) -> String {
    format!("key.{n}")
}

#[derive(Clone)]
struct CallLoad {
    operation: &'static str,
    callers: usize,
    bucket: String,
}

/// What one side has done.
#[derive(Default)]
struct Done {
    times: Vec<Duration>,
    failed: usize,
    elapsed: Duration,
}

impl Done {
    fn add(&mut self, other: Self) {
        self.times.extend(other.times);
        self.failed += other.failed;
        self.elapsed += other.elapsed;
    }

    fn rate(&self) -> Result<f64> {
        Ok(f64::from(u32::try_from(self.times.len())?) / self.elapsed.as_secs_f64())
    }

    fn cells(&self) -> Result<String> {
        let [half, most] = [50, 99].map(|percent| percentile(&self.times, percent));
        Ok(format!("{:.0} | {half:.2} | {most:.2}", self.rate()?))
    }
}

impl CallLoad {
    async fn print_row(&self, setup: &BenchSetup, time: Duration) -> Result<()> {
        const TURNS: u32 = 4;
        let (mut here, mut there) = (Done::default(), Done::default());
        for turn in 0..=TURNS {
            // The first turn is for caches and buffers to settle.
            let time = if turn == 0 { time / 8 } else { time / TURNS };
            let ours = self.run(&setup.ours, time).await?;
            ensure!(ours.failed == 0, "{} calls failed", ours.failed);
            let peer = match &setup.peer {
                Some(peer) => Some(self.run(peer, time).await?),
                None => None,
            };
            if turn > 0 {
                here.add(ours);
                there.add(peer.unwrap_or_default());
            }
        }
        let peer = match &setup.peer {
            Some(_) => format!(
                "{} | {} | {:.2}",
                there.cells()?,
                there.failed,
                here.rate()? / there.rate()?
            ),
            None => "– | – | – | – | –".to_owned(),
        };
        let Self {
            operation, callers, ..
        } = self;
        println!("| {operation} | {callers} | {} | {peer} |", here.cells()?);
        Ok(())
    }

    async fn run(&self, provider: &Provider, time: Duration) -> Result<Done> {
        let next = Arc::<AtomicUsize>::default();
        let begun = Instant::now();
        let callers = (0..self.callers).map(|_| {
            let (load, next) = (self.clone(), Arc::clone(&next));
            let caller = caller(provider, &self.bucket).with_timeout(WAIT_LIMIT);
            tokio::spawn(async move {
                let mut done = Done::default();
                let value = Bytes::from(vec![b'y'; SIZE]);
                while begun.elapsed() < time {
                    let key = key(next.fetch_add(1, Ordering::Relaxed) % KEYS);
                    let sent = Instant::now();
                    match load.call(&caller, &key, &value).await {
                        Ok(()) => done.times.push(sent.elapsed()),
                        Err(_) => done.failed += 1,
                    }
                }
                done
            })
        });
        let mut all = Done::default();
        for done in try_join_all(callers).await? {
            all.add(done);
        }
        all.elapsed = begun.elapsed();
        Ok(all)
    }

    async fn call(&self, caller: &LatticeCaller, key: &str, value: &Bytes) -> Result<()> {
        let (store, bucket) = (caller.store(), self.bucket.as_str());
        match self.operation {
            "get" => {
                let found = store.get(bucket, key).await??;
                ensure!(found.is_some_and(|found| found.len() == SIZE));
            }
            "set" => store.set(bucket, key, value.clone()).await??,
            "exists" => ensure!(store.exists(bucket, key).await??),
            _ => {
                caller.atomics().increment(bucket, "counter", 1).await??;
            }
        }
        Ok(())
    }
}

/// Prints how long all pages of a large bucket take, beside `keys` and a peer's one page.
pub(crate) async fn print_pages(setup: &BenchSetup, time: Duration) -> Result<()> {
    let bucket = "pages";
    setup.bucket(bucket).await?;
    // `keys` answers them all at once, which are more than a link allows by itself.
    let link = LinkDefinition::new(COMPONENT)
        .name(bucket)
        .config("cluster_uri", setup.nats.url())
        .config("bucket", bucket)
        .config("timeout", "60s")
        .config("max_batch_keys", LISTED.to_string());
    setup.ours.put_link(&link).await?;
    let raw = Raw::new(setup.nats.client().await?, bucket);
    let keys: Vec<_> = (0..LISTED).map(key).collect();
    for keys in keys.chunks(1000) {
        raw.set(keys, &Bytes::from_static(b"value"), Ids::Without)
            .await?;
    }
    let ours = caller(&setup.ours, bucket);
    let peer = setup.peer.as_ref().map(|peer| caller(peer, bucket));
    let ours = &ours;
    let mut sides = vec![
        Side::new("keys", move || async move {
            ensure!(ours.keys(bucket).await??.len() == LISTED);
            Ok(())
        }),
        Side::new("list-keys", move || pages(ours, bucket)),
    ];
    if let Some(peer) = &peer {
        sides.push(Side::new("peer", move || pages(peer, bucket)));
    }
    take_turns(&mut sides, time).await?;
    let median = |name| {
        let side = sides.iter().find(|side| side.name == name);
        side.map_or(f64::NAN, Side::median)
    };
    let (keys, pages) = (median("keys"), median("list-keys"));
    let peer = match setup.peer {
        Some(_) => format!("{:.0}", median("peer")),
        None => "–".to_owned(),
    };
    println!("\n| keys in the bucket | keys | list-keys, all pages | list-keys / keys | peer |");
    println!("| ---: | ---: | ---: | ---: | ---: |");
    println!(
        "| {LISTED} | {keys:.0} | {pages:.0} | {:.2} | {peer} |",
        pages / keys
    );
    Ok(())
}

async fn pages(caller: &LatticeCaller, bucket: &str) -> Result<()> {
    let (mut cursor, mut keys) = (None, 0);
    loop {
        let page = caller.store().list_keys(bucket, cursor).await??;
        keys += page.keys.len();
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    ensure!(keys == LISTED, "{keys} keys");
    Ok(())
}
