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
use crate::measure::{median, order, percentile};
use crate::setup::TIMEOUT;

mod beside;

pub(crate) use beside::Beside;

const KIB: usize = 1024;
const COUNTS: [usize; 4] = [1, 10, 100, 1000];
const SIZES: [usize; 3] = [64, KIB, 16 * KIB];

/// How many requests at once are made, when requests a second are counted.
const CLIENTS: [usize; 3] = [1, 16, 64];

/// The bucket that all sides use.
const BUCKET: &str = "components";

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
    let links = [BucketLink::to(BUCKET)];
    let serve = Serve::start(program, component, &url, &links).await?;
    let native = Service::new(serve.address());
    let mut hosts = vec![
        Host::new("released", native.clone(), "adapter"),
        Host::new("draft", native.clone(), "draft"),
    ];
    for Beside {
        name,
        address,
        path,
    } in beside
    {
        hosts.push(Host::new(name, Service::new(address), path));
    }
    print_batches(&bucket, &hosts, time).await?;
    print_one_key(&jetstream, &bucket, &hosts, time).await?;
    print_requests(&hosts, time).await?;
    serve.stop().await
}

/// A host that serves the component, and the interface that the component uses there.
struct Host {
    name: String,
    service: Service,
    path: String,
}

impl Host {
    fn new(name: &str, service: Service, path: &str) -> Self {
        Self {
            name: name.to_owned(),
            service,
            path: path.to_owned(),
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
        let path = &self.path;
        format!("/run?path={path}&op={op}&keys={keys}&size={size}&rounds={rounds}")
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

async fn print_batches(bucket: &Bucket, hosts: &[Host], time: Duration) -> Result<()> {
    print_head("in the component", hosts);
    for op in ["get", "set"] {
        for keys in COUNTS {
            for size in SIZES {
                let batch = TimedBatch { op, keys, size };
                print_batch(bucket, hosts, batch, time).await?;
            }
        }
    }
    Ok(())
}

fn print_head(what: &str, hosts: &[Host]) {
    print!("\n| {what} | engine |");
    for (number, host) in hosts.iter().enumerate() {
        let ratio = if number < 2 { "/ engine" } else { "/ released" };
        print!(" {} | {ratio} |", host.name);
    }
    println!("\n| --- | ---: |{}", " ---: | ---: |".repeat(hosts.len()));
}

/// Of the hosts of this project a ratio to the engine, and of others to the first.
fn print_row(what: &str, sides: &[Vec<Duration>]) {
    let medians: Vec<f64> = sides.iter().map(|times| median(times)).collect();
    let at = |side: usize| medians.get(side).copied().unwrap_or(f64::NAN);
    print!("| {what} | {:.3} |", at(0));
    for side in 1..medians.len() {
        let base = if side < 3 { at(0) } else { at(1) };
        print!(" {:.3} | {:.2} |", at(side), at(side) / base);
    }
    println!();
}

async fn print_batch(
    bucket: &Bucket,
    hosts: &[Host],
    batch: TimedBatch,
    time: Duration,
) -> Result<()> {
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
    print_row(&batch.to_string(), &sides);
    Ok(())
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

/// Opening a bucket and reading one key of it, beside one direct get without either.
async fn print_one_key(
    jetstream: &jetstream::Context,
    bucket: &Bucket,
    hosts: &[Host],
    time: Duration,
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
    print!("\n| one key | direct get |");
    for host in hosts {
        print!(" {} | / direct get |", host.name);
    }
    println!("\n| --- | ---: |{}", " ---: | ---: |".repeat(hosts.len()));
    let rounds = batch.rounds();
    for (op, what) in [("open", "open and get"), ("get", "get")] {
        let batch = TimedBatch { op, ..batch };
        let turn = async |side: usize| match side.checked_sub(1).and_then(|host| hosts.get(host)) {
            Some(host) => host.times(batch, rounds).await,
            None => direct_gets(rounds).await,
        };
        let sides = take_turns(hosts.len() + 1, time, turn).await?;
        let medians: Vec<f64> = sides.iter().map(|times| median(times)).collect();
        let direct = medians.first().copied().unwrap_or(f64::NAN);
        print!("| {what} | {direct:.3} |");
        for host in medians.iter().skip(1) {
            print!(" {host:.3} | {:.2} |", host / direct);
        }
        println!();
    }
    Ok(())
}

/// Requests over HTTP: one that reads a key, and one that asks the bucket for nothing.
async fn print_requests(hosts: &[Host], time: Duration) -> Result<()> {
    println!("\n| requests | clients | host | requests/s | p50 | p99 |");
    println!("| --- | ---: | --- | ---: | ---: | ---: |");
    for (op, what) in [("nothing", "that read nothing"), ("get", "of one key")] {
        for clients in CLIENTS {
            for host in hosts {
                let batch = TimedBatch {
                    op,
                    keys: 1,
                    size: 64,
                };
                let begun = Instant::now();
                let times: Vec<_> = join_all((0..clients).map(|_| client(host, batch, time))).await;
                let elapsed = begun.elapsed().as_secs_f64();
                let times: Vec<Duration> = times.into_iter().collect::<Result<Vec<_>>>()?.concat();
                #[expect(clippy::cast_precision_loss, reason = "far fewer")]
                let rate = times.len() as f64 / elapsed;
                println!(
                    "| {what} | {clients} | {} | {rate:.0} | {:.2} | {:.2} |",
                    host.name,
                    percentile(&times, 50),
                    percentile(&times, 99),
                );
            }
        }
    }
    Ok(())
}

/// Makes one request after the other for so long; what each took.
async fn client(host: &Host, batch: TimedBatch, time: Duration) -> Result<Vec<Duration>> {
    let begun = Instant::now();
    let mut times = Vec::new();
    while begun.elapsed() < time {
        let sent = Instant::now();
        host.times(batch, 1).await?;
        times.push(sent.elapsed());
    }
    Ok(times)
}

/// Lets the sides take turns of some batches each, in the order of [`order`], for so long.
async fn take_turns(
    sides: usize,
    time: Duration,
    turn: impl AsyncFn(usize) -> Result<Vec<Duration>>,
) -> Result<Vec<Vec<Duration>>> {
    const FEWEST: usize = 4;
    let mut times = vec![Vec::new(); sides];
    for side in 0..sides {
        turn(side).await?;
    }
    let begun = Instant::now();
    let mut round = 0;
    while begun.elapsed() < time || round < FEWEST || round % sides != 0 {
        for side in order(round, sides) {
            let mut more = turn(side).await?;
            if let Some(times) = times.get_mut(side) {
                times.append(&mut more);
            }
        }
        round += 1;
    }
    Ok(times)
}
