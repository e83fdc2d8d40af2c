//! Changes that are told: how many a second, and how soon. Beside a plain consumer that acknowledges each.

mod delays;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use async_nats::Client;
use async_nats::jetstream::{self, consumer};
use bytes::Bytes;
use eventual_batch_engine::{
    BucketSpec, ChangeHandler, Connection, Connections, DeliveryOutcome, KeyChange, KeyEncoding,
    WatchFrom, WatchPattern, WatchSettings, WatchedChanges, Watcher,
};
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use testkit::{LinkDefinition, Reply, ToldComponent};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::engine;
use crate::measure::{Side, take_turns};
use crate::progress::{PlannedRow, planned};
use crate::raw::{Ids, Raw};
use crate::recorder::FigureRecorder;
use crate::report::FigureRow;
use crate::setup::{BenchSetup, TIMEOUT};

/// How many changes a turn has, and the size of their values.
const CHANGES: usize = 2_000;
const SIZE: usize = 128;

/// The default of `watch_max_in_flight`, and another one.
const IN_FLIGHT: [usize; 2] = [16, 256];

const RATES: &str = "changes told";

/// The rows, and how long they take. A turn of the slowest side takes a second or two.
pub(crate) fn plan(time: Duration) -> Vec<PlannedRow> {
    let mut rows = planned(RATES, [time.max(Duration::from_secs(30)); IN_FLIGHT.len()]);
    rows.push(delays::plan());
    rows
}

/// Prints both tables.
pub(crate) async fn print(
    setup: &BenchSetup,
    time: Duration,
    recorder: &mut FigureRecorder,
) -> Result<()> {
    let connections = Connections::new("bench");
    let settings = engine::settings(setup.nats.url());
    let connection = connections.get(&settings).await?;
    rates(setup, &connection, time, recorder).await?;
    delays::print(setup, &connection, recorder).await
}

async fn rates(
    setup: &BenchSetup,
    connection: &Arc<Connection>,
    time: Duration,
    recorder: &mut FigureRecorder,
) -> Result<()> {
    const BUCKET: &str = "watched";
    setup.bucket(BUCKET).await?;
    let client = setup.nats.client().await?;
    let raw = Raw::new(client.clone(), BUCKET);
    let keys: Vec<String> = (0..CHANGES).map(|n| format!("key.{n}")).collect();
    for keys in keys.chunks(1000) {
        let value = Bytes::from(vec![b'x'; SIZE]);
        raw.set(keys, &value, Ids::Without).await?;
    }
    let (client, turn) = (&client, AtomicU64::new(0));
    let next = || turn.fetch_add(1, Ordering::Relaxed);
    let next = &next;
    println!("\n| {CHANGES} changes × {SIZE} B, told a second | in flight | changes/s | / plain |");
    println!("| --- | ---: | ---: | ---: |");
    for in_flight in IN_FLIGHT {
        let name = format!("{CHANGES} changes, {in_flight} in flight");
        recorder.begin_row(&name);
        let mut sides = [
            Side::new("a plain consumer", move || plain(client, BUCKET)),
            Side::new("a consumer that makes requests", move || {
                requests(client, BUCKET, in_flight)
            }),
            Side::new("the engine", move || {
                by_engine(connection, BUCKET, next(), in_flight)
            }),
            Side::new("a component, by the provider", move || {
                by_provider(setup, BUCKET, next(), in_flight)
            }),
        ];
        take_turns(&mut sides, time).await?;
        let figures = sides.each_ref().map(Side::figure);
        for figure in &figures {
            let rate = f64::from(u32::try_from(CHANGES)?) * 1e3 / figure.value;
            let ratio = figures[0].value / figure.value;
            println!("| {} | {in_flight} | {rate:.0} | {ratio:.2} |", figure.name);
        }
        let row = FigureRow::new(name).at("in flight", in_flight);
        recorder.keep(RATES, row.figures(figures));
    }
    Ok(())
}

type Messages = consumer::pull::Stream;
type PullConsumer = consumer::Consumer<consumer::pull::Config>;

async fn consumer(
    client: &Client,
    bucket: &str,
    from: WatchFrom,
) -> Result<(PullConsumer, Messages)> {
    let jetstream = jetstream::new(client.clone());
    let stream = jetstream.get_stream_no_info(format!("KV_{bucket}")).await?;
    let config = consumer::pull::Config {
        deliver_policy: match from {
            WatchFrom::New => consumer::DeliverPolicy::New,
            WatchFrom::Last => consumer::DeliverPolicy::LastPerSubject,
        },
        ack_policy: consumer::AckPolicy::Explicit,
        filter_subject: format!("$KV.{bucket}.>"),
        ..Default::default()
    };
    let consumer = stream.create_consumer(config).await?;
    let messages = consumer.messages().await?;
    Ok((consumer, messages))
}

async fn delete(client: &Client, bucket: &str, consumer: &PullConsumer) -> Result<()> {
    client.flush().await?;
    let jetstream = jetstream::new(client.clone());
    let stream = jetstream.get_stream_no_info(format!("KV_{bucket}")).await?;
    stream.delete_consumer(&consumer.cached_info().name).await?;
    Ok(())
}

/// Takes each change and acknowledges it, one after the other.
async fn plain(client: &Client, bucket: &str) -> Result<()> {
    let (consumer, mut messages) = consumer(client, bucket, WatchFrom::Last).await?;
    for _ in 0..CHANGES {
        let message = messages.next().await.context("the consumer has ended")??;
        message.ack().await.map_err(|error| anyhow!(error))?;
    }
    delete(client, bucket, &consumer).await
}

/// Asks somebody by NATS about each change, and acknowledges it then.
async fn requests(client: &Client, bucket: &str, in_flight: usize) -> Result<()> {
    let subject = client.new_inbox();
    let mut asked = client.subscribe(subject.clone()).await?;
    let responder = client.clone();
    let answers = tokio::spawn(async move {
        while let Some(message) = asked.next().await {
            if let Some(reply) = message.reply {
                drop(responder.publish(reply, Bytes::new()).await);
            }
        }
    });
    let (consumer, messages) = consumer(client, bucket, WatchFrom::Last).await?;
    messages
        .take(CHANGES)
        .map_err(anyhow::Error::from)
        .try_for_each_concurrent(in_flight, |message| {
            let subject = subject.clone();
            async move {
                client.request(subject, message.payload.clone()).await?;
                message.ack().await.map_err(|error| anyhow!(error))
            }
        })
        .await?;
    answers.abort();
    delete(client, bucket, &consumer).await
}

/// Counts changes, and says when each came.
#[derive(Debug)]
struct Counting {
    count: watch::Sender<usize>,
    came: Option<mpsc::UnboundedSender<Instant>>,
}

impl ChangeHandler for Counting {
    fn deliver(&self, _: KeyChange) -> BoxFuture<'static, DeliveryOutcome> {
        if let Some(came) = &self.came {
            let _ = came.send(Instant::now());
        }
        self.count.send_modify(|count| *count += 1);
        futures::future::ready(DeliveryOutcome::Delivered).boxed()
    }
}

fn settings(
    bucket: &str,
    name: String,
    from: WatchFrom,
    in_flight: usize,
) -> Result<WatchSettings> {
    Ok(WatchSettings {
        name,
        bucket: BucketSpec {
            name: bucket.to_owned(),
            domain: None,
            create: None,
        },
        encoding: KeyEncoding::None,
        patterns: vec![WatchPattern::new(
            ">",
            KeyEncoding::None,
            WatchedChanges::All,
        )?],
        from,
        durable: true,
        max_in_flight: in_flight,
        max_deliver: 10,
        call_timeout: TIMEOUT,
    })
}

async fn by_engine(
    connection: &Arc<Connection>,
    bucket: &str,
    turn: u64,
    in_flight: usize,
) -> Result<()> {
    let (count, mut counted) = watch::channel(0);
    let handler = Arc::new(Counting { count, came: None });
    let settings = settings(bucket, format!("engine-{turn}"), WatchFrom::Last, in_flight)?;
    let watcher = Watcher::start(Arc::clone(connection), settings, handler);
    counted.wait_for(|count| *count >= CHANGES).await?;
    watcher.delete().await;
    Ok(())
}

/// A link over which a component is told of changes.
fn link(setup: &BenchSetup, component: &str, bucket: &str, from: &str) -> LinkDefinition {
    LinkDefinition::to_watcher(component)
        .config("cluster_uri", setup.nats.url())
        .config("bucket", bucket)
        .config("watch", ">")
        .config("watch_from", from)
        .config("watch_timeout", "60s")
}

async fn by_provider(setup: &BenchSetup, bucket: &str, turn: u64, in_flight: usize) -> Result<()> {
    let name = format!("told-{turn}");
    let (count, mut counted) = watch::channel(0);
    let lattice = setup.nats.url();
    let component = ToldComponent::serve(&lattice, setup.ours.lattice(), &name, move |_| {
        count.send_modify(|count| *count += 1);
        Reply::NOW
    });
    let component = component.await?;
    let link = link(setup, &name, bucket, "last");
    let link = link.config("watch_max_in_flight", in_flight.to_string());
    setup.ours.put_link(&link).await?;
    counted.wait_for(|count| *count >= CHANGES).await?;
    setup.ours.delete_link(&link).await?;
    drop(component);
    Ok(())
}
