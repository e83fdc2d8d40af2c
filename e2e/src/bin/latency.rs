//! How long a batch takes inside a component on a real host: through the adapter, and through
//! `wasi:keyvalue/batch@0.2.0-draft` to the same provider and bucket.
//!
//! The two take turns in short runs, and with them runs of a batch of no keys: what a call costs that
//! does nothing. The result is a table in Markdown; with `quick`, of 100 keys of 1 KiB only. From the
//! project's folder, with the components built as for the tests:
//!
//! ```sh
//! cargo build --release
//! cd e2e
//! export E2E_PROVIDER=/tmp/provider.par.gz
//! cargo run --release --bin pack -- ../target/release/eventual-batch-nats-provider $E2E_PROVIDER
//! cargo run --release --bin latency [quick]
//! ```
//!
//! `E2E_COMPONENTS` names the folder with `bench.wasm`, if it is not `../target/components`.

use std::env;
use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use component_tests::Service;
use e2e::{HostLink, TestLattice, component, eventually};
use reqwest::Method;
use serde_json::{Value as Json, from_value};
use tokio::time::timeout;

const KIB: usize = 1024;

/// From this size on, fewer batches have to do.
const LARGE: usize = 4 * KIB * KIB;

/// When a run counts as lost: well over the host's limit for each call in it.
const WAIT_LIMIT: Duration = Duration::from_secs(15);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    testkit::init_tracing();
    let (keys, sizes): (&[_], &[_]) = match env::args().nth(1).as_deref() {
        None => (&[1, 100, 1000], &[64, KIB, 16 * KIB]),
        Some("quick") => (&[100], &[KIB]),
        Some(other) => bail!("{other:?}: the only argument is `quick`"),
    };
    let lattice = TestLattice::start().await?;
    let bench = start_bench(&lattice).await?;
    println!("| batch | adapter | draft | adapter/draft | nothing, adapter | nothing, draft |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    let mut errors = Vec::new();
    for op in ["get", "set"] {
        for &keys in keys {
            for &size in sizes {
                for kind in ["text", "random"] {
                    let batch = TimedBatch {
                        op,
                        keys,
                        size,
                        kind,
                    };
                    print_row(&bench, batch, &mut errors).await;
                }
            }
        }
    }
    println!("\nMedians in milliseconds, measured inside the component.");
    for error in errors {
        println!("- {error}");
    }
    lattice.stop().await
}

/// Starts the component `bench` with a link for each path, both to one bucket.
async fn start_bench(lattice: &TestLattice) -> Result<Service> {
    lattice.create_bucket("bench").await?;
    let bench = lattice
        .start_component("bench", &component("bench")?)
        .await?;
    let link = HostLink::to("bench");
    for (path, link) in [("adapter", link.clone()), ("draft", link.of_draft())] {
        lattice.put_link("bench", &link).await?;
        eventually(|| times(&bench, path, TimedBatch::NOTHING, 1)).await?;
    }
    Ok(bench)
}

#[derive(Clone, Copy)]
struct TimedBatch {
    op: &'static str,
    keys: usize,
    size: usize,
    kind: &'static str,
}

impl TimedBatch {
    const NOTHING: Self = Self {
        op: "nothing",
        keys: 0,
        size: 0,
        kind: "text",
    };

    /// How many times to and fro, and how many batches in a run.
    fn turns(self) -> (usize, usize) {
        if self.keys * self.size < LARGE {
            (6, 5)
        } else {
            (3, 3)
        }
    }
}

impl fmt::Display for TimedBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { op, keys, kind, .. } = self;
        match self.size {
            bytes @ ..KIB => write!(f, "{op} {keys} × {bytes} B {kind}"),
            bytes => write!(f, "{op} {keys} × {} KiB {kind}", bytes / KIB),
        }
    }
}

/// Measures a batch, prints its row, and adds to `errors` what went wrong.
async fn print_row(bench: &Service, batch: TimedBatch, errors: &mut Vec<String>) {
    if batch.op == "get" {
        // Stores what is to be read. Where that takes too long, the writes are in time all the same.
        let set = TimedBatch { op: "set", ..batch };
        let _ = timeout(WAIT_LIMIT, times(bench, "draft", set, 1)).await;
    }
    let mut series = [
        Series::new("adapter", batch),
        Series::new("draft", batch),
        Series::new("adapter", TimedBatch::NOTHING),
        Series::new("draft", TimedBatch::NOTHING),
    ];
    let (turns, rounds) = batch.turns();
    for _ in 0..turns {
        // To and fro, so that none always comes after the same other.
        for series in &mut series {
            series.run(bench, rounds).await;
        }
        for series in series.iter_mut().rev() {
            series.run(bench, rounds).await;
        }
    }
    let [adapter, draft, adapter_nothing, draft_nothing] = series.each_ref().map(Series::median);
    let ratio = adapter.zip(draft).map(|(adapter, draft)| adapter / draft);
    println!(
        "| {batch} | {} | {} | {} | {} | {} |",
        cell(adapter),
        cell(draft),
        cell(ratio),
        cell(adapter_nothing),
        cell(draft_nothing),
    );
    errors.extend(series.into_iter().filter_map(Series::into_trouble));
}

fn cell(number: Option<f64>) -> String {
    number.map_or_else(|| "–".to_owned(), |number| format!("{number:.2}"))
}

/// What one path took for one batch, until it failed.
struct Series {
    path: &'static str,
    batch: TimedBatch,
    times: Result<Vec<f64>>,
    lost: usize,
}

impl Series {
    fn new(path: &'static str, batch: TimedBatch) -> Self {
        Self {
            path,
            batch,
            times: Ok(Vec::new()),
            lost: 0,
        }
    }

    async fn run(&mut self, bench: &Service, rounds: usize) {
        let Ok(so_far) = &mut self.times else { return };
        // Not an error of the batch: the host has been seen to lose a call, whatever it asked for.
        match timeout(WAIT_LIMIT, times(bench, self.path, self.batch, rounds)).await {
            Ok(Ok(mut more)) => so_far.append(&mut more),
            Ok(Err(error)) => self.times = Err(error),
            Err(_) => self.lost += 1,
        }
    }

    fn median(&self) -> Option<f64> {
        let mut times = self.times.as_ref().ok()?.clone();
        times.sort_unstable_by(f64::total_cmp);
        times.get(times.len() / 2).copied()
    }

    fn into_trouble(self) -> Option<String> {
        let Self { path, batch, .. } = self;
        match (self.times, self.lost) {
            (Err(error), _) => Some(format!("{batch}, {path}: {error:#}")),
            (Ok(_), 0) => None,
            (Ok(_), lost) => Some(format!("{batch}, {path}: {lost} runs never ended")),
        }
    }
}

/// Has the component run a batch some times; the milliseconds that each took.
async fn times(bench: &Service, path: &str, batch: TimedBatch, rounds: usize) -> Result<Vec<f64>> {
    let TimedBatch {
        op,
        keys,
        size,
        kind,
    } = batch;
    let run =
        format!("/run?path={path}&op={op}&keys={keys}&size={size}&kind={kind}&rounds={rounds}");
    let (_, mut answer) = bench.request(Method::GET, &run, &[], None).await?;
    if let Json::String(error) = answer["error"].take() {
        bail!(error);
    }
    let nanoseconds: Vec<f64> = from_value(answer["ns"].take()).context("no times")?;
    Ok(nanoseconds.into_iter().map(|ns| ns / 1e6).collect())
}
