//! The copy of a stream on three nodes of which one is killed, frozen or cut off.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::setup::{Replicated, stream};
use crate::support::waiting::eventually;
use anyhow::{Context as _, Result, bail, ensure};
use eventual_batch_engine::{Deadline, ReplicaMode, ReplicaSettings};
use futures::TryStreamExt as _;
use testkit::async_nats::jetstream::Context;
use testkit::async_nats::jetstream::consumer::Info;
use testkit::{Cluster, NODES, Partition};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

/// How many rounds, if not one for each fault. A round takes some seven seconds.
const ROUNDS: &str = "REPLICA_ROUNDS";

const STALENESS: Duration = Duration::from_secs(1);

/// How long a node is away: longer than an election takes.
const AWAY: Duration = Duration::from_secs(6);

#[derive(Clone, Copy, Debug)]
enum NodeFault {
    Kill,
    Freeze,
    Cut(Partition),
}

const FAULTS: [NodeFault; 4] = [
    NodeFault::Freeze,
    NodeFault::Kill,
    NodeFault::Cut(Partition {
        silent: true,
        clients: false,
    }),
    NodeFault::Cut(Partition {
        silent: false,
        clients: true,
    }),
];

/// What was acknowledged, and when.
#[derive(Debug, Default)]
struct Written(Mutex<Vec<(Instant, u64)>>);

impl Written {
    /// The highest number that was acknowledged before this time.
    async fn before(&self, time: Instant) -> u64 {
        let written = self.0.lock().await;
        let count = written.partition_point(|(acknowledged, _)| *acknowledged < time);
        written[..count]
            .iter()
            .map(|(_, number)| *number)
            .max()
            .unwrap_or(0)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_is_too_old_whatever_happens_to_a_node() -> Result<()> {
    testkit::init_tracing();
    let _machine = crate::support::machine::shared().await;
    let rounds = std::env::var(ROUNDS).ok();
    let rounds: usize = rounds.map_or(Ok(FAULTS.len()), |rounds| rounds.parse())?;
    let mut cluster = Cluster::start(testkit::NEWEST).await?;
    let mut config = stream("b");
    config.num_replicas = NODES;
    let js = cluster.jetstream(0).await?;
    let settings = ReplicaSettings {
        mode: ReplicaMode::Bounded,
        staleness: STALENESS,
        ..ReplicaSettings::default()
    };
    let bucket = Replicated::start_at(cluster.url(), js, config, settings, STALENESS).await?;
    let bucket = Arc::new(bucket);
    let (written, stop) = (Arc::<Written>::default(), Arc::new(AtomicBool::new(false)));
    let urls: Vec<String> = cluster.url().split(',').map(str::to_owned).collect();
    let others = testkit::async_nats::ConnectOptions::new()
        .connection_timeout(Duration::from_secs(2))
        .ping_interval(Duration::from_secs(1))
        .connect(urls.as_slice())
        .await?;
    let others = testkit::async_nats::jetstream::new(others);
    let writer = tokio::spawn(write(others, Arc::clone(&written), Arc::clone(&stop)));
    let reader = tokio::spawn(read(Arc::clone(&bucket), written, Arc::clone(&stop)));
    for round in 0..rounds {
        let fault = FAULTS[round % FAULTS.len()];
        // Each fault comes to both.
        let leads = (round + round / FAULTS.len()).is_multiple_of(2);
        let node = node_of(&cluster, leads).await?;
        tracing::info!(round, ?fault, node, "fault");
        match fault {
            NodeFault::Kill => cluster.node_mut(node).kill(),
            NodeFault::Freeze => cluster.node(node).pause().await?,
            NodeFault::Cut(cut) => cluster.partition(node, cut),
        }
        sleep(AWAY).await;
        match fault {
            NodeFault::Kill => cluster.node_mut(node).start().await?,
            NodeFault::Freeze => cluster.node(node).resume()?,
            NodeFault::Cut(_) => cluster.heal(node),
        }
        if reader.is_finished() {
            break;
        }
        let hits = bucket.stats().hits;
        eventually("the copy answers again", async || {
            let done = bucket.stats().hits > hits || reader.is_finished();
            Ok(done.then_some(()))
        })
        .await
        .with_context(|| format!("round {round}, {fault:?}: {:?}", bucket.stats()))?;
    }
    stop.store(true, Ordering::Relaxed);
    let answers = reader.await??;
    writer.await?;
    ensure!(answers > 0, "{:?}", bucket.stats());
    tracing::info!(answers, stats = ?bucket.stats(), "done");
    Ok(())
}

/// The node that leads the stream, or the one that has the copy's consumer.
async fn node_of(cluster: &Cluster, leads: bool) -> Result<usize> {
    eventually("the stream to be led", async || {
        let Some(leader) = cluster.leader("KV_b").await else {
            return Ok(None);
        };
        if leads {
            return Ok(Some(leader));
        }
        let found = timeout(Duration::from_secs(5), consumer_leader(cluster, leader)).await;
        let name = found.ok().and_then(Result::ok);
        Ok(name.and_then(|name| (0..NODES).find(|&node| cluster.node(node).name() == name)))
    })
    .await
}

async fn consumer_leader(cluster: &Cluster, node: usize) -> Result<String> {
    let stream = cluster.jetstream(node).await?.get_stream("KV_b").await?;
    let consumers: Vec<Info> = stream.consumers().try_collect().await?;
    let consumer = consumers.into_iter().next().context("no consumer")?;
    let leader = consumer.cluster.and_then(|cluster| cluster.leader);
    leader.context("the consumer is not led")
}

/// Writes numbers that grow, and notes which were acknowledged.
async fn write(others: Context, written: Arc<Written>, stop: Arc<AtomicBool>) {
    let mut number = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let publish = async {
            let sent = others.publish("$KV.b.n", number.to_string().into());
            anyhow::Ok(sent.await?.await?)
        };
        if matches!(timeout(Duration::from_secs(2), publish).await, Ok(Ok(_))) {
            written.0.lock().await.push((Instant::now(), number));
        }
        sleep(Duration::from_millis(2)).await;
    }
}

/// Reads, and checks every answer that is from the copy. Returns how many there were.
async fn read(
    bucket: Arc<Replicated>,
    written: Arc<Written>,
    stop: Arc<AtomicBool>,
) -> Result<usize> {
    let (mut answers, mut last) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let (hits, begun) = (bucket.stats().hits, Instant::now());
        let deadline = Deadline::after(Duration::from_secs(2));
        let read = bucket.bucket.get_many(&["n".to_owned()], deadline).await;
        let Ok(values) = read else {
            continue;
        };
        let number = match &values[0] {
            Some(value) => std::str::from_utf8(value)?.parse()?,
            None => 0,
        };
        if bucket.stats().hits > hits {
            answers += 1;
            let at_least = written.before(begun - STALENESS).await;
            if number < at_least || number < last {
                bail!(
                    "{number} is read from the copy, {at_least} is older than {STALENESS:?}, {last} was \
                     read before: {:?}",
                    bucket.stats()
                );
            }
        }
        last = last.max(number);
        sleep(Duration::from_millis(1)).await;
    }
    Ok(answers)
}
