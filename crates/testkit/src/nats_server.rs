use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use async_nats::ConnectOptions;
use async_nats::jetstream::{self, kv};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::process::Process;
use crate::{random, tools};

const START_TIMEOUT: Duration = Duration::from_secs(20);
/// Three start at once, or one beside a load.
const CLUSTER_START_TIMEOUT: Duration = Duration::from_mins(1);
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// A real `nats-server` on 127.0.0.1, with `JetStream` in a temporary folder.
///
/// It keeps its ports and its store over [`stop`](Self::stop) and [`start`](Self::start). Dropping
/// it kills the server and removes the folder.
#[derive(Debug)]
pub struct NatsServer {
    // Before `dir`: the server ends before its folder goes.
    process: Option<Process>,
    settings: NatsServerBuilder,
    binary: PathBuf,
    name: String,
    port: u16,
    pub(crate) monitor_port: u16,
    dir: TempDir,
}

/// How a [`NatsServer`] is started. See [`NatsServer::builder`].
#[derive(Clone, Debug)]
pub struct NatsServerBuilder {
    version: String,
    config: String,
    jetstream_config: String,
    in_cluster: bool,
}

impl NatsServerBuilder {
    /// Text for the end of the configuration file: `authorization { … }`, `accounts { … }`,
    /// `tls { … }`, `max_payload: …`.
    #[must_use]
    pub fn config(mut self, text: impl AsRef<str>) -> Self {
        self.config.push_str(text.as_ref());
        self.config.push('\n');
        self
    }

    /// Text for the inside of the `jetstream { … }` block: `domain: hub`, `sync_interval: always`.
    #[must_use]
    pub fn jetstream_config(mut self, text: impl AsRef<str>) -> Self {
        self.jetstream_config.push_str(text.as_ref());
        self.jetstream_config.push('\n');
        self
    }

    /// One of a cluster: it is ready when it serves clients, with or without its streams.
    pub(crate) fn in_cluster(mut self) -> Self {
        self.in_cluster = true;
        self
    }

    /// Starts the server and waits until it answers and `JetStream` is ready.
    ///
    /// # Errors
    /// If the binary is not there, or the server ends or is not ready within 20 s.
    pub async fn start(self) -> Result<NatsServer> {
        let mut server = NatsServer {
            process: None,
            binary: tools::nats_server_binary(&self.version)?,
            settings: self,
            name: format!("testkit-{:016x}", random::number()),
            port: 0,
            monitor_port: 0,
            dir: tempfile::Builder::new()
                .prefix("testkit-nats-")
                .tempdir()
                .context("cannot make a temporary folder")?,
        };
        let mut attempts = 0;
        loop {
            server.port = random::free_port();
            server.monitor_port = random::free_port();
            attempts += 1;
            match server.try_start().await? {
                Started::Yes => return Ok(server),
                Started::PortTaken => ensure!(attempts < 20, "no free ports in {attempts} tries"),
            }
        }
    }
}

enum Started {
    Yes,
    PortTaken,
}

impl NatsServer {
    /// A builder for one of [`NATS_VERSIONS`](crate::NATS_VERSIONS).
    #[must_use]
    pub fn builder(version: impl Into<String>) -> NatsServerBuilder {
        NatsServerBuilder {
            version: version.into(),
            config: String::new(),
            jetstream_config: String::new(),
            in_cluster: false,
        }
    }

    /// Starts a server that anybody may use.
    ///
    /// # Errors
    /// See [`NatsServerBuilder::start`].
    pub async fn run(version: impl Into<String>) -> Result<Self> {
        Self::builder(version).start().await
    }

    /// `nats://127.0.0.1:<port>`
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The port for clients.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's name, which `JetStream` calls it by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The server's version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.settings.version
    }

    /// The temporary folder: `nats.conf`, `nats.log`, `store`, and whatever a test puts there.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What the server has logged, over all its starts.
    #[must_use]
    pub fn logs(&self) -> String {
        fs::read(self.log_path())
            .map(|log| String::from_utf8_lossy(&log).into_owned())
            .unwrap_or_default()
    }

    /// Replaces the text given to [`NatsServerBuilder::config`], for the next
    /// [`start`](Self::start) or [`reload`](Self::reload).
    pub fn set_config(&mut self, text: impl Into<String>) {
        self.settings.config = text.into();
    }

    /// Starts the server again, on its ports and with its store, and waits until it is ready. Does
    /// nothing if it runs.
    ///
    /// # Errors
    /// If the server ends or is not ready within 20 s, or a port stays taken that long.
    pub async fn start(&mut self) -> Result<()> {
        if self.process.is_some() {
            return Ok(());
        }
        let deadline = Instant::now() + START_TIMEOUT;
        while let Started::PortTaken = self.try_start().await? {
            ensure!(Instant::now() < deadline, "port {} stays taken", self.port);
            sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// Ends the server in good order (SIGINT) and waits for that. Does nothing if it is stopped.
    ///
    /// # Errors
    /// If it had to be killed after 10 s.
    pub async fn stop(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.signal(Signal::INT)?;
            process
                .wait(STOP_TIMEOUT)
                .await?
                .context("nats-server did not stop in 10 s")?;
        }
        Ok(())
    }

    /// Ends the server at once (SIGKILL). Does nothing if it is stopped.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Freezes the server (SIGSTOP), and returns when it is frozen: connections stay open, nothing
    /// is answered.
    ///
    /// # Errors
    /// If it does not run.
    pub async fn pause(&self) -> Result<()> {
        self.process
            .as_ref()
            .context("nats-server does not run")?
            .pause()
            .await
    }

    /// Ends a [`pause`](Self::pause).
    ///
    /// # Errors
    /// If it does not run.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Makes the running server read its configuration again (SIGHUP). It does so in its own time:
    /// poll for the effect.
    ///
    /// # Errors
    /// If it does not run.
    pub fn reload(&self) -> Result<()> {
        self.write_config()?;
        self.signal(Signal::HUP)
    }

    /// A new connection, without a login.
    ///
    /// # Errors
    /// If it cannot connect.
    pub async fn client(&self) -> Result<async_nats::Client> {
        self.client_with(ConnectOptions::new()).await
    }

    /// A new connection, with a login for instance. Its name is `testkit`.
    ///
    /// # Errors
    /// If it cannot connect.
    pub async fn client_with(&self, options: ConnectOptions) -> Result<async_nats::Client> {
        options
            .name("testkit")
            .connect(self.url())
            .await
            .with_context(|| format!("cannot connect to {}", self.url()))
    }

    /// A `JetStream` context on a new connection.
    ///
    /// # Errors
    /// If it cannot connect.
    pub async fn jetstream(&self) -> Result<jetstream::Context> {
        Ok(jetstream::new(self.client().await?))
    }

    /// Creates a bucket; `config.bucket` is overwritten with `name`.
    ///
    /// # Errors
    /// If the server refuses it or asks for a login.
    pub async fn create_bucket(&self, name: &str, config: kv::Config) -> Result<kv::Store> {
        let config = kv::Config {
            bucket: name.to_owned(),
            ..config
        };
        let created = self.jetstream().await?.create_key_value(config).await;
        created.with_context(|| format!("cannot create bucket {name}"))
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        self.process
            .as_ref()
            .context("nats-server does not run")?
            .signal(signal)
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("nats.log")
    }

    fn config_path(&self) -> PathBuf {
        self.dir.path().join("nats.conf")
    }

    fn write_config(&self) -> Result<()> {
        let mut text = String::new();
        writeln!(text, "server_name: {}", self.name)?;
        writeln!(text, "listen: \"127.0.0.1:{}\"", self.port)?;
        writeln!(text, "http: \"127.0.0.1:{}\"", self.monitor_port)?;
        writeln!(text, "log_file: \"{}\"", self.log_path().display())?;
        writeln!(text, "jetstream {{")?;
        writeln!(
            text,
            "store_dir: \"{}\"",
            self.dir.path().join("store").display()
        )?;
        writeln!(text, "{}}}", self.settings.jetstream_config)?;
        text.push_str(&self.settings.config);
        fs::write(self.config_path(), text).context("cannot write nats.conf")
    }

    async fn try_start(&mut self) -> Result<Started> {
        self.write_config()?;
        let logged = self.logs().len();
        let output = fs::File::create(self.dir.path().join("nats.out"))
            .context("cannot make a file for nats-server's output")?;
        let errors = output.try_clone().context("cannot share a file")?;
        let config = self.config_path();
        let mut process = Process::spawn(&self.binary, |command| {
            command.arg("-c").arg(config).stdout(output).stderr(errors);
        })?;

        let limit = if self.settings.in_cluster {
            CLUSTER_START_TIMEOUT
        } else {
            START_TIMEOUT
        };
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = process.try_wait()? {
                let mut said = self.logs().split_off(logged);
                said.push_str(&fs::read_to_string(self.dir.path().join("nats.out"))?);
                if said.contains("address already in use") {
                    return Ok(Started::PortTaken);
                }
                bail!("nats-server ended ({status}):\n{said}");
            }
            if self.is_ready().await {
                self.process = Some(process);
                return Ok(Started::Yes);
            }
            if Instant::now() >= deadline {
                bail!("nats-server is not ready after {limit:?}:\n{}", self.logs());
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Whether the server on the monitoring port is this one, accepts clients and has recovered
    /// its streams. (The client port is not asked: with TLS first it says nothing.)
    async fn is_ready(&self) -> bool {
        let named = match self.monitor("/varz").await {
            Ok(varz) => varz["server_name"] == self.name.as_str(),
            Err(_) => false,
        };
        // A node's streams may wait for a node that is down; the tests look at them themselves.
        let health = if self.settings.in_cluster {
            "/healthz?js-server-only=true"
        } else {
            "/healthz"
        };
        named && self.monitor(health).await.is_ok()
    }
}
