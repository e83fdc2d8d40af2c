//! The cluster, the lattice, the provider and its links.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use testkit::async_nats::jetstream::{kv, stream};
use testkit::{Cluster, LatticeCaller, Level, LinkDefinition, NEWEST, NODES, NatsServer, Provider};

use crate::ledger::HISTORY;

/// The bucket that all links are to.
pub const BUCKET: &str = "faults";
/// Its stream.
pub const STREAM: &str = "KV_faults";
/// A key's subject is this and the key.
pub const SUBJECTS: &str = "$KV.faults.";

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
        let lattice = NatsServer::run(NEWEST).await?;
        let provider = Provider::builder(lattice.url())
            .binary(PathBuf::from(provider))
            .log_level(Level::Info)
            .start()
            .await?;
        let mut links = Vec::new();
        for (name, timeout) in LINKS {
            let config = |link: LinkDefinition| link;
            links.push(link(&provider, &cluster, name, timeout, config).await?);
        }
        let atomic = if allow_atomic(&cluster).await? {
            let (name, timeout) = ATOMIC;
            let config = |link: LinkDefinition| link.config("atomic", "true");
            Some(link(&provider, &cluster, name, timeout, config).await?)
        } else {
            None
        };
        Ok(Self {
            provider,
            cluster,
            lattice,
            links,
            atomic,
        })
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

/// Puts a link to the bucket.
async fn link(
    provider: &Provider,
    cluster: &Cluster,
    name: &'static str,
    timeout: Duration,
    set_up: impl FnOnce(LinkDefinition) -> LinkDefinition,
) -> Result<Linked> {
    let link = LinkDefinition::new(COMPONENT)
        .name(name)
        .config("cluster_uri", cluster.url())
        .config("bucket", BUCKET)
        .config("timeout", format!("{}s", timeout.as_secs()));
    provider.put_link(&set_up(link)).await?;
    let caller = provider.caller(COMPONENT).with_link(name);
    Ok(Linked {
        name,
        timeout,
        caller: caller.with_timeout(timeout + Duration::from_secs(10)),
    })
}

/// Lets the bucket take atomic batches. Returns whether it does then.
async fn allow_atomic(cluster: &Cluster) -> Result<bool> {
    let jetstream = cluster.jetstream(0).await?;
    let stream = jetstream.get_stream(STREAM).await?;
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
