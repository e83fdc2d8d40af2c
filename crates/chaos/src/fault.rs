//! What goes wrong, brought about for real.

use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fastrand::Rng;
use futures::future::try_join;
use testkit::{NODES, Partition};
use tokio::time::{Instant, sleep};

use crate::counts::Recorder;
use crate::recovery::succeed;
use crate::setup::{STREAM, Setup};

/// How long a node may take to lead the stream, and to have all of it after it was away.
const WAIT_LIMIT: Duration = Duration::from_secs(60);

/// One thing that goes wrong with the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The stream's leader is killed, and started again.
    KillLeader,
    /// A node is frozen for longer than an election takes, and goes on as if nothing had been.
    Freeze {
        /// The stream's leader; else the node that the provider is connected to.
        leader: bool,
    },
    /// All nodes are restarted, one after the other.
    RollingRestart,
    /// The stream's leader is cut off from the other nodes, and joined again.
    Partition(Partition),
}

impl Fault {
    /// One of each kind.
    pub const EACH: [Self; 5] = [
        Self::KillLeader,
        Self::Freeze { leader: true },
        Self::RollingRestart,
        Self::Partition(Partition {
            silent: true,
            clients: true,
        }),
        Self::Partition(Partition {
            silent: false,
            clients: false,
        }),
    ];

    /// Any of them.
    pub fn random(rng: &mut Rng) -> Self {
        match rng.u8(0..4) {
            0 => Self::KillLeader,
            1 => Self::Freeze { leader: rng.bool() },
            2 => Self::RollingRestart,
            _ => Self::Partition(Partition {
                silent: rng.bool(),
                clients: rng.bool(),
            }),
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
            Self::Freeze { leader: false } => {
                let node = setup.serving().await.unwrap_or_default();
                self.begin(setup, recorder, node).await?;
                longest = longest.max(self.hold_and_end(setup, recorder, node, hold).await?);
            }
            Self::KillLeader | Self::Freeze { .. } | Self::Partition(_) => {
                let node = leader(setup, None).await?;
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
            Self::KillLeader => setup.cluster.node_mut(node).kill(),
            Self::Freeze { .. } => setup.cluster.node(node).pause().await?,
            Self::Partition(cut) => setup.cluster.partition(node, cut),
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
        let reachable = !matches!(self, Self::Partition(Partition { clients: false, .. }))
            || setup.serving().await != Some(node);
        let without = if reachable {
            recovered(setup, recorder, Some(node)).await?
        } else {
            Duration::ZERO
        };
        sleep(hold.saturating_sub(begun.elapsed())).await;
        recorder.disturb();
        match self {
            Self::KillLeader => setup.cluster.node_mut(node).start().await?,
            Self::Freeze { .. } => setup.cluster.node(node).resume()?,
            Self::Partition(_) => setup.cluster.heal(node),
            Self::RollingRestart => {}
        }
        Ok(without.max(recovered(setup, recorder, None).await?))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KillLeader => f.write_str("leader killed"),
            Self::Freeze { leader: true } => f.write_str("leader frozen"),
            Self::Freeze { leader: false } => f.write_str("node of the provider frozen"),
            Self::RollingRestart => f.write_str("all restarted in turn"),
            Self::Partition(Partition { silent, clients }) => write!(
                f,
                "leader cut off {}{}",
                if *silent { "silently" } else { "openly" },
                if *clients { ", from clients too" } else { "" }
            ),
        }
    }
}

/// Waits for a quorum, which has elected a leader that is not `away`. From then on calls have to
/// succeed in the promised time; returns how long that took.
async fn recovered(setup: &Setup, recorder: &Recorder, away: Option<usize>) -> Result<Duration> {
    let quorum = async {
        leader(setup, away).await?;
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

/// Waits until the stream has a leader that is another one.
async fn leader(setup: &Setup, than: Option<usize>) -> Result<usize> {
    let deadline = Instant::now() + WAIT_LIMIT;
    loop {
        match setup.cluster.leader(STREAM).await {
            Some(leader) if Some(leader) != than => return Ok(leader),
            _ => ensure!(Instant::now() < deadline, "the stream has no leader"),
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until every node is a current replica of the stream, so that the next fault leaves a
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
    let leader = setup.cluster.leader(STREAM).await.context("no leader")?;
    let detail = setup.cluster.stream(leader, STREAM).await?;
    let detail = detail.context("the leader does not know the stream")?;
    let replicas = detail["cluster"]["replicas"].as_array();
    Ok(replicas.is_some_and(|replicas| {
        replicas.len() == NODES - 1 && replicas.iter().all(|replica| replica["current"] == true)
    }))
}
