//! A wasmCloud host.

use std::env;
use std::fs;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nkeys::KeyPair;
use testkit::Level;
use wasmcloud_control_interface::{Client, ClientBuilder};
use wasmcloud_host::wasmbus::{Features, Host, HostConfig};

/// The lattice's name.
pub const LATTICE: &str = "e2e";

type Shutdown = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// A host in this process.
pub struct RunningHost {
    key: Arc<KeyPair>,
    shutdown: Shutdown,
}

impl RunningHost {
    pub(crate) async fn start(nats: &str) -> Result<Self> {
        Self::start_with(nats, |config| config).await
    }

    /// Starts a host. `change` has the last word on its configuration.
    pub(crate) async fn start_with(
        nats: &str,
        change: impl FnOnce(HostConfig) -> HostConfig,
    ) -> Result<Self> {
        let key = Arc::new(KeyPair::new_server());
        let url: url::Url = nats.parse()?;
        let config = change(HostConfig {
            ctl_nats_url: url.clone(),
            rpc_nats_url: url,
            lattice: LATTICE.into(),
            host_key: Some(Arc::clone(&key)),
            allow_file_load: true,
            // The provider's; at `info` it says each link.
            log_level: Level::Warn,
            experimental_features: Features::new().enable_builtin_http_server(),
            ..HostConfig::default()
        });
        let (_host, shutdown) = Host::new(config).await.context("the host does not start")?;
        let shutdown = Box::pin(shutdown);
        Ok(Self { key, shutdown })
    }

    pub(crate) fn id(&self) -> String {
        self.key.public_key()
    }

    pub(crate) async fn stop(mut self) -> Result<()> {
        self.shutdown.as_mut().await
    }
}

impl Drop for RunningHost {
    fn drop(&mut self) {
        // The host unpacks each provider there, and leaves it.
        let cache = env::temp_dir().join("wasmcloudcache");
        let _ = fs::remove_dir_all(cache.join(self.id()));
    }
}

/// A client of the lattice's control interface. `limit` is how long it waits for an answer.
pub(crate) async fn control_client(nats: &str, limit: Duration) -> Result<Client> {
    let builder = ClientBuilder::new(lattice_nats::connect(nats).await?);
    Ok(builder.lattice(LATTICE).timeout(limit).build())
}
