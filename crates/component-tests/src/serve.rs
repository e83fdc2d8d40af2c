//! `eventual-batch serve` as a process.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::host::BucketLink;

/// How long compiling a component may take, on a slow machine too: one in Python has 19 MB.
const START_LIMIT: Duration = Duration::from_secs(600);

const LISTENING: &str = "listening on http://";

/// A component on `eventual-batch serve`. The process is killed when this is dropped.
pub struct Serve {
    address: String,
    child: Child,
    _links: TempDir,
}

impl Serve {
    /// Runs this component with these links to buckets of this server. Returns once it answers HTTP.
    ///
    /// # Errors
    ///
    /// If it does not listen within two minutes.
    pub async fn start(
        program: &Path,
        component: &Path,
        nats: &str,
        links: &[BucketLink],
    ) -> Result<Self> {
        let dir = TempDir::with_prefix("eventual-batch-serve-")?;
        let file = dir.path().join("links.toml");
        std::fs::write(&file, links_file(nats, links)).context("cannot write the links file")?;
        let mut child = Command::new(program)
            .arg("serve")
            .arg(component)
            .args(["--http", "127.0.0.1:0"])
            .arg("--links")
            .arg(&file)
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let stdout = child.stdout.take().context("no standard output")?;
        let mut output = BufReader::new(stdout).lines();
        let line = timeout(START_LIMIT, output.next_line());
        let line = line
            .await
            .context("it does not listen in time")??
            .context("it ended before it listened; it says why above")?;
        let address = line
            .strip_prefix(LISTENING)
            .with_context(|| format!("unexpected: {line:?}"))?
            .to_owned();
        Ok(Self {
            address,
            child,
            _links: dir,
        })
    }

    /// `host:port`
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Stops it as an operator does, and waits for its end.
    ///
    /// # Errors
    ///
    /// If it does not end with success.
    pub async fn stop(mut self) -> Result<()> {
        let pid = self.child.id().context("it has ended by itself")?;
        let status = Command::new("kill").arg(pid.to_string()).status().await?;
        ensure!(status.success(), "it cannot be stopped");
        let status = self.child.wait().await?;
        ensure!(status.success(), "it ended with {status}");
        Ok(())
    }
}

/// The links as the file has them. TOML writes strings as JSON does, and takes the numbers and the
/// booleans among the settings as strings too.
fn links_file(nats: &str, links: &[BucketLink]) -> String {
    let link = |BucketLink { name, settings }: &BucketLink| {
        let settings = settings
            .iter()
            .map(|(key, value)| format!("{key} = {}\n", json!(value)));
        let (name, nats) = (json!(name), json!(nats));
        let settings: String = settings.collect();
        format!("[links.{name}]\ncluster_uri = {nats}\n{settings}")
    };
    links.iter().map(link).collect()
}
