//! The cluster, the lattice, the provider and its links.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use testkit::async_nats::jetstream::{kv, stream};
use testkit::{
    Cluster, LatticeCaller, Level, LinkDefinition, NEWEST, NODES, NatsServer, OtlpCollector,
    Provider,
};

use crate::ledger::HISTORY;

/// The bucket that most links are to.
pub const BUCKET: &str = "faults";
/// The bucket that the provider has a copy of. It keeps no history.
pub const COPIED: &str = "copied";
/// The names of the copy's consumers begin so.
pub const COPY_CONSUMER: &str = "eventual-batch-replica-";

const COMPONENT: &str = "load";

/// The provider's name for its connections.
const CONNECTION: &str = "eventual-batch-nats-provider";

/// The links: their names, and how long a call over them may take. The last one outlasts an
/// election; the others have to give up in time.
const LINKS: [(&str, Duration); 3] = [
    ("hasty", Duration::from_secs(2)),
    ("usual", Duration::from_secs(5)),
    ("patient", Duration::from_secs(20)),
];

/// The link of atomic batches.
const ATOMIC: (&str, Duration) = ("atomic", Duration::from_secs(5));

/// A caller over one of the links.
#[derive(Clone, Debug)]
pub struct Linked {
    /// The link's name.
    pub name: &'static str,
    /// The link's `timeout`.
    pub timeout: Duration,
    /// The caller, which waits longer than that.
    pub caller: LatticeCaller,
}

/// All that takes part.
#[derive(Debug)]
pub struct Setup {
    // Fields are dropped in this order: the provider ends before its servers.
    /// The provider.
    pub provider: Provider,
    /// The cluster that has the bucket.
    pub cluster: Cluster,
    /// The lattice's NATS, which has no faults.
    pub lattice: NatsServer,
    /// Receives the provider's metrics.
    pub collector: Arc<OtlpCollector>,
    /// A caller for each link.
    pub links: Vec<Linked>,
    /// A caller over a link of atomic batches, to the same bucket. `None`: the servers know none.
    pub atomic: Option<Linked>,
}

impl Setup {
    /// Starts everything, with nodes of this version.
    ///
    /// # Errors
    /// If something does not start.
    pub async fn set(version: &str, provider: &Path) -> Result<Self> {
        let cluster = Cluster::start(version).await?;
        let config = kv::Config {
            bucket: BUCKET.to_owned(),
            history: HISTORY,
            ..kv::Config::default()
        };
        cluster.create_bucket(config).await?;
        let config = kv::Config {
            bucket: COPIED.to_owned(),
            ..kv::Config::default()
        };
        cluster.create_bucket(config).await?;
        let collector = Arc::new(OtlpCollector::start().await?);
        let lattice = NatsServer::run(NEWEST).await?;
        let provider = Provider::builder(lattice.url())
            .binary(PathBuf::from(provider))
            .log_level(Level::Info)
            .metrics_collector(collector.url())
            .start()
            .await?;
        let mut links = Vec::new();
        for (name, timeout) in LINKS {
            let link = link_to(&cluster, BUCKET, name, timeout);
            provider.put_link(&link).await?;
            links.push(linked(&provider, name, timeout));
        }
        let atomic = if allow_atomic(&cluster).await? {
            let (name, timeout) = ATOMIC;
            let link = link_to(&cluster, BUCKET, name, timeout).config("atomic", "true");
            provider.put_link(&link).await?;
            Some(linked(&provider, name, timeout))
        } else {
            None
        };
        Ok(Self {
            provider,
            cluster,
            lattice,
            collector,
            links,
            atomic,
        })
    }

    /// A link to this bucket that can be put.
    #[must_use]
    pub fn link_to(&self, bucket: &str, name: &str, timeout: Duration) -> LinkDefinition {
        link_to(&self.cluster, bucket, name, timeout)
    }

    /// A caller over the link of this name.
    #[must_use]
    pub fn linked(&self, name: &'static str, timeout: Duration) -> Linked {
        linked(&self.provider, name, timeout)
    }

    /// The node that the provider is connected to now, if any.
    pub async fn serving(&self) -> Option<usize> {
        for node in 0..NODES {
            let connections = self.cluster.node(node).connections_named(CONNECTION).await;
            if connections.is_ok_and(|connections| connections > 0) {
                return Some(node);
            }
        }
        None
    }

    /// How many connections the provider has, and how many subscriptions on them: at the cluster
    /// and at the lattice.
    ///
    /// # Errors
    /// If a server does not answer.
    pub async fn connections(&self) -> Result<[(u64, u64); 2]> {
        let mut cluster = (0, 0);
        for node in 0..NODES {
            let (connections, subscriptions) = of_provider(self.cluster.node(node)).await?;
            cluster = (cluster.0 + connections, cluster.1 + subscriptions);
        }
        Ok([cluster, of_provider(&self.lattice).await?])
    }
}

/// The stream of a bucket.
#[must_use]
pub fn stream_of(bucket: &str) -> String {
    format!("KV_{bucket}")
}

/// The subject of a bucket's key, or of all that begin so.
#[must_use]
pub fn subject_of(bucket: &str, key: &str) -> String {
    format!("$KV.{bucket}.{key}")
}

fn link_to(cluster: &Cluster, bucket: &str, name: &str, timeout: Duration) -> LinkDefinition {
    LinkDefinition::new(COMPONENT)
        .name(name)
        .config("cluster_uri", cluster.url())
        .config("bucket", bucket)
        .config("timeout", format!("{}s", timeout.as_secs()))
}

fn linked(provider: &Provider, name: &'static str, timeout: Duration) -> Linked {
    let caller = provider.caller(COMPONENT).with_link(name);
    Linked {
        name,
        timeout,
        caller: caller.with_timeout(timeout + Duration::from_secs(10)),
    }
}

/// Lets the bucket take atomic batches. Returns whether it does then.
async fn allow_atomic(cluster: &Cluster) -> Result<bool> {
    let jetstream = cluster.jetstream(0).await?;
    let stream = jetstream.get_stream(stream_of(BUCKET)).await?;
    let config = stream::Config {
        allow_atomic_publish: true,
        ..stream.cached_info().config.clone()
    };
    // A server before 2.12 ignores the setting.
    let updated = jetstream.update_stream(config).await?;
    Ok(updated.config.allow_atomic_publish)
}

async fn of_provider(server: &NatsServer) -> Result<(u64, u64)> {
    let mut named = server.connections().await?;
    named.retain(|connection| connection.name == CONNECTION);
    let subscriptions = named.iter().map(|connection| connection.subscriptions);
    Ok((u64::try_from(named.len())?, subscriptions.sum()))
}
