//! Batches inside a component: on `eventual-batch serve`, beside the engine called from Rust, and
//! beside other hosts that serve the same component.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use component_tests::{BucketLink, Serve, Service};
use eventual_batch_engine::{Bucket, Connections, Deadline};
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value as Json, from_value};
use testkit::NatsServer;
use testkit::async_nats;
use testkit::async_nats::jetstream::{self, kv};
use tokio::time::Instant;

use crate::engine;
use crate::figure::{Figure, FigureUnit};
use crate::measure::in_turns;
use crate::progress::{PlannedRow, planned};
use crate::recorder::FigureRecorder;
use crate::report::FigureRow;
use crate::setup::TIMEOUT;

mod beside;

pub(crate) use beside::Beside;

const KIB: usize = 1024;
const COUNTS: [usize; 4] = [1, 10, 100, 1000];
const SIZES: [usize; 3] = [64, KIB, 16 * KIB];

/// How many keys the batches have that are read from memory, and the sizes of their values.
const COPIED_COUNTS: [usize; 3] = [1, 100, 1000];
const COPIED_SIZES: [usize; 2] = [128, KIB];

/// The links with a replica, by its mode.
const BOUNDED: &str = "bounded";
const FRESH: &str = "fresh";

/// How many requests at once are made, when requests a second are counted.
const CLIENTS: [usize; 3] = [1, 16, 64];

/// The bucket that all sides use.
const BUCKET: &str = "components";

const BATCHES: &str = "components";
const COPIED: &str = "from memory in a component";
const ONE_KEY: &str = "one key in a component";
const REQUESTS: &str = "requests to a component";

/// What a batch is done to.
const OPERATIONS: [&str; 2] = ["get", "set"];

/// The rows of all tables with so many other hosts, and how long they take.
pub(crate) fn plan(beside: usize, time: Duration) -> Vec<PlannedRow> {
    let begin = Duration::from_millis(200);
    let batches = OPERATIONS.len() * COUNTS.len() * SIZES.len();
    let mut rows = planned(BATCHES, vec![time + begin; batches]);
    let copied = COPIED_COUNTS.len() * COPIED_SIZES.len();
    rows.extend(planned(COPIED, vec![time + begin; copied]));
    rows.extend(planned(ONE_KEY, [time + begin; 2]));
    // The requests of a row are made to one host after the other, this project's two first.
    let hosts = u32::try_from(beside + 2).unwrap_or(u32::MAX);
    rows.extend(planned(REQUESTS, [time * hosts; 2 * CLIENTS.len()]));
    rows
}

/// Prints all tables.
///
/// The buckets are on `server`, or if that is absent on one of this `version` that is started.
/// `programs` are `eventual-batch` and the component `bench` as it comes out of its build.
pub(crate) async fn print(
    version: &str,
    server: Option<&str>,
    (program, component): (&Path, &Path),
    beside: &[Beside],
    time: Duration,
    recorder: &mut FigureRecorder,
) -> Result<()> {
    let (url, _server) = match server {
        Some(url) => (url.to_owned(), None),
        None => {
            let nats = NatsServer::run(version).await?;
            (nats.url(), Some(nats))
        }
    };
    let jetstream = jetstream::new(async_nats::connect(&url).await?);
    let config = kv::Config {
        bucket: BUCKET.to_owned(),
        ..kv::Config::default()
    };
    jetstream.create_or_update_key_value(config).await?;
    let connections = Connections::new("bench");
    let connection = connections.get(&engine::settings(url.clone())).await?;
    let bucket = engine::bucket(&connection, BUCKET);
    let copied = |mode| BucketLink::to(BUCKET).named(mode).with("replica", mode);
    let links = [BucketLink::to(BUCKET), copied(BOUNDED), copied(FRESH)];
    let serve = Serve::start(program, component, &url, &links).await?;
    let native = Service::new(serve.address());
    let mut hosts = vec![
        MeasuredHost::new("released", native.clone(), "adapter"),
        MeasuredHost::new("draft", native.clone(), "draft"),
    ];
    for Beside {
        name,
        address,
        path,
    } in beside
    {
        hosts.push(MeasuredHost::new(name, Service::new(address), path));
    }
    print_batches(&bucket, &hosts, time, recorder).await?;
    print_copied(&hosts, time, recorder).await?;
    print_one_key(&jetstream, &bucket, &hosts, time, recorder).await?;
    print_requests(&hosts, time, recorder).await?;
    serve.stop().await
}

/// A host that serves the component, and the interface and the link that the component uses there.
#[derive(Clone)]
struct MeasuredHost {
    name: String,
    service: Service,
    path: String,
    link: &'static str,
}

impl MeasuredHost {
    fn new(name: &str, service: Service, path: &str) -> Self {
        Self {
            name: name.to_owned(),
            service,
            path: path.to_owned(),
            link: "default",
        }
    }

    /// The same over the link with a replica of this mode.
    fn copied(&self, mode: &'static str) -> Self {
        Self {
            name: mode.to_owned(),
            link: mode,
            ..self.clone()
        }
    }

    /// Has the component run a batch some times; what each took.
    async fn times(&self, batch: TimedBatch, rounds: usize) -> Result<Vec<Duration>> {
        let (_, mut answer) = self
            .service
            .request(Method::GET, &self.request(batch, rounds), &[], None)
            .await?;
        if let Json::String(error) = answer["error"].take() {
            bail!("{batch} on {}: {error}", self.name);
        }
        let nanoseconds: Vec<u64> = from_value(answer["ns"].take()).context("no times")?;
        Ok(nanoseconds.into_iter().map(Duration::from_nanos).collect())
    }

    fn request(&self, batch: TimedBatch, rounds: usize) -> String {
        let TimedBatch { op, keys, size } = batch;
        let Self { path, link, .. } = self;
        format!("/run?path={path}&link={link}&op={op}&keys={keys}&size={size}&rounds={rounds}")
    }
}

#[derive(Clone, Copy)]
struct TimedBatch {
    op: &'static str,
    keys: usize,
    size: usize,
}

impl TimedBatch {
    /// How many batches are one turn, so that a turn is not over before the machine has woken up.
    fn rounds(self) -> usize {
        (1000 / self.keys).clamp(2, 20)
    }

    fn keys(self) -> Vec<String> {
        (0..self.keys)
            .map(|n| format!("engine-{}-{n:04}", self.size))
            .collect()
    }
}

impl std::fmt::Display for TimedBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { op, keys, size } = self;
        write!(f, "{op} {keys} × {size} B")
    }
}

async fn print_batches(
    bucket: &Bucket,
    hosts: &[MeasuredHost],
    time: Duration,
    recorder: &mut FigureRecorder,
) -> Result<()> {
    let base = |number| if number < 2 { "engine" } else { "released" };
    print_head("in the component", "engine", hosts, base);
    for op in OPERATIONS {
        for keys in COUNTS {
            for size in SIZES {
                let batch = TimedBatch { op, keys, size };
                recorder.begin_row(&batch.to_string());
                let row = print_batch(bucket, hosts, batch, time).await?;
                recorder.keep(BATCHES, row);
            }
        }
    }
    Ok(())
}

/// The head of a table whose rows [`print_row`] prints: the first side, and the others each with its
/// ratio to the side that `base` names.
fn print_head<'a>(
    what: &str,
    first: &str,
    others: &'a [MeasuredHost],
    base: impl Fn(usize) -> &'a str,
) {
    print!("\n| {what} | {first} |");
    for (number, host) in others.iter().enumerate() {
        print!(" {} | / {} |", host.name, base(number));
    }
    println!("\n| --- | ---: |{}", " ---: | ---: |".repeat(others.len()));
}

/// The figures of the engine and of each host, and a ratio for each host: of those of this project to
/// the engine, and of others to the first host.
fn compared(hosts: &[MeasuredHost], sides: &[Vec<Duration>]) -> Vec<Figure> {
    let names = hosts.iter().map(|host| host.name.as_str());
    let names = ["engine"].into_iter().chain(names);
    let medians = names
        .zip(sides)
        .map(|(name, times)| Figure::median(name, times));
    with_ratios(&medians.collect::<Vec<_>>(), |side| usize::from(side > 2))
}

/// Each figure but the first is followed by its ratio to another one, of which `base` says the place.
fn with_ratios(medians: &[Figure], base: impl Fn(usize) -> usize) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (side, median) in medians.iter().enumerate() {
        figures.push(median.clone());
        if side > 0 {
            let base = &medians[base(side)];
            figures.push(median.over(&format!("{} / {}", median.name, base.name), base));
        }
    }
    figures
}

/// Prints such figures, and gives them as a row.
fn print_row(what: String, figures: Vec<Figure>) -> FigureRow {
    print!("| {what} |");
    for figure in &figures {
        if figure.unit == FigureUnit::Ratio {
            print!(" {:.2} |", figure.value);
        } else {
            print!(" {:.4} |", figure.value);
        }
    }
    println!();
    FigureRow::new(what).figures(figures)
}

async fn print_batch(
    bucket: &Bucket,
    hosts: &[MeasuredHost],
    batch: TimedBatch,
    time: Duration,
) -> Result<FigureRow> {
    if batch.op == "get" {
        let set = TimedBatch { op: "set", ..batch };
        engine_times(bucket, set, 1).await?;
        for host in hosts {
            host.times(set, 1).await?;
        }
    }
    let rounds = batch.rounds();
    let turn = async |side: usize| match side.checked_sub(1).and_then(|host| hosts.get(host)) {
        Some(host) => host.times(batch, rounds).await,
        None => engine_times(bucket, batch, rounds).await,
    };
    let sides = take_turns(hosts.len() + 1, time, turn).await?;
    let row = print_row(batch.to_string(), compared(hosts, &sides));
    let row = row.operation(batch.op);
    Ok(row.at("keys", batch.keys).at("bytes", batch.size))
}

/// The same batches, from Rust.
async fn engine_times(bucket: &Bucket, batch: TimedBatch, rounds: usize) -> Result<Vec<Duration>> {
    let keys = batch.keys();
    let value = Bytes::from(vec![b'x'; batch.size]);
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let deadline = Deadline::after(TIMEOUT);
        if batch.op == "get" {
            let begun = Instant::now();
            let found = bucket.get_many(&keys, deadline).await?;
            times.push(begun.elapsed());
            ensure!(found.iter().all(Option::is_some), "a key without a value");
        } else {
            let entries = keys
                .iter()
                .map(|key| (key.clone(), value.clone()))
                .collect();
            let begun = Instant::now();
            bucket.set_many(entries, deadline).await?;
            times.push(begun.elapsed());
        }
    }
    Ok(times)
}

/// The same reads from a copy in the host's memory. While it is loaded the server answers, which the
/// medians do not show.
async fn print_copied(
    hosts: &[MeasuredHost],
    time: Duration,
    recorder: &mut FigureRecorder,
) -> Result<()> {
    let [off, _, others @ ..] = hosts else {
        bail!("two of the hosts are of this project");
    };
    let mut sides = vec![off.clone(), off.copied(BOUNDED), off.copied(FRESH)];
    sides.extend(others.iter().cloned());
    print!("\n| read in the component | server |");
    for side in sides.iter().skip(1) {
        print!(" {} | / server |", side.name);
    }
    println!(
        "\n| --- | ---: |{}",
        " ---: | ---: |".repeat(sides.len() - 1)
    );
    for keys in COPIED_COUNTS {
        for size in COPIED_SIZES {
            let op = "get";
            let batch = TimedBatch { op, keys, size };
            recorder.begin_row(&batch.to_string());
            for side in &sides {
                side.times(TimedBatch { op: "set", ..batch }, 1).await?;
            }
            let turn = async |side: usize| match sides.get(side) {
                Some(side) => side.times(batch, batch.rounds()).await,
                None => Ok(Vec::new()),
            };
            let times = take_turns(sides.len(), time, turn).await?;
            let medians = sides
                .iter()
                .zip(&times)
                .map(|(side, times)| Figure::median(&side.name, times));
            let figures = with_ratios(&medians.collect::<Vec<_>>(), |_| 0);
            let row = print_row(batch.to_string(), figures);
            recorder.keep(COPIED, row.at("keys", keys).at("bytes", size));
        }
    }
    Ok(())
}

/// Opening a bucket and reading one key of it, beside one direct get without either.
async fn print_one_key(
    jetstream: &jetstream::Context,
    bucket: &Bucket,
    hosts: &[MeasuredHost],
    time: Duration,
    recorder: &mut FigureRecorder,
) -> Result<()> {
    let batch = TimedBatch {
        op: "open",
        keys: 1,
        size: 64,
    };
    let set = TimedBatch { op: "set", ..batch };
    engine_times(bucket, set, 1).await?;
    let key = batch.keys().pop().context("no key")?;
    let stream = jetstream.get_stream(format!("KV_{BUCKET}")).await?;
    let subject = format!("$KV.{BUCKET}.{key}");
    let direct_gets = async |rounds: usize| {
        let mut times = Vec::with_capacity(rounds);
        for _ in 0..rounds {
            let begun = Instant::now();
            stream.direct_get_last_for_subject(subject.as_str()).await?;
            times.push(begun.elapsed());
        }
        anyhow::Ok(times)
    };
    for host in hosts {
        host.times(set, 1).await?;
    }
    print_head("one key", "direct get", hosts, |_| "direct get");
    let rounds = batch.rounds();
    for (op, what) in [("open", "open and get"), ("get", "get")] {
        recorder.begin_row(what);
        let batch = TimedBatch { op, ..batch };
        let turn = async |side: usize| match side.checked_sub(1).and_then(|host| hosts.get(host)) {
            Some(host) => host.times(batch, rounds).await,
            None => direct_gets(rounds).await,
        };
        let sides = take_turns(hosts.len() + 1, time, turn).await?;
        let names = hosts.iter().map(|host| host.name.as_str());
        let names = ["direct get"].into_iter().chain(names);
        let medians = names
            .zip(&sides)
            .map(|(name, times)| Figure::median(name, times));
        let figures = with_ratios(&medians.collect::<Vec<_>>(), |_| 0);
        recorder.keep(ONE_KEY, print_row(what.to_owned(), figures));
    }
    Ok(())
}

/// Requests over HTTP: one that reads a key, and one that asks the bucket for nothing.
async fn print_requests(
    hosts: &[MeasuredHost],
    time: Duration,
    recorder: &mut FigureRecorder,
) -> Result<()> {
    println!("\n| requests | clients | host | requests/s | p50 | p99 |");
    println!("| --- | ---: | --- | ---: | ---: | ---: |");
    for (op, what) in [("nothing", "that read nothing"), ("get", "of one key")] {
        for clients in CLIENTS {
            let name = format!("{what}, clients {clients}");
            recorder.begin_row(&name);
            let mut row = FigureRow::new(name).at("clients", clients);
            for host in hosts {
                let batch = TimedBatch {
                    op,
                    keys: 1,
                    size: 64,
                };
                let begun = Instant::now();
                let done: Vec<_> =
                    join_all((0..clients).map(|_| client(host, batch, begun, time))).await;
                let elapsed = begun.elapsed();
                let mut done = done.into_iter().collect::<Result<Vec<_>>>()?.concat();
                // In the order in which they were answered.
                done.sort_unstable();
                let (answered, times): (Vec<_>, Vec<_>) = done.into_iter().unzip();
                let name = &host.name;
                let unit = FigureUnit::CallsPerSecond;
                let rate = Figure::rate(name, unit, &answered, 1.0, elapsed);
                let [half, most] = [50, 99].map(|percent| {
                    Figure::percentile(&format!("{name}, p{percent}"), &times, percent)
                });
                println!(
                    "| {what} | {clients} | {name} | {:.0} | {:.2} | {:.2} |",
                    rate.value, half.value, most.value
                );
                row = row.figures([rate, half, most]);
            }
            recorder.keep(REQUESTS, row);
        }
    }
    Ok(())
}

/// Makes one request after the other for so long; when since the beginning each was answered, and what
/// it took.
async fn client(
    host: &MeasuredHost,
    batch: TimedBatch,
    begun: Instant,
    time: Duration,
) -> Result<Vec<(Duration, Duration)>> {
    let mut done = Vec::new();
    while begun.elapsed() < time {
        let sent = Instant::now();
        host.times(batch, 1).await?;
        done.push((begun.elapsed(), sent.elapsed()));
    }
    Ok(done)
}

/// Lets the sides take turns of some batches each; what each batch of each side took.
async fn take_turns(
    sides: usize,
    time: Duration,
    turn: impl AsyncFn(usize) -> Result<Vec<Duration>>,
) -> Result<Vec<Vec<Duration>>> {
    let mut times = vec![Vec::new(); sides];
    in_turns(sides, time, async |side, counts| {
        let mut more = turn(side).await?;
        if counts {
            times[side].append(&mut more);
        }
        Ok(())
    })
    .await?;
    Ok(times)
}
