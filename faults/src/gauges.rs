//! What the provider holds: memory, files, connections, subscriptions.

use std::fmt;
use std::fs;

use anyhow::{Context as _, Result};

use crate::stage::Stage;

/// How much more memory it may hold at the end, in per cent, than it did.
const MAX_GROWTH: u64 = 10;

/// What the provider holds at a time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gauges {
    /// Resident memory, in KiB.
    pub rss_kib: u64,
    /// Open file descriptors.
    pub files: usize,
    /// Connections to the cluster, and subscriptions on them.
    pub cluster: (u64, u64),
    /// The same of the lattice.
    pub lattice: (u64, u64),
}

impl Gauges {
    /// Reads them.
    ///
    /// # Errors
    /// If the provider or a server is not there.
    pub async fn read(stage: &Stage) -> Result<Self> {
        let files = fs::read_dir(format!("/proc/{}/fd", stage.provider.pid()))
            .context("the provider does not run")?;
        let [cluster, lattice] = stage.connections().await?;
        Ok(Self {
            rss_kib: stage.provider.rss_kib()?,
            files: files.count(),
            cluster,
            lattice,
        })
    }

    /// What has become more since `start`, in words.
    #[must_use]
    pub fn grown_since(&self, start: &Self) -> Vec<String> {
        let mut grown = Vec::new();
        if self.rss_kib * 100 > start.rss_kib * (100 + MAX_GROWTH) {
            grown.push(format!(
                "memory grew from {} to {} KiB, by more than {MAX_GROWTH} %",
                start.rss_kib, self.rss_kib
            ));
        }
        let others = |gauges: &Self| (gauges.files, gauges.cluster, gauges.lattice);
        if others(self) != others(start) {
            grown.push(format!("not equal: {start}, and {self}"));
        }
        grown
    }
}

impl fmt::Display for Gauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} KiB resident, {} files, {} connections with {} subscriptions to the cluster, {} with \
             {} to the lattice",
            self.rss_kib,
            self.files,
            self.cluster.0,
            self.cluster.1,
            self.lattice.0,
            self.lattice.1
        )
    }
}
