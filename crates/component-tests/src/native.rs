//! `eventual-batch serve` as a host of the tests.

use std::marker::PhantomData;
use std::path::PathBuf;

use anyhow::Result;
use testkit::{NEWEST, NatsServer};

use crate::host::{BucketLink, ComponentHost};
use crate::serve::Serve;
use crate::service::Service;

/// Where a package's tests find what they run.
pub trait NativePrograms {
    /// The program `eventual-batch`.
    ///
    /// # Errors
    ///
    /// If it has not been built.
    fn eventual_batch() -> Result<PathBuf>;

    /// A component of this name, as it comes out of its build.
    ///
    /// # Errors
    ///
    /// If it has not been built, and cannot be.
    fn component(name: &str) -> Result<PathBuf>;
}

/// A nats-server, and a process of `eventual-batch serve` for each component.
pub struct Native<P> {
    serves: Vec<Serve>,
    nats: NatsServer,
    _programs: PhantomData<P>,
}

impl<P: NativePrograms> ComponentHost for Native<P> {
    async fn start() -> Result<Self> {
        Ok(Self {
            serves: Vec::new(),
            nats: NatsServer::run(NEWEST).await?,
            _programs: PhantomData,
        })
    }

    fn nats(&mut self) -> &mut NatsServer {
        &mut self.nats
    }

    async fn serve(&mut self, component: &str, links: &[BucketLink]) -> Result<Service> {
        let (program, component) = (P::eventual_batch()?, P::component(component)?);
        let serve = Serve::start(&program, &component, &self.nats.url(), links).await?;
        let service = Service::new(serve.address());
        self.serves.push(serve);
        service.wait_for_bucket().await?;
        Ok(service)
    }

    async fn stop(self) -> Result<()> {
        for serve in self.serves {
            serve.stop().await?;
        }
        Ok(())
    }
}
