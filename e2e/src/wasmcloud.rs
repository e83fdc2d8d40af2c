//! The wasmCloud host for the tests of components that any host can run.

use anyhow::Result;
use component_tests::{BucketLink, ComponentHost, Service};
use testkit::{NEWEST, NatsServer};

use crate::artifacts::component;
use crate::lattice::{HostLink, TestLattice};

/// What the component is called on the lattice.
const COMPONENT: &str = "shop";

/// A host with the provider, and a nats-server for the buckets that is not the lattice's.
pub struct WasmCloud {
    lattice: TestLattice,
    buckets: NatsServer,
}

impl ComponentHost for WasmCloud {
    async fn start() -> Result<Self> {
        Ok(Self {
            buckets: NatsServer::run(NEWEST).await?,
            lattice: TestLattice::start().await?,
        })
    }

    fn nats(&mut self) -> &mut NatsServer {
        &mut self.buckets
    }

    async fn serve(&mut self, name: &str, links: &[BucketLink]) -> Result<Service> {
        let wasm = component(name)?;
        let service = self.lattice.start_component(COMPONENT, &wasm).await?;
        for link in links {
            let mut linked = HostLink::to("").named(&link.name);
            linked = linked.with("cluster_uri", &self.buckets.url());
            for (key, value) in &link.settings {
                linked = linked.with(key, value);
            }
            // Composed components call the adapter's interfaces, the others those of the draft.
            if name.starts_with("draft") {
                linked = linked.of_draft();
            }
            self.lattice.put_link(COMPONENT, &linked).await?;
        }
        service.wait_for_bucket().await?;
        Ok(service)
    }

    async fn stop(self) -> Result<()> {
        self.lattice.stop().await
    }
}
