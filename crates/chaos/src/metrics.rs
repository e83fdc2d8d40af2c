//! The provider's resources: memory, files, connections, subscriptions.

use std::fmt;
use std::fs;

use anyhow::{Context as _, Result};

use crate::setup::Setup;

/// How much the memory may grow until the end, in per cent.
const MAX_GROWTH: u64 = 10;

/// The provider's resources at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Metrics {
    /// Resident memory, in KiB.
    pub rss_kib: u64,
    /// Open file descriptors.
    pub files: usize,
    /// Connections to the cluster, and subscriptions on them.
    pub cluster: (u64, u64),
    /// The same of the lattice.
    pub lattice: (u64, u64),
}

impl Metrics {
    /// Reads them.
    ///
    /// # Errors
    /// If the provider or a server is not there.
    pub async fn read(setup: &Setup) -> Result<Self> {
        let files = fs::read_dir(format!("/proc/{}/fd", setup.provider.pid()))
            .context("the provider does not run")?;
        let [cluster, lattice] = setup.connections().await?;
        Ok(Self {
            rss_kib: setup.provider.rss_kib()?,
            files: files.count(),
            cluster,
            lattice,
        })
    }

    /// Describes each resource that has grown since `start`.
    #[must_use]
    pub fn grown_since(&self, start: &Self) -> Vec<String> {
        let mut grown = Vec::new();
        if self.rss_kib * 100 > start.rss_kib * (100 + MAX_GROWTH) {
            grown.push(format!(
                "memory grew from {} to {} KiB, by more than {MAX_GROWTH} %",
                start.rss_kib, self.rss_kib
            ));
        }
        let others = |metrics: &Self| (metrics.files, metrics.cluster, metrics.lattice);
        if others(self) != others(start) {
            grown.push(format!("not equal: {start}, and {self}"));
        }
        grown
    }
}

impl fmt::Display for Metrics {
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
