//! Components that are told of changes, and further hosts.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Result, anyhow, ensure};
use wasmcloud_test_util::lattice::config::assert_config_put;
use wasmcloud_test_util::lattice::link::{assert_advertise_link, assert_remove_link};

use super::{PACKAGE, PROVIDER_ID, TestLattice};
use crate::artifacts::file_url;
use crate::host::RunningHost;

/// The interface of a component that is told of changes.
const WATCHER: &str = "watcher";

/// The name of the links that tell components of changes.
const LINK: &str = "default";

impl TestLattice {
    /// Starts a component that no HTTP server calls, so many instances of which run at a time, at most.
    /// The host compiles it meanwhile. If it runs, the number of instances is changed; 0 stops it.
    ///
    /// # Errors
    ///
    /// If the host refuses it.
    pub async fn scale(&self, id: &str, wasm: &Path, max_instances: u32) -> Result<()> {
        let (host, wasm) = (self.host_id(), file_url(wasm));
        let config = Vec::new();
        let answer = self
            .control
            .scale_component(&host, &wasm, id, max_instances, None, config, false)
            .await
            .map_err(|error| anyhow!("component {id} is not scaled: {error}"))?;
        ensure!(answer.succeeded(), "component {id}: {}", answer.message());
        Ok(())
    }

    /// Puts the link over which a component is told of changes. It takes effect a moment later.
    ///
    /// # Errors
    ///
    /// If the host refuses it.
    pub async fn put_watch(&self, component: &str, settings: &[(&str, &str)]) -> Result<()> {
        let config = format!("{component}-{WATCHER}");
        let url = self.nats.url();
        let settings = settings
            .iter()
            .copied()
            .chain([("cluster_uri", url.as_str())]);
        let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_config_put(&self.control, &config, settings.collect::<HashMap<_, _>>()).await?;
        let answer = assert_advertise_link(
            &self.control,
            PROVIDER_ID,
            component,
            LINK,
            "wasi",
            PACKAGE,
            vec![WATCHER.to_owned()],
            vec![config],
            Vec::new(),
        )
        .await?;
        ensure!(answer.succeeded(), "the watch: {}", answer.message());
        Ok(())
    }

    /// Deletes the link over which a component is told of changes. It takes effect a moment later.
    ///
    /// # Errors
    ///
    /// If the host refuses it.
    pub async fn delete_watch(&self) -> Result<()> {
        assert_remove_link(&self.control, PROVIDER_ID, "wasi", PACKAGE, LINK).await
    }

    /// Starts another host of the lattice, with an instance of the provider.
    ///
    /// # Errors
    ///
    /// If a part does not start.
    pub async fn start_another_host(&self) -> Result<RunningHost> {
        let host = RunningHost::start(&self.nats.url()).await?;
        self.start_provider_on(&host.id()).await?;
        Ok(host)
    }
}
