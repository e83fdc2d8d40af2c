//! What goes wrong, brought about for real.

use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fastrand::Rng;
use futures::TryStreamExt as _;
use futures::future::try_join;
use testkit::async_nats::jetstream::consumer;
use testkit::{NODES, Partition};
use tokio::time::{Instant, sleep, timeout};

use crate::counts::Recorder;
use crate::recovery::succeed;
use crate::setup::{BUCKET, COPIED, COPY_CONSUMER, Setup, stream_of};

/// How long a node may take to lead the stream, and to have all of it after it was away.
const WAIT_LIMIT: Duration = Duration::from_secs(60);

/// How long it may take to find the node of the copy's consumer.
const FIND_LIMIT: Duration = Duration::from_secs(5);

/// One thing that goes wrong with the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A node is killed, and started again.
    Kill(Victim),
    /// A node is frozen for longer than an election takes, and goes on as if nothing had been.
    Freeze(Victim),
    /// All nodes are restarted, one after the other.
    RollingRestart,
    /// A node is cut off from the other nodes, and joined again.
    CutOff(Victim, Partition),
}

/// The node that a fault happens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// The leader of the stream that most links are to.
    Leader,
    /// The leader of the copied stream.
    CopiedLeader,
    /// The node that has the copy's consumer.
    CopyConsumer,
    /// The node that the provider is connected to.
    Serving,
}

impl Fault {
    /// One of each kind.
    pub const EACH: [Self; 5] = [
        Self::Kill(Victim::Leader),
        Self::Freeze(Victim::CopiedLeader),
        Self::RollingRestart,
        Self::CutOff(
            Victim::CopyConsumer,
            Partition {
                silent: true,
                clients: true,
            },
        ),
        Self::CutOff(
            Victim::Leader,
            Partition {
                silent: false,
                clients: false,
            },
        ),
    ];

    /// Any of them.
    pub fn random(rng: &mut Rng) -> Self {
        match rng.u8(0..4) {
            0 => Self::Kill(Victim::random(rng)),
            1 => Self::Freeze(Victim::random(rng)),
            2 => Self::RollingRestart,
            _ => Self::CutOff(
                Victim::random(rng),
                Partition {
                    silent: rng.bool(),
                    clients: rng.bool(),
                },
            ),
        }
    }

    /// Brings it about, for this long, and ends it. Calls have to succeed meanwhile as soon as there
    /// is a quorum without the node, and afterwards. Returns when all nodes have all of the stream,
    /// with the longest time until calls succeeded again.
    ///
    /// # Errors
    /// If a node does not do what it is told, or calls do not succeed again.
    pub async fn run(
        self,
        setup: &mut Setup,
        recorder: &Recorder,
        hold: Duration,
    ) -> Result<Duration> {
        let mut longest = Duration::ZERO;
        match self {
            Self::RollingRestart => {
                for node in 0..NODES {
                    recorder.disturb();
                    setup.cluster.node_mut(node).stop().await?;
                    setup.cluster.node_mut(node).start().await?;
                    longest = longest.max(recovered(setup, recorder, None).await?);
                    settled(setup).await?;
                }
                return Ok(longest);
            }
            Self::Kill(victim) | Self::Freeze(victim) | Self::CutOff(victim, _) => {
                let node = victim.node(setup).await?;
                self.begin(setup, recorder, node).await?;
                longest = longest.max(self.hold_and_end(setup, recorder, node, hold).await?);
            }
        }
        settled(setup).await?;
        Ok(longest)
    }

    async fn begin(self, setup: &mut Setup, recorder: &Recorder, node: usize) -> Result<()> {
        recorder.disturb();
        match self {
            Self::Kill(_) => setup.cluster.node_mut(node).kill(),
            Self::Freeze(_) => setup.cluster.node(node).pause().await?,
            Self::CutOff(_, cut) => setup.cluster.partition(node, cut),
            Self::RollingRestart => {}
        }
        Ok(())
    }

    async fn hold_and_end(
        self,
        setup: &mut Setup,
        recorder: &Recorder,
        node: usize,
        hold: Duration,
    ) -> Result<Duration> {
        let begun = Instant::now();
        // A provider that stays connected to a node without a quorum can do nothing, and cannot
        // know: the node still answers it.
        let reachable = !matches!(self, Self::CutOff(_, Partition { clients: false, .. }))
            || setup.serving().await != Some(node);
        let without = if reachable {
            recovered(setup, recorder, Some(node)).await?
        } else {
            Duration::ZERO
        };
        sleep(hold.saturating_sub(begun.elapsed())).await;
        recorder.disturb();
        match self {
            Self::Kill(_) => setup.cluster.node_mut(node).start().await?,
            Self::Freeze(_) => setup.cluster.node(node).resume()?,
            Self::CutOff(..) => setup.cluster.heal(node),
            Self::RollingRestart => {}
        }
        Ok(without.max(recovered(setup, recorder, None).await?))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(victim) => write!(f, "{victim} killed"),
            Self::Freeze(victim) => write!(f, "{victim} frozen"),
            Self::RollingRestart => f.write_str("all restarted in turn"),
            Self::CutOff(victim, Partition { silent, clients }) => write!(
                f,
                "{victim} cut off {}{}",
                if *silent { "silently" } else { "openly" },
                if *clients { ", from clients too" } else { "" }
            ),
        }
    }
}

impl Victim {
    fn random(rng: &mut Rng) -> Self {
        match rng.u8(0..5) {
            0 | 1 => Self::Leader,
            2 => Self::CopiedLeader,
            3 => Self::CopyConsumer,
            _ => Self::Serving,
        }
    }

    async fn node(self, setup: &Setup) -> Result<usize> {
        match self {
            Self::Leader => leader(setup, BUCKET, None).await,
            Self::CopiedLeader => leader(setup, COPIED, None).await,
            Self::CopyConsumer => {
                let leader = leader(setup, COPIED, None).await?;
                let found = timeout(FIND_LIMIT, node_of_consumer(setup, leader)).await;
                let node = found.ok().and_then(Result::ok).flatten();
                Ok(node.unwrap_or(leader))
            }
            Self::Serving => Ok(setup.serving().await.unwrap_or_default()),
        }
    }
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Leader => "leader",
            Self::CopiedLeader => "leader of the copied stream",
            Self::CopyConsumer => "node of the copy's consumer",
            Self::Serving => "node of the provider",
        })
    }
}

/// The node that has the copy's consumer, if there is one.
async fn node_of_consumer(setup: &Setup, leader: usize) -> Result<Option<usize>> {
    let jetstream = setup.cluster.jetstream(leader).await?;
    let stream = jetstream.get_stream(stream_of(COPIED)).await?;
    let consumers: Vec<consumer::Info> = stream.consumers().try_collect().await?;
    let mut consumers = consumers.into_iter();
    let consumer = consumers.find(|consumer| consumer.name.starts_with(COPY_CONSUMER));
    let name = consumer.and_then(|consumer| consumer.cluster?.leader);
    Ok(name.and_then(|name| (0..NODES).find(|&node| setup.cluster.node(node).name() == name)))
}

/// Waits for a quorum, which has elected a leader that is not `away`. From then on calls have to
/// succeed in the promised time; returns how long that took.
async fn recovered(setup: &Setup, recorder: &Recorder, away: Option<usize>) -> Result<Duration> {
    let quorum = async {
        leader(setup, BUCKET, away).await?;
        let quorum = Instant::now();
        recorder.quorum(quorum);
        anyhow::Ok(quorum)
    };
    let (quorum, succeeded) = try_join(quorum, succeed(setup)).await?;
    let took = succeeded.saturating_duration_since(quorum);
    if took > recorder.times().recovery {
        recorder.broken(format!(
            "calls succeeded again only {took:?} after a quorum"
        ));
    }
    Ok(took)
}

/// Waits until the bucket's stream has a leader that is another one.
async fn leader(setup: &Setup, bucket: &str, than: Option<usize>) -> Result<usize> {
    let deadline = Instant::now() + WAIT_LIMIT;
    loop {
        match setup.cluster.leader(&stream_of(bucket)).await {
            Some(leader) if Some(leader) != than => return Ok(leader),
            _ => ensure!(Instant::now() < deadline, "the stream has no leader"),
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until every node is a current replica of the streams, so that the next fault leaves a
/// quorum.
///
/// # Errors
/// If that takes longer than a minute.
pub async fn settled(setup: &Setup) -> Result<()> {
    let deadline = Instant::now() + WAIT_LIMIT;
    while !is_settled(setup).await.unwrap_or(false) {
        ensure!(
            Instant::now() < deadline,
            "a node does not catch up with the others"
        );
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

async fn is_settled(setup: &Setup) -> Result<bool> {
    for stream in [BUCKET, COPIED].map(stream_of) {
        let leader = setup.cluster.leader(&stream).await.context("no leader")?;
        let detail = setup.cluster.stream(leader, &stream).await?;
        let detail = detail.context("the leader does not know the stream")?;
        let replicas = detail["cluster"]["replicas"].as_array();
        let is_current = replicas.is_some_and(|replicas| {
            replicas.len() == NODES - 1 && replicas.iter().all(|replica| replica["current"] == true)
        });
        if !is_current {
            return Ok(false);
        }
    }
    Ok(true)
}
