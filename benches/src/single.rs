//! Single keys, and the pages of a listing: beside a peer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use futures::future::try_join_all;
use testkit::{LatticeCaller, LinkDefinition, Provider};

use crate::figure::{Figure, FigureUnit};
use crate::measure::{Side, fastest, take_turns};
use crate::noise::middle;
use crate::progress::{PlannedRow, planned};
use crate::raw::{Ids, Raw};
use crate::recorder::FigureRecorder;
use crate::report::FigureRow;
use crate::setup::{BenchSetup, COMPONENT, caller};

/// The operations, and which node answers those that read.
const OPERATIONS: [(&str, &str); 6] = [
    ("get", LEADER),
    ("get", "nearest"),
    ("set", LEADER),
    ("exists", LEADER),
    ("exists", "nearest"),
    ("increment", LEADER),
];
const LEADER: &str = "leader";
const CALLERS: [usize; 2] = [1, 64];
const SIZE: usize = 128;
const KEYS: usize = 1000;
const LISTED: usize = 200_000;

/// What a peer may answer after, or never: it loses calls of many callers at once.
const WAIT_LIMIT: Duration = Duration::from_secs(2);

const TABLE: &str = "single";
const PAGES: &str = "pages";

/// How many turns each side has, after one for caches and buffers to settle.
const TURNS: u32 = 8;

/// The rows of both tables, and how long they take.
pub(crate) fn plan(peer: bool, time: Duration) -> Vec<PlannedRow> {
    let sides = if peer { 2 } else { 1 };
    let row = time * 9 / 8 * sides + Duration::from_millis(100);
    let mut rows = planned(TABLE, [row; OPERATIONS.len() * CALLERS.len()]);
    rows.extend(planned(
        PAGES,
        [time.max(Duration::from_secs(14)) + Duration::from_secs(4)],
    ));
    rows
}

/// Prints a row for each operation and number of callers. All callers increment one key; of the
/// other operations each call is about another one.
pub(crate) async fn print(
    setup: &BenchSetup,
    time: Duration,
    recorder: &mut FigureRecorder,
) -> Result<()> {
    println!(
        "\n| single keys | callers | here, calls/s | p50 | p99 | peer, calls/s | p50 | p99 | failed | here / peer |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for (operation, node) in OPERATIONS {
        for callers in CALLERS {
            let bucket = format!("single-{operation}-{node}-{callers}");
            setup.bucket(&bucket).await?;
            let single_reads = ("single_reads", node);
            setup.link_with(&bucket, &bucket, single_reads).await?;
            let keys: Vec<_> = (0..KEYS).map(key).collect();
            let raw = Raw::new(setup.nats.client().await?, &bucket);
            raw.set(&keys, &Bytes::from(vec![b'x'; SIZE]), Ids::Without)
                .await?;
            let load = CallLoad {
                operation,
                callers,
                bucket,
            };
            let shown = match node {
                LEADER => operation.to_owned(),
                node => format!("{operation}, {node}"),
            };
            let name = format!("{shown}, callers {callers}");
            recorder.begin_row(&name);
            let (figures, cells) = load.measure(setup, time).await?;
            println!("| {shown} | {callers} | {cells} |");
            let row = FigureRow::new(name).operation(operation);
            recorder.keep(TABLE, row.at("callers", callers).figures(figures));
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
    }

    fn rate(&self) -> Result<f64> {
        Ok(f64::from(u32::try_from(self.times.len())?) / self.elapsed.as_secs_f64())
    }
}

/// Calls a second, and percentiles of their times, of all turns of a side. The rate is that of the
/// middle turn: a call that a peer loses makes its turn wait for seconds.
fn figures(side: &str, turns: Vec<Done>) -> Result<Vec<Figure>> {
    const PERCENTILES: [usize; 2] = [50, 99];
    let (mut times, mut rates) = (Vec::new(), Vec::new());
    let mut percentiles = PERCENTILES.map(|_| Vec::new());
    for turn in turns {
        rates.push(turn.rate()?);
        for (parts, percent) in percentiles.iter_mut().zip(PERCENTILES) {
            parts.push(Figure::percentile(side, &turn.times, percent).value);
        }
        times.extend(turn.times);
    }
    let unit = FigureUnit::CallsPerSecond;
    let mut figures = vec![Figure::new(side, unit, middle(&rates), rates)];
    for (parts, percent) in percentiles.into_iter().zip(PERCENTILES) {
        let name = format!("{side}, p{percent}");
        let value = Figure::percentile(&name, &times, percent).value;
        figures.push(Figure::new(&name, FigureUnit::Milliseconds, value, parts));
    }
    Ok(figures)
}

fn cells(figures: &[Figure]) -> String {
    let [rate, half, most] = [0, 1, 2].map(|place: usize| figures[place].value);
    format!("{rate:.0} | {half:.2} | {most:.2}")
}

impl CallLoad {
    /// The figures of both sides, and the cells of the row.
    async fn measure(&self, setup: &BenchSetup, time: Duration) -> Result<(Vec<Figure>, String)> {
        let (mut here, mut there) = (Vec::new(), Vec::new());
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
                here.push(ours);
                there.extend(peer);
            }
        }
        let failed: usize = there.iter().map(|turn| turn.failed).sum();
        let mut figures = figures("here", here)?;
        let here = cells(&figures);
        let peer = if there.is_empty() {
            "– | – | – | – | –".to_owned()
        } else {
            let peer = self::figures("peer", there)?;
            let ratio = figures[0].over("here / peer", &peer[0]);
            let cells = format!("{} | {failed} | {:.2}", cells(&peer), ratio.value);
            figures.extend(peer);
            figures.push(ratio);
            cells
        };
        Ok((figures, format!("{here} | {peer}")))
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
pub(crate) async fn print_pages(
    setup: &BenchSetup,
    time: Duration,
    recorder: &mut FigureRecorder,
) -> Result<()> {
    recorder.begin_row(&format!("pages of {LISTED} keys"));
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
    let [keys, pages] = [0, 1].map(|side: usize| sides[side].figure());
    let ratio = pages.over("list-keys / keys", &keys);
    let peer = fastest(&sides, "peer");
    let cell = match &peer {
        Some(peer) => format!("{:.0}", peer.value),
        None => "–".to_owned(),
    };
    println!("\n| keys in the bucket | keys | list-keys, all pages | list-keys / keys | peer |");
    println!("| ---: | ---: | ---: | ---: | ---: |");
    println!(
        "| {LISTED} | {:.0} | {:.0} | {:.2} | {cell} |",
        keys.value, pages.value, ratio.value
    );
    let row = FigureRow::new(format!("pages of {LISTED} keys")).at("keys", LISTED);
    let row = row.figures([keys, pages, ratio]).figures(peer);
    recorder.keep(PAGES, row);
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
