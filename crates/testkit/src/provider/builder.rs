//! How a provider's process is started.

use std::collections::HashMap;
use std::env;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_nats::ConnectOptions;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nkeys::{KeyPair, XKey};
use tokio::sync::Mutex;
use wasmcloud_core::HostData;
use wasmcloud_core::OtelConfig;
use wasmcloud_core::logging::Level;
use wasmcloud_core::secrets::SecretValue;

use super::{PROVIDER_ENV, Provider, log_path};
use crate::caller::LatticeCaller;
use crate::link::LinkDefinition;
use crate::process::Process;
use crate::random;

/// How a [`Provider`] is started. See [`Provider::builder`].
#[derive(Clone, Debug)]
pub struct ProviderBuilder {
    lattice_url: String,
    binary: Option<PathBuf>,
    config: HashMap<String, String>,
    secrets: HashMap<String, SecretValue>,
    links: Vec<LinkDefinition>,
    log_level: Level,
    rpc_timeout: Duration,
    lattice_login: (String, String),
    env: Vec<(String, String)>,
    identity: Option<(String, String)>,
    otel: OtelConfig,
}

impl ProviderBuilder {
    pub(super) fn new(lattice_url: String) -> Self {
        Self {
            lattice_url,
            binary: None,
            config: HashMap::new(),
            secrets: HashMap::new(),
            links: Vec::new(),
            log_level: Level::Debug,
            rpc_timeout: Duration::from_secs(2),
            lattice_login: Default::default(),
            env: Vec::new(),
            identity: None,
            otel: OtelConfig::default(),
        }
    }

    /// The provider's binary, unless the environment names one ([`PROVIDER_ENV`]).
    #[must_use]
    pub fn binary(mut self, path: impl Into<PathBuf>) -> Self {
        self.binary = Some(path.into());
        self
    }

    /// Sets one key of the provider's configuration: the defaults of its links.
    #[must_use]
    pub fn config(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.insert(key.into(), value.into());
        self
    }

    /// Sets one secret of the provider.
    #[must_use]
    pub fn secret(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        let value = SecretValue::String(value.into());
        self.secrets.insert(key.into(), value);
        self
    }

    /// Adds a link that is there when the provider starts.
    #[must_use]
    pub fn link(mut self, link: LinkDefinition) -> Self {
        self.links.push(link);
        self
    }

    /// The level of the provider's log; `Debug` unless set.
    #[must_use]
    pub fn log_level(mut self, level: Level) -> Self {
        self.log_level = level;
        self
    }

    /// The host's RPC timeout, which the provider is told; 2 s unless set, as on a real host.
    #[must_use]
    pub fn rpc_timeout(mut self, timeout: Duration) -> Self {
        self.rpc_timeout = timeout;
        self
    }

    /// Gives the provider a user JWT and seed to log in to the lattice with. The host and its callers
    /// have none, so the lattice is to be one that asks for none.
    #[must_use]
    pub fn lattice_login(mut self, jwt: impl Into<String>, seed: impl Into<String>) -> Self {
        self.lattice_login = (jwt.into(), seed.into());
        self
    }

    /// Has the provider export metrics and spans to a collector at this URL, by OTLP over HTTP,
    /// five times a second.
    #[must_use]
    pub fn collector(mut self, url: impl Into<String>) -> Self {
        self.otel.enable_traces = Some(true);
        self.metrics_collector(url)
            .env("OTEL_BSP_SCHEDULE_DELAY", "200")
    }

    /// Has the provider export metrics only to a collector at this URL, by OTLP over HTTP, five times a
    /// second.
    #[must_use]
    pub fn metrics_collector(mut self, url: impl Into<String>) -> Self {
        self.otel.enable_metrics = Some(true);
        self.otel.observability_endpoint = Some(url.into());
        self.env("OTEL_METRIC_EXPORT_INTERVAL", "200")
    }

    /// Adds a variable to the provider's environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Starts it as one more instance of a provider: with its key, on its lattice, so that they
    /// share the calls. Each is shut down by itself; each has to be given its links.
    #[must_use]
    pub fn instance_of(mut self, provider: &Provider) -> Self {
        self.identity = Some((provider.lattice.clone(), provider.key.clone()));
        self
    }

    /// Starts the provider and waits until it answers calls.
    ///
    /// # Errors
    /// If the lattice is not reachable, or the provider ends or does not answer within 20 s.
    pub async fn start(self) -> Result<Provider> {
        let binary = env::var_os(PROVIDER_ENV)
            .map(PathBuf::from)
            .or(self.binary)
            .with_context(|| format!("no provider binary: give one, or set {PROVIDER_ENV}"))?;
        ensure!(
            binary.is_file(),
            "the provider's binary is not at {}",
            binary.display()
        );

        let (lattice, key) = self.identity.unwrap_or_else(|| {
            let lattice = format!("testkit-{:016x}", random::number());
            (lattice, KeyPair::new_service().public_key())
        });
        let host_id = KeyPair::new_server().public_key();
        let host_xkey = XKey::new();
        let xkey = XKey::new();
        let link_definitions = self
            .links
            .iter()
            .map(|link| link.to_put(&key, &host_xkey, &xkey))
            .collect::<Result<_>>()?;
        let xkey_seed = xkey.seed().context("the provider's xkey has no seed")?;
        let host_data = HostData {
            host_id: host_id.clone(),
            lattice_rpc_prefix: lattice.clone(),
            link_name: "default".to_owned(),
            lattice_rpc_url: self.lattice_url.clone(),
            lattice_rpc_user_jwt: self.lattice_login.0,
            lattice_rpc_user_seed: self.lattice_login.1,
            provider_key: key.clone(),
            instance_id: format!("{:016x}", random::number()),
            link_definitions,
            config: self.config,
            secrets: self.secrets,
            host_xkey_public_key: host_xkey.public_key(),
            provider_xkey_private_key: xkey_seed.clone(),
            default_rpc_timeout_ms: Some(
                u64::try_from(self.rpc_timeout.as_millis()).context("rpc_timeout is too long")?,
            ),
            log_level: Some(self.log_level),
            otel_config: self.otel,
            ..HostData::default()
        };

        let host = ConnectOptions::new()
            .name("testkit-host")
            .connect(&self.lattice_url)
            .await
            .with_context(|| format!("cannot connect to {}", self.lattice_url))?;
        let caller = LatticeCaller::connect(&self.lattice_url, &lattice, &key).await?;
        let dir = tempfile::Builder::new()
            .prefix("testkit-provider-")
            .tempdir()
            .context("cannot make a temporary folder")?;
        let process = spawn(&binary, dir.path(), &self.env, &host_data)?;

        let mut provider = Provider {
            process,
            host,
            caller,
            lattice,
            key,
            host_id,
            host_xkey,
            xkey,
            xkey_seed,
            commands: Mutex::new(()),
            dir,
        };
        provider.wait_until_ready().await?;
        Ok(provider)
    }
}

fn spawn(
    binary: &Path,
    dir: &Path,
    env: &[(String, String)],
    host_data: &HostData,
) -> Result<Process> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(log_path(dir))
        .context("cannot make a file for the provider's log")?;
    let log_too = log.try_clone().context("cannot share a file")?;
    let mut process = Process::spawn(binary, |command| {
        command
            // It would go before the level in the host data.
            .env_remove("RUST_LOG")
            .envs(env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(log)
            .stderr(log_too);
    })?;
    let mut line = STANDARD.encode(serde_json::to_vec(host_data)?);
    line.push_str("\r\n");
    let mut stdin = process
        .child_mut()
        .stdin
        .take()
        .context("the provider has no stdin")?;
    stdin
        .write_all(line.as_bytes())
        .context("the provider did not read its host data")?;
    Ok(process)
}
