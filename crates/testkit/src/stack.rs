use std::path::PathBuf;

use anyhow::Result;
use async_nats::jetstream::kv;

use crate::caller::LatticeCaller;
use crate::link::LinkDefinition;
use crate::nats_server::{NatsServer, NatsServerBuilder};
use crate::provider::{Provider, ProviderBuilder};
use crate::tools::NEWEST;

/// A provider, the NATS server with its buckets, and the NATS server of its lattice. By default
/// both are one server.
#[derive(Debug)]
pub struct Stack {
    // Fields are dropped in this order: the provider ends before its servers.
    /// The provider.
    pub provider: Provider,
    /// The NATS that has the buckets.
    pub nats: NatsServer,
    lattice: Option<NatsServer>,
}

/// How a [`Stack`] is started. See [`Stack::builder`].
pub struct StackBuilder {
    nats: NatsServerBuilder,
    separate_lattice: bool,
    binary: PathBuf,
    set_up: Vec<SetUp>,
}

type SetUp = Box<dyn FnOnce(ProviderBuilder, &NatsServer) -> ProviderBuilder + Send>;

impl StackBuilder {
    /// Changes how the NATS that has the buckets is started. A login for it makes a separate
    /// lattice necessary: neither the provider nor the callers log in to theirs.
    #[must_use]
    pub fn nats(mut self, set_up: impl FnOnce(NatsServerBuilder) -> NatsServerBuilder) -> Self {
        self.nats = set_up(self.nats);
        self
    }

    /// Gives the lattice a server of its own, so that the buckets' NATS can be stopped alone.
    #[must_use]
    pub fn separate_lattice(mut self) -> Self {
        self.separate_lattice = true;
        self
    }

    /// Changes how the provider is started; the server with the buckets runs by then.
    #[must_use]
    pub fn provider(
        mut self,
        set_up: impl FnOnce(ProviderBuilder, &NatsServer) -> ProviderBuilder + Send + 'static,
    ) -> Self {
        self.set_up.push(Box::new(set_up));
        self
    }

    /// Starts everything.
    ///
    /// # Errors
    /// See [`NatsServerBuilder::start`] and [`ProviderBuilder::start`].
    pub async fn start(self) -> Result<Stack> {
        let nats = self.nats.start().await?;
        let lattice = if self.separate_lattice {
            Some(NatsServer::run(NEWEST).await?)
        } else {
            None
        };
        let lattice_url = lattice.as_ref().unwrap_or(&nats).url();
        let mut provider = Provider::builder(lattice_url).binary(self.binary);
        for set_up in self.set_up {
            provider = set_up(provider, &nats);
        }
        Ok(Stack {
            provider: provider.start().await?,
            nats,
            lattice,
        })
    }
}

impl Stack {
    /// A builder; `version` is that of the NATS with the buckets, `binary` the provider's.
    #[must_use]
    pub fn builder(version: impl Into<String>, binary: impl Into<PathBuf>) -> StackBuilder {
        StackBuilder {
            nats: NatsServer::builder(version),
            separate_lattice: false,
            binary: binary.into(),
            set_up: Vec::new(),
        }
    }

    /// Starts a stack with one server and default settings.
    ///
    /// # Errors
    /// See [`StackBuilder::start`].
    pub async fn start(version: impl Into<String>, binary: impl Into<PathBuf>) -> Result<Self> {
        Self::builder(version, binary).start().await
    }

    /// The lattice's NATS.
    #[must_use]
    pub fn lattice(&self) -> &NatsServer {
        self.lattice.as_ref().unwrap_or(&self.nats)
    }

    /// The lattice's NATS, to stop it.
    pub fn lattice_mut(&mut self) -> &mut NatsServer {
        self.lattice.as_mut().unwrap_or(&mut self.nats)
    }

    /// A link of this component to this bucket on this stack's NATS, not yet put.
    #[must_use]
    pub fn link(&self, component: &str, bucket: &str) -> LinkDefinition {
        LinkDefinition::new(component)
            .config("cluster_uri", self.nats.url())
            .config("bucket", bucket)
    }

    /// Makes the `default` link of this component to this bucket; returns the component's caller.
    ///
    /// # Errors
    /// See [`Provider::put_link`].
    pub async fn linked(&self, component: &str, bucket: &str) -> Result<LatticeCaller> {
        self.provider
            .put_link(&self.link(component, bucket))
            .await?;
        Ok(self.caller(component))
    }

    /// See [`Provider::caller`].
    #[must_use]
    pub fn caller(&self, component: &str) -> LatticeCaller {
        self.provider.caller(component)
    }

    /// Creates a bucket on this stack's NATS. See [`NatsServer::create_bucket`].
    ///
    /// # Errors
    /// See [`NatsServer::create_bucket`].
    pub async fn create_bucket(&self, name: &str, config: kv::Config) -> Result<kv::Store> {
        self.nats.create_bucket(name, config).await
    }
}
