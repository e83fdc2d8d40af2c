use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_nats::jetstream::stream::StorageType;
use async_nats::jetstream::{self, kv, stream};
use serde_json::Value as Json;
use tokio::time::{Instant, sleep, timeout};

use crate::gate::{Gate, Passage};
use crate::nats_server::{NatsServer, NatsServerBuilder};
use crate::random;

/// How many nodes a [`Cluster`] has.
pub const NODES: usize = 3;

/// How often a cluster is started until its nodes have found each other.
const TRIES: usize = 3;

/// How long the nodes may take until they have.
const REPLICAS_TIMEOUT: Duration = Duration::from_secs(20);

const BUCKET_TIMEOUT: Duration = Duration::from_mins(1);

/// How long a node may take to say who leads a stream. One that is frozen never does.
const SAY_TIMEOUT: Duration = Duration::from_secs(1);

/// An address on which nobody listens.
const NOWHERE: &str = "127.0.0.1:1";

/// How a node of a [`Cluster`] is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Nothing comes through and no connection ends, as when a cable is out; else its connections
    /// are closed and none can be made.
    pub silent: bool,
    /// From its clients too, and not only from the other nodes.
    pub clients: bool,
}

/// Three `nats-server` that make one `JetStream` cluster.
///
/// Every connection between two nodes leads through a TCP proxy in this process, and so does that
/// of each client that uses [`url`](Self::url): that is how a node is [cut off](Self::partition). The
/// nodes name an address where nobody listens as theirs to each other, so that none can go round
/// the proxies.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    server: NatsServer,
    /// Before the port for clients.
    front: Gate,
    /// The proxies that lead from this node to each other node.
    ways: HashMap<usize, Gate>,
}

impl Cluster {
    /// Starts three nodes of this version, and waits until a stream can have a replica on each.
    ///
    /// # Errors
    /// If a node does not start within a minute, or they do not become one cluster in three tries.
    pub async fn start(version: &str) -> Result<Self> {
        for _ in 1..TRIES {
            let cluster = Self::start_nodes(version).await?;
            if cluster.replicates().await.is_ok() {
                return Ok(cluster);
            }
        }
        let cluster = Self::start_nodes(version).await?;
        cluster.replicates().await?;
        Ok(cluster)
    }

    async fn start_nodes(version: &str) -> Result<Self> {
        let name = format!("testkit-{:016x}", random::number());
        let ports: [u16; NODES] = std::array::from_fn(|_| random::free_port());
        let (mut builders, mut gates) = (Vec::new(), Vec::new());
        for node in 0..NODES {
            let front = Gate::open().await?;
            let mut ways = HashMap::new();
            for other in (0..NODES).filter(|&other| other != node) {
                let way = Gate::open().await?;
                way.lead_to(ports[other]);
                ways.insert(other, way);
            }
            let config = config(&name, node, ports, &ways)?;
            builders.push(NatsServer::builder(version).in_cluster().config(config));
            gates.push((front, ways));
        }
        let servers = start_all(builders).await?;
        let nodes = servers
            .into_iter()
            .zip(gates)
            .map(|(server, (front, ways))| {
                front.lead_to(server.port());
                Node {
                    server,
                    front,
                    ways,
                }
            })
            .collect();
        Ok(Self { nodes })
    }

    /// Now and then a leader of 2.10 never hears of one of the nodes.
    async fn replicates(&self) -> Result<()> {
        let jetstream = self.jetstream(0).await?;
        let config = stream::Config {
            name: "testkit-probe".to_owned(),
            num_replicas: NODES,
            ..stream::Config::default()
        };
        let deadline = Instant::now() + REPLICAS_TIMEOUT;
        while let Err(error) = jetstream.create_stream(config.clone()).await {
            if Instant::now() >= deadline {
                return Err(error).context("the nodes do not become one cluster");
            }
            sleep(Duration::from_millis(100)).await;
        }
        // Without an answer the stream is deleted all the same, or does no harm.
        let _ = jetstream.delete_stream(config.name).await;
        Ok(())
    }

    /// The addresses of all nodes for clients, comma-separated. They lead through the proxies.
    #[must_use]
    pub fn url(&self) -> String {
        let urls: Vec<_> = self
            .nodes
            .iter()
            .map(|node| format!("nats://127.0.0.1:{}", node.front.port()))
            .collect();
        urls.join(",")
    }

    /// One node. Its own address leads past the proxies.
    #[must_use]
    pub fn node(&self, node: usize) -> &NatsServer {
        &self.nodes[node].server
    }

    /// One node, to be stopped, killed and started again. It is started when it answers; it may
    /// take longer until it follows the others.
    pub fn node_mut(&mut self, node: usize) -> &mut NatsServer {
        &mut self.nodes[node].server
    }

    /// Separates a node from the others, as a network partition does.
    pub fn partition(&self, node: usize, cut: Partition) {
        let passage = if cut.silent {
            Passage::Silent
        } else {
            Passage::Closed
        };
        self.set_ways(node, passage);
        if cut.clients {
            self.nodes[node].front.set(passage);
        }
    }

    /// Ends a [`partition`](Self::partition).
    pub fn heal(&self, node: usize) {
        self.set_ways(node, Passage::Open);
        self.nodes[node].front.set(Passage::Open);
    }

    fn set_ways(&self, node: usize, passage: Passage) {
        for way in self.nodes[node].ways.values() {
            way.set(passage);
        }
        for way in self.nodes.iter().filter_map(|other| other.ways.get(&node)) {
            way.set(passage);
        }
    }

    /// A `JetStream` context on a new connection to this node, past the proxies. It stays there.
    ///
    /// # Errors
    /// If it cannot connect.
    pub async fn jetstream(&self, node: usize) -> Result<jetstream::Context> {
        self.node(node).jetstream().await
    }

    /// Creates a bucket with a replica on each node, kept in files; waits until the cluster can.
    ///
    /// # Errors
    /// If it cannot within a minute.
    pub async fn create_bucket(&self, config: kv::Config) -> Result<kv::Store> {
        let config = kv::Config {
            num_replicas: NODES,
            storage: StorageType::File,
            ..config
        };
        let jetstream = self.jetstream(0).await?;
        let deadline = Instant::now() + BUCKET_TIMEOUT;
        // Until all nodes have told the leader of themselves there is no room for replicas, and
        // until there is a leader nobody answers.
        loop {
            match jetstream.create_key_value(config.clone()).await {
                Ok(bucket) => return Ok(bucket),
                Err(error) if Instant::now() >= deadline => {
                    return Err(error).context("cannot create the bucket in a minute");
                }
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// What this node knows of a stream, as its `/jsz` has it; nothing if it does not know it.
    ///
    /// # Errors
    /// If the node does not answer in 5 s.
    pub async fn stream(&self, node: usize, stream: &str) -> Result<Option<Json>> {
        let mut answer = self.node(node).monitor("/jsz?streams=1").await?;
        let accounts = answer["account_details"].as_array_mut();
        let streams = accounts
            .into_iter()
            .flatten()
            .filter_map(|account| account["stream_detail"].as_array_mut())
            .flatten();
        Ok(streams
            .into_iter()
            .find(|detail| detail["name"] == stream)
            .map(Json::take))
    }

    /// The node that leads a stream: the one that most nodes say does. Nodes that do not answer in
    /// time have no say.
    pub async fn leader(&self, stream: &str) -> Option<usize> {
        let views = [0, 1, 2].map(|node| self.named_leader(node, stream));
        let [a, b, c] = views;
        let (a, b, c) = tokio::join!(a, b, c);
        let named = [a, b, c];
        (0..NODES).find(|&node| named.iter().filter(|&&named| named == Some(node)).count() > 1)
    }

    async fn named_leader(&self, node: usize, stream: &str) -> Option<usize> {
        let detail = timeout(SAY_TIMEOUT, self.stream(node, stream)).await;
        let detail = detail.ok()?.ok()??;
        let leader = detail["cluster"]["leader"].as_str()?;
        self.nodes
            .iter()
            .position(|node| node.server.name() == leader)
    }
}

fn config(
    name: &str,
    node: usize,
    ports: [u16; NODES],
    ways: &HashMap<usize, Gate>,
) -> Result<String> {
    let mut text = String::new();
    let own = ports[node];
    writeln!(text, "cluster {{")?;
    writeln!(text, "name: \"{name}\"")?;
    writeln!(text, "listen: \"127.0.0.1:{own}\"")?;
    writeln!(text, "advertise: \"{NOWHERE}\"")?;
    // The nodes tell clients no other addresses, so that no client goes round the proxies.
    writeln!(text, "no_advertise: true")?;
    // Its own as well: the number of routes is how many nodes are waited for at the first start.
    let routes: Vec<_> = std::iter::once(own)
        .chain(ways.values().map(Gate::port))
        .map(|port| format!("\"nats-route://127.0.0.1:{port}\""))
        .collect();
    writeln!(text, "routes: [{}]", routes.join(", "))?;
    writeln!(text, "}}")?;
    Ok(text)
}

/// All at the same time, because no node becomes ready without another.
async fn start_all(builders: Vec<NatsServerBuilder>) -> Result<Vec<NatsServer>> {
    let mut starting: Vec<_> = builders
        .into_iter()
        .map(|builder| tokio::spawn(builder.start()))
        .collect();
    let mut servers = Vec::new();
    for starting in starting.drain(..) {
        servers.push(starting.await.context("a node's start panicked")??);
    }
    ensure!(servers.len() == NODES, "a node is missing");
    Ok(servers)
}
