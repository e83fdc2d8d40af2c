//! The cluster does what tests rely on: it survives the loss of one node, however it is lost.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use async_nats::jetstream::kv;
use testkit::{Cluster, NEWEST, Partition};
use tokio::time::{Instant, sleep, timeout};

const BUCKET: &str = "b";
const STREAM: &str = "KV_b";
const WAIT_LIMIT: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn goes_on_without_a_node_that_is_cut_off_and_takes_it_back() -> Result<()> {
    let cluster = Cluster::start(NEWEST).await?;
    create_bucket(&cluster).await?;
    for cut in [(false, true), (true, false)] {
        let cut = Partition {
            silent: cut.0,
            clients: cut.1,
        };
        let lost = leader(&cluster, None).await?;
        cluster.partition(lost, cut);
        let next = leader(&cluster, Some(lost)).await?;
        put(&cluster, next)
            .await
            .context("through the new leader")?;
        ensure!(
            put_once(&cluster, lost).await.is_err(),
            "the node that is {cut:?} writes"
        );
        let front = cluster.url();
        let front = front.split(',').nth(lost).context("no address")?;
        let connected = timeout(Duration::from_secs(1), async_nats::connect(front)).await;
        let connects = matches!(connected, Ok(Ok(_)));
        ensure!(connects != cut.clients, "clients connect: {connects}");
        cluster.heal(lost);
        put(&cluster, lost)
            .await
            .context("through the old leader")?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_comes_back_with_its_data() -> Result<()> {
    let mut cluster = Cluster::start(NEWEST).await?;
    create_bucket(&cluster).await?;
    let lost = leader(&cluster, None).await?;
    put(&cluster, lost).await?;
    cluster.node_mut(lost).kill();
    let next = leader(&cluster, Some(lost)).await?;
    put(&cluster, next).await?;
    cluster.node_mut(lost).start().await?;
    put(&cluster, lost).await
}

async fn create_bucket(cluster: &Cluster) -> Result<()> {
    let config = kv::Config {
        bucket: BUCKET.to_owned(),
        ..kv::Config::default()
    };
    cluster.create_bucket(config).await?;
    Ok(())
}

/// Waits for a leader that is another one than this.
async fn leader(cluster: &Cluster, than: Option<usize>) -> Result<usize> {
    let deadline = Instant::now() + WAIT_LIMIT;
    loop {
        match cluster.leader(STREAM).await {
            Some(node) if Some(node) != than => return Ok(node),
            _ if Instant::now() >= deadline => bail!("no leader in {WAIT_LIMIT:?}"),
            _ => sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn put(cluster: &Cluster, node: usize) -> Result<()> {
    let deadline = Instant::now() + WAIT_LIMIT;
    while let Err(error) = put_once(cluster, node).await {
        ensure!(Instant::now() < deadline, "{error:#}");
    }
    Ok(())
}

async fn put_once(cluster: &Cluster, node: usize) -> Result<()> {
    let put = async {
        let jetstream = cluster.jetstream(node).await?;
        jetstream.publish("$KV.b.k", "v".into()).await?.await?;
        anyhow::Ok(())
    };
    timeout(Duration::from_secs(1), put).await?
}
