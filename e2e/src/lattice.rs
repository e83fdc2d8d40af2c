//! A lattice with one host, or with more.

mod watching;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use component_tests::Service;
use testkit::async_nats::jetstream::kv;
use testkit::{NEWEST, NatsServer, free_port};
use tokio::time::{Instant, sleep};
use wasmcloud_control_interface::Client;
use wasmcloud_test_util::lattice::config::assert_config_put;
use wasmcloud_test_util::lattice::link::{assert_advertise_link, assert_remove_link};
use wasmcloud_test_util::provider::{StartProviderArgs, assert_start_provider};

use crate::artifacts::{self, file_url, provider_archive};
use crate::host::{RunningHost, control_client};

/// The provider's id on every [`TestLattice`].
pub const PROVIDER_ID: &str = "eventual-batch-nats";

const HTTP_SERVER_ID: &str = "http-server";

/// How long a link or a component may take to show. A component in Python has 19 MB to compile.
pub(crate) const WAIT_LIMIT: Duration = Duration::from_secs(120);

/// Components run at a time: more than any test calls.
const MAX_INSTANCES: u32 = 100;

/// A nats-server, and a host in this process with the provider and an HTTP server on it.
pub struct TestLattice {
    control: Client,
    host: RunningHost,
    provider: PathBuf,
    nats: NatsServer,
}

/// A link from a component to the provider.
#[derive(Clone, Debug)]
pub struct HostLink {
    name: String,
    interface: LinkedInterface,
    config: HashMap<String, String>,
}

#[derive(Clone, Copy, Debug)]
struct LinkedInterface {
    namespace: &'static str,
    names: &'static [&'static str],
}

const PACKAGE: &str = "keyvalue";

impl HostLink {
    /// The link of a composed component.
    #[must_use]
    pub fn to(bucket: &str) -> Self {
        let interface = LinkedInterface {
            namespace: "wrpc",
            names: &["atomic", "eventual-batch"],
        };
        Self {
            name: "default".to_owned(),
            interface,
            config: HashMap::from([("bucket".to_owned(), bucket.to_owned())]),
        }
    }

    /// The link of a component that imports `wasi:keyvalue/batch@0.2.0-draft`.
    #[must_use]
    pub fn of_draft(self) -> Self {
        self.of_drafts(&["batch"])
    }

    /// The link of a component that imports these of `wasi:keyvalue@0.2.0-draft`.
    #[must_use]
    pub fn of_drafts(self, names: &'static [&'static str]) -> Self {
        let interface = LinkedInterface {
            namespace: "wasi",
            names,
        };
        Self { interface, ..self }
    }

    /// The same link under another name.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        let name = name.to_owned();
        Self { name, ..self }
    }

    /// The same link with one more setting.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.config.insert(key.to_owned(), value.to_owned());
        self
    }
}

impl TestLattice {
    /// Starts all of it.
    ///
    /// # Errors
    ///
    /// If a part does not start; the provider has to be healthy.
    pub async fn start() -> Result<Self> {
        let nats = NatsServer::run(NEWEST).await?;
        let provider = provider_archive()?;
        let host = RunningHost::start(&nats.url()).await?;
        let control = control_client(&nats.url(), WAIT_LIMIT).await?;
        let lattice = Self {
            control,
            host,
            provider,
            nats,
        };
        lattice.start_http_server().await?;
        lattice.start_provider().await?;
        Ok(lattice)
    }

    /// The nats-server that carries both the lattice and the buckets.
    #[must_use]
    pub fn nats(&self) -> &NatsServer {
        &self.nats
    }

    /// Creates a key-value bucket.
    ///
    /// # Errors
    ///
    /// If the server refuses it.
    pub async fn create_bucket(&self, name: &str) -> Result<kv::Store> {
        self.nats.create_bucket(name, kv::Config::default()).await
    }

    async fn start_http_server(&self) -> Result<()> {
        let answer = self
            .control
            .start_provider(
                &self.host_id(),
                "wasmcloud+builtin://http-server",
                HTTP_SERVER_ID,
                None,
                Vec::new(),
            )
            .await
            .map_err(|error| anyhow!("the HTTP server does not start: {error}"))?;
        ensure!(answer.succeeded(), "the HTTP server: {}", answer.message());
        Ok(())
    }

    /// Starts the provider from its archive and waits until it is healthy.
    ///
    /// # Errors
    ///
    /// If it does not become so.
    pub async fn start_provider(&self) -> Result<()> {
        self.start_provider_on(&self.host_id()).await
    }

    async fn start_provider_on(&self, host_id: &str) -> Result<()> {
        assert_start_provider(StartProviderArgs {
            client: &self.control,
            host_id,
            provider_id: PROVIDER_ID,
            provider_ref: &file_url(&self.provider),
            config: Vec::new(),
        })
        .await
        .context("the provider does not start")
    }

    /// Stops the provider.
    ///
    /// # Errors
    ///
    /// If the host does not know it.
    pub async fn stop_provider(&self) -> Result<()> {
        self.stop_provider_on(&self.host_id()).await
    }

    async fn stop_provider_on(&self, host_id: &str) -> Result<()> {
        let answer = self
            .control
            .stop_provider(host_id, PROVIDER_ID)
            .await
            .map_err(|error| anyhow!("the provider cannot be stopped: {error}"))?;
        ensure!(answer.succeeded(), "the provider: {}", answer.message());
        Ok(())
    }

    /// Starts a component and links the HTTP server to it. The host compiles it meanwhile.
    ///
    /// # Errors
    ///
    /// If the host refuses it.
    pub async fn start_component(&self, id: &str, wasm: &Path) -> Result<Service> {
        let answer = self
            .control
            .scale_component(
                &self.host_id(),
                &file_url(wasm),
                id,
                MAX_INSTANCES,
                None,
                Vec::new(),
                false,
            )
            .await
            .map_err(|error| anyhow!("component {id} does not start: {error}"))?;
        ensure!(answer.succeeded(), "component {id}: {}", answer.message());

        let address = format!("127.0.0.1:{}", free_port());
        let config = format!("{id}-http");
        let address_config = HashMap::from([("address".to_owned(), address.clone())]);
        assert_config_put(&self.control, &config, address_config).await?;
        let answer = assert_advertise_link(
            &self.control,
            HTTP_SERVER_ID,
            id,
            "default",
            "wasi",
            "http",
            vec!["incoming-handler".to_owned()],
            vec![config],
            Vec::new(),
        )
        .await?;
        ensure!(answer.succeeded(), "the HTTP link: {}", answer.message());
        let service = Service::new(&address);
        service.wait_until_it_listens(WAIT_LIMIT).await?;
        Ok(service)
    }

    /// Puts a link from a component to the provider. It takes effect a moment later.
    ///
    /// # Errors
    ///
    /// If the host refuses it.
    pub async fn put_link(&self, component: &str, link: &HostLink) -> Result<()> {
        let names = link.interface.names;
        let config = format!("{component}-{}-{}", names.join("-"), link.name);
        let mut settings = link.config.clone();
        settings
            .entry("cluster_uri".to_owned())
            .or_insert_with(|| self.nats.url());
        assert_config_put(&self.control, &config, settings).await?;
        let answer = assert_advertise_link(
            &self.control,
            component,
            PROVIDER_ID,
            &link.name,
            link.interface.namespace,
            PACKAGE,
            names.iter().copied().map(str::to_owned).collect(),
            Vec::new(),
            vec![config],
        )
        .await?;
        ensure!(answer.succeeded(), "the link: {}", answer.message());
        Ok(())
    }

    /// Deletes a link. It takes effect a moment later.
    ///
    /// # Errors
    ///
    /// If the host refuses it.
    pub async fn delete_link(&self, component: &str, link: &HostLink) -> Result<()> {
        assert_remove_link(
            &self.control,
            component,
            link.interface.namespace,
            PACKAGE,
            &link.name,
        )
        .await
    }

    /// Starts a component that is composed with the adapter, linked to one bucket, and waits until
    /// it reaches that.
    ///
    /// # Errors
    ///
    /// If it does not in time.
    pub async fn serve(&self, id: &str, component: &str, link: &HostLink) -> Result<Service> {
        let wasm = artifacts::component(component)?;
        let service = self.start_component(id, &wasm).await?;
        self.put_link(id, link).await?;
        eventually(|| async { service.keys().await.map(drop) }).await?;
        Ok(service)
    }

    /// Stops the host, and with it the provider.
    ///
    /// # Errors
    ///
    /// If the host does not end in order.
    pub async fn stop(self) -> Result<()> {
        self.stop_provider().await?;
        self.host.stop().await
    }

    /// Stops another host, and the provider on it.
    ///
    /// # Errors
    ///
    /// If the host does not end in order.
    pub async fn stop_host(&self, host: RunningHost) -> Result<()> {
        self.stop_provider_on(&host.id()).await?;
        host.stop().await
    }

    fn host_id(&self) -> String {
        self.host.id()
    }
}

/// Tries until it works.
///
/// # Errors
///
/// The last one, if it still does not after two minutes.
pub async fn eventually<T, F, A>(mut attempt: A) -> Result<T>
where
    A: FnMut() -> F,
    F: Future<Output = Result<T>>,
{
    let deadline = Instant::now() + WAIT_LIMIT;
    loop {
        match attempt().await {
            Err(error) if Instant::now() > deadline => {
                return Err(error.context(format!("not within {WAIT_LIMIT:?}")));
            }
            Err(_) => sleep(Duration::from_millis(50)).await,
            Ok(value) => return Ok(value),
        }
    }
}
