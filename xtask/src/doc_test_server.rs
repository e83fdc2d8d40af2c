//! A nats-server for the examples in the engine's documentation, which are tests where one is set up.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::cargo::target_dir;
use crate::nats_server::PINNED;

/// The environment variable by which the examples find the server.
const VARIABLE: &str = "EVENTUAL_BATCH_DOC_TEST_NATS";

/// How long the server may take until it listens.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A running server. It is killed, and its directory removed, when this is dropped.
pub(crate) struct DocTestServer {
    child: Child,
    dir: PathBuf,
    url: String,
}

impl DocTestServer {
    /// Starts the newest pinned server on a free port.
    pub(crate) fn start() -> Result<Self> {
        let newest = PINNED.last().context("no nats-server is pinned")?.version;
        let tools = target_dir().join("tools");
        let dir = tools.join(format!("doc-test-{}", std::process::id()));
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let binary = tools.join("nats-server").join(newest).join("nats-server");
        let child = Command::new(&binary)
            .args(["-js", "-a", "127.0.0.1", "-p", "-1", "-sd"])
            .arg(&dir)
            .arg("--ports_file_dir")
            .arg(&dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let mut server = Self {
            child,
            dir,
            url: String::new(),
        };
        server.url = server.wait_for_url()?;
        Ok(server)
    }

    /// Lets the doc tests of this `cargo test` find the server.
    pub(crate) fn announce_to(&self, command: &mut Command) {
        command.env(VARIABLE, &self.url);
    }

    /// The server writes the file with its ports once it listens.
    fn wait_for_url(&mut self) -> Result<String> {
        let ports = self
            .dir
            .join(format!("nats-server_{}.ports", self.child.id()));
        let begun = Instant::now();
        while begun.elapsed() < START_TIMEOUT {
            if let Ok(text) = fs::read_to_string(&ports)
                && let Ok(ports) = serde_json::from_str::<Value>(&text)
                && let Some(url) = ports["nats"][0].as_str()
            {
                return Ok(url.to_owned());
            }
            let ended = self
                .child
                .try_wait()
                .context("cannot wait for nats-server")?;
            ensure!(
                ended.is_none(),
                "the nats-server of the doc tests ended at once"
            );
            sleep(Duration::from_millis(20));
        }
        bail!("the nats-server of the doc tests did not listen within {START_TIMEOUT:?}")
    }
}

impl Drop for DocTestServer {
    fn drop(&mut self) {
        // Only tidiness: a server that is gone already is no trouble.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}
