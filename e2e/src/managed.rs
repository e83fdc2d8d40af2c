//! A lattice that wadm manages.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use component_tests::Service;
use testkit::{NatsServer, free_port};
use tokio::task::JoinSet;
use wadm::StreamPersistence;
use wadm::config::WadmConfig;
use wadm_types::api::StatusType;
use wasmcloud_control_interface::Client;
use wasmcloud_host::wasmbus::HostConfig;

use crate::artifacts::{component, file_url, provider_archive};
use crate::host::{LATTICE, RunningHost, control_client};
use crate::lattice::{WAIT_LIMIT, eventually};
use crate::secrets_backend::SECRETS_TOPIC;

/// A nats-server, wadm and a host in this process. Nothing runs on the host but what manifests say.
pub struct ManagedLattice {
    applications: wadm_client::Client,
    control: Client,
    // Before the server, for which they would look.
    wadm: JoinSet<Result<()>>,
    host: RunningHost,
    nats: NatsServer,
}

/// A manifest that stands in the documentation, with the addresses of a test's lattice in it.
#[derive(Clone, Debug)]
pub struct Manifest {
    text: String,
    http_address: String,
}

impl Manifest {
    /// The same manifest with other words in it.
    ///
    /// # Errors
    ///
    /// If the words are not in it.
    pub fn with(&self, words: &str, others: &str) -> Result<Self> {
        ensure!(self.text.contains(words), "{words} is not in {}", self.text);
        Ok(Self {
            text: self.text.replace(words, others),
            http_address: self.http_address.clone(),
        })
    }

    /// The HTTP service that the manifest makes.
    #[must_use]
    pub fn service(&self) -> Service {
        Service::new(&self.http_address)
    }
}

impl ManagedLattice {
    /// Starts all of it. The host knows where to ask for secrets.
    ///
    /// # Errors
    ///
    /// If a part does not start.
    pub async fn start(nats: NatsServer) -> Result<Self> {
        Self::start_with(nats, Some(SECRETS_TOPIC)).await
    }

    /// The same with a host that was started without `--secrets-topic`.
    ///
    /// # Errors
    ///
    /// If a part does not start.
    pub async fn start_without_secrets(nats: NatsServer) -> Result<Self> {
        Self::start_with(nats, None).await
    }

    async fn start_with(nats: NatsServer, secrets_topic: Option<&str>) -> Result<Self> {
        let wadm = wadm::start_wadm(WadmConfig {
            nats_server: nats.url(),
            stream_persistence: StreamPersistence::Memory,
            ..WadmConfig::default()
        })
        .await
        .context("wadm does not start")?;
        // wadm learns of a host by its start. It would wait half a minute for the next sign of a
        // host that runs already.
        let host = RunningHost::start_with(&nats.url(), |config| HostConfig {
            heartbeat_interval: Some(Duration::from_secs(1)),
            secrets_topic_prefix: secrets_topic.map(str::to_owned),
            ..config
        })
        .await?;
        let client = lattice_nats::connect(nats.url()).await?;
        Ok(Self {
            applications: wadm_client::Client::from_nats_client(LATTICE, None, client),
            control: control_client(&nats.url(), WAIT_LIMIT).await?,
            wadm,
            host,
            nats,
        })
    }

    /// The nats-server that carries the lattice and the buckets.
    #[must_use]
    pub fn nats(&mut self) -> &mut NatsServer {
        &mut self.nats
    }

    /// A manifest of the example `http-batch`. What it says of images, servers and ports is replaced;
    /// all else stays.
    ///
    /// # Errors
    ///
    /// If one of these is not in the text, or has not been built.
    pub fn manifest(&self, text: &str) -> Result<Manifest> {
        const LISTENS: &str = "address: ";
        let line = text
            .lines()
            .find_map(|line| line.trim().strip_prefix(LISTENS));
        let documented = line.context("the manifest has no HTTP address")?;
        let http_address = format!("127.0.0.1:{}", free_port());
        let manifest = Manifest {
            text: text.to_owned(),
            http_address: http_address.clone(),
        };
        let manifest = manifest
            .with(documented, &http_address)?
            .with("nats://127.0.0.1:4222", &self.nats.url())?
            .with(
                "file://./build/http_batch_composed.wasm",
                &file_url(&component("http-batch")?),
            )?
            .with(
                "ghcr.io/wasmcloud/http-server:0.27.0",
                "wasmcloud+builtin://http-server",
            )?;
        // A manifest may use the provider of another one.
        let archive = "file://../../build/eventual-batch-nats-provider.par.gz";
        Ok(Manifest {
            text: manifest
                .text
                .replace(archive, &file_url(&provider_archive()?)),
            ..manifest
        })
    }

    /// Deploys a manifest, as `wash app deploy` does. What it says comes true a moment later.
    ///
    /// # Errors
    ///
    /// If wadm refuses it.
    pub async fn deploy(&self, manifest: &Manifest) -> Result<()> {
        let text = manifest.text.as_bytes();
        let deployed = self.applications.put_and_deploy_manifest(text).await;
        deployed.map(drop).context("wadm does not deploy it")
    }

    /// Waits until wadm says that all parts of an application are there.
    ///
    /// # Errors
    ///
    /// If it does not within two minutes.
    pub async fn deployed(&self, application: &str) -> Result<()> {
        eventually(|| async {
            let status = self.applications.get_manifest_status(application).await?;
            let status_type = status.info.status_type;
            ensure!(status_type == StatusType::Deployed, "{status:?}");
            Ok(())
        })
        .await
    }

    /// Undeploys an application. It goes a moment later.
    ///
    /// # Errors
    ///
    /// If wadm does not know it.
    pub async fn undeploy(&self, application: &str) -> Result<()> {
        let undeployed = self.applications.undeploy_manifest(application).await;
        undeployed.map(drop).context("wadm does not undeploy it")
    }

    /// Deletes a link of a component for the interface of the adapter, as `wash link del` does. wadm
    /// puts it again.
    ///
    /// # Errors
    ///
    /// If the host refuses it.
    pub async fn delete_link(&self, component: &str, link: &str) -> Result<()> {
        let deleted = self
            .control
            .delete_link(component, link, "wrpc", "keyvalue")
            .await
            .map_err(|error| anyhow!("the link is not deleted: {error}"))?;
        ensure!(deleted.succeeded(), "the link: {}", deleted.message());
        Ok(())
    }

    /// The ids of the providers that run on the host, sorted.
    ///
    /// # Errors
    ///
    /// If the host does not answer.
    pub async fn providers(&self) -> Result<Vec<String>> {
        let inventory = self
            .control
            .get_host_inventory(&self.host.id())
            .await
            .map_err(|error| anyhow!("the host does not tell what runs: {error}"))?;
        let data = inventory
            .into_data()
            .context("the host's answer is empty")?;
        let mut ids: Vec<_> = data
            .providers()
            .iter()
            .map(|it| it.id().to_owned())
            .collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// Stops wadm and the host. All applications have to be undeployed.
    ///
    /// # Errors
    ///
    /// If providers do not stop within two minutes, or the host does not end in order.
    pub async fn stop(mut self) -> Result<()> {
        eventually(|| async {
            let providers = self.providers().await?;
            ensure!(providers.is_empty(), "{providers:?} still run");
            Ok(())
        })
        .await?;
        self.wadm.shutdown().await;
        self.host.stop().await
    }
}
