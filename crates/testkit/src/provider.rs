mod builder;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use async_nats::{Client, Request};
use nkeys::XKey;
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout_at};
use wasmcloud_core::HealthCheckResponse;
use wasmcloud_core::rpc::{
    health_subject, link_del_subject, link_put_subject, provider_config_update_subject,
    shutdown_subject,
};

use crate::caller::LatticeCaller;
use crate::link::LinkDefinition;
use crate::process::Process;

pub use builder::ProviderBuilder;

/// The environment variable that names the provider's binary. It goes before the path given to
/// [`ProviderBuilder::binary`], so that a suite built against one binary can be run on another.
pub const PROVIDER_ENV: &str = "TESTKIT_PROVIDER";

const READY_TIMEOUT: Duration = Duration::from_secs(20);
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(40);
const COMMAND_TIMEOUT: Duration = Duration::from_secs(20);

/// The provider's own process, and the part that a wasmCloud host plays for it.
///
/// Dropping it kills the process. If that happens in a panic, the end of its log goes to stderr.
#[derive(Debug)]
pub struct Provider {
    process: Process,
    host: Client,
    caller: LatticeCaller,
    lattice: String,
    key: String,
    host_id: String,
    host_xkey: XKey,
    xkey: XKey,
    xkey_seed: String,
    commands: Mutex<()>,
    dir: TempDir,
}

fn log_path(dir: &Path) -> PathBuf {
    dir.join("provider.log")
}

/// One of the host's commands that have no answer in the protocol.
///
/// To know when one of them has been carried out, a message that does not decode is sent after it
/// on the same subject, and the line that the SDK logs about that message is awaited. This is
/// sound: the SDK has one task per subject, which takes the messages in their order and goes on to
/// the next only when the provider has handled the one before. A health request would prove
/// nothing: it comes on a subject and a channel of its own, between which and the others the SDK's
/// loop chooses at random. The lines are left out of [`Provider::logs`].
struct HostCommand {
    subject: String,
    complaint: &'static str,
}

const BAD_PUT: &str = "received invalid link def data on message";
const BAD_DELETE: &str = "received invalid link on link_del";
const BAD_CONFIG: &str = "received invalid config update data on message";

impl Provider {
    /// A builder for a provider on the lattice with this NATS.
    #[must_use]
    pub fn builder(lattice_url: impl Into<String>) -> ProviderBuilder {
        ProviderBuilder::new(lattice_url.into())
    }

    /// The lattice's name.
    #[must_use]
    pub fn lattice(&self) -> &str {
        &self.lattice
    }

    /// The provider's key: the target of its links.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The private key with which the provider opens the secrets of its links.
    #[must_use]
    pub fn xkey_seed(&self) -> &String {
        &self.xkey_seed
    }

    /// The calls of this component. All callers of one provider share one connection; for more
    /// see [`LatticeCaller::connect`].
    #[must_use]
    pub fn caller(&self, component: &str) -> LatticeCaller {
        self.caller.clone().with_source(component)
    }

    /// Makes a link, and returns when the provider has taken it or refused it. (The SDK tells the
    /// host neither; [`logs`](Self::logs) does.)
    ///
    /// # Errors
    /// If the provider does not get to it in 20 s.
    pub async fn put_link(&self, link: &LinkDefinition) -> Result<()> {
        let definition = link.to_put(&self.key, &self.host_xkey, &self.xkey)?;
        let command = HostCommand {
            // Hosts since 1.1 address this one to the provider's xkey.
            subject: link_put_subject(&self.lattice, &self.xkey.public_key()),
            complaint: BAD_PUT,
        };
        self.command(&command, serde_json::to_vec(&definition)?)
            .await
    }

    /// Removes a link, and returns when the provider has done it.
    ///
    /// # Errors
    /// If the provider does not get to it in 20 s.
    pub async fn delete_link(&self, link: &LinkDefinition) -> Result<()> {
        let command = HostCommand {
            subject: link_del_subject(&self.lattice, &self.key),
            complaint: BAD_DELETE,
        };
        let definition = link.to_delete(&self.key);
        self.command(&command, serde_json::to_vec(&definition)?)
            .await
    }

    /// Gives the provider a new configuration, in whole, and returns when the provider has taken it
    /// or refused it.
    ///
    /// # Errors
    /// If the provider does not get to it in 20 s.
    pub async fn update_config(&self, config: &HashMap<String, String>) -> Result<()> {
        let command = HostCommand {
            subject: provider_config_update_subject(&self.lattice, &self.key),
            complaint: BAD_CONFIG,
        };
        self.command(&command, serde_json::to_vec(config)?).await
    }

    /// Sends a health request, as a host does.
    ///
    /// # Errors
    /// If it does not answer in 10 s.
    pub async fn health(&self) -> Result<HealthCheckResponse> {
        let subject = health_subject(&self.lattice, &self.key);
        let answer = self
            .host
            .request(subject, "".into())
            .await
            .context("no answer to the health request")?;
        serde_json::from_slice(&answer.payload).context("the health answer is not JSON")
    }

    /// Tells the provider to shut down, as a host does, and waits for its end.
    ///
    /// # Errors
    /// If it does not acknowledge, or has not ended, within 40 s.
    pub async fn shutdown(&mut self) -> Result<ExitStatus> {
        let subject = shutdown_subject(&self.lattice, &self.key, "default");
        let payload = serde_json::to_vec(&json!({ "host_id": self.host_id }))?;
        let request = Request::new()
            .payload(payload.into())
            .timeout(Some(SHUTDOWN_TIMEOUT));
        self.host
            .send_request(subject, request)
            .await
            .context("the provider did not acknowledge the shutdown")?;
        self.wait(SHUTDOWN_TIMEOUT).await
    }

    /// Waits for the process to end by itself.
    ///
    /// # Errors
    /// If it has not ended within `timeout`.
    pub async fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        self.process
            .wait(timeout)
            .await?
            .with_context(|| format!("the provider has not ended after {timeout:?}"))
    }

    /// Ends the process at once (SIGKILL).
    ///
    /// # Errors
    /// If the system refuses.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.process.kill()
    }

    /// Whether the process runs.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.process.try_wait()?.is_none())
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Resident memory now, in KiB.
    ///
    /// # Errors
    /// If the process has ended.
    pub fn rss_kib(&self) -> Result<u64> {
        self.memory_kib("VmRSS:")
    }

    /// Address space now, in KiB: also what is reserved and not used.
    ///
    /// # Errors
    /// If the process has ended.
    pub fn reserved_kib(&self) -> Result<u64> {
        self.memory_kib("VmSize:")
    }

    fn memory_kib(&self, name: &str) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))
            .context("the provider does not run")?;
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|number| number.parse().ok())
            .context("the provider does not run")
    }

    /// What the provider has written to stdout and stderr, without the lines that `testkit` itself
    /// provokes. Its log is written by a thread of its own: poll for a line that should come.
    #[must_use]
    pub fn logs(&self) -> String {
        let log = fs::read(log_path(self.dir.path())).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        log.split_inclusive('\n')
            .filter(|line| !is_provoked(line))
            .collect()
    }

    async fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY_TIMEOUT;
        // An answer to one call means that all functions are served: the streams of calls are
        // polled once all of them have subscribed. Nobody is linked by this name, and an empty
        // batch touches no bucket.
        let probe = self
            .caller("testkit-probe")
            .with_timeout(Duration::from_millis(500));
        loop {
            if let Some(status) = self.process.try_wait()? {
                bail!("the provider ended ({status}):\n{}", self.logs());
            }
            let answer = probe.batch().get_many::<&str>("default", &[]).await;
            if answer.is_ok() && self.health().await.is_ok() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!("the provider is not ready after 20 s:\n{}", self.logs());
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn command(&self, command: &HostCommand, payload: Vec<u8>) -> Result<()> {
        // One at a time, so that a line in the log belongs to one command.
        let _one = self.commands.lock().await;
        let mut log = File::open(log_path(self.dir.path())).context("cannot read the log")?;
        log.seek(SeekFrom::End(0))?;

        self.host
            .publish(command.subject.clone(), payload.into())
            .await?;
        self.host
            .publish(command.subject.clone(), "\"testkit\"".into())
            .await?;
        let deadline = Instant::now() + COMMAND_TIMEOUT;
        // While the lattice is down this waits for it to come back.
        timeout_at(deadline, self.host.flush())
            .await
            .context("the lattice's NATS does not answer")??;

        let mut seen = Vec::new();
        loop {
            log.read_to_end(&mut seen)?;
            if String::from_utf8_lossy(&seen).contains(command.complaint) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!(
                    "the provider did not get to {} in 20 s:\n{}",
                    command.subject,
                    self.logs()
                );
            }
            sleep(Duration::from_millis(2)).await;
        }
    }
}

fn is_provoked(line: &str) -> bool {
    [BAD_PUT, BAD_DELETE, BAD_CONFIG]
        .iter()
        .any(|complaint| line.contains(complaint))
}

impl Drop for Provider {
    fn drop(&mut self) {
        if thread::panicking() {
            let logs = self.logs();
            let lines: Vec<_> = logs.lines().collect();
            let end = &lines[lines.len().saturating_sub(60)..];
            eprintln!("--- the provider's log, last lines ---\n{}", end.join("\n"));
        }
    }
}
