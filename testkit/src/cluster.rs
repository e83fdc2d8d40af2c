use anyhow::{Context as _, Result};

use crate::nats_server::NatsServer;
use crate::random;

/// Three servers that are a cluster with `JetStream`, so that a stream can have three replicas.
#[derive(Debug)]
pub struct Cluster {
    /// The servers.
    pub servers: Vec<NatsServer>,
}

impl Cluster {
    /// Starts the servers and waits until they have found each other.
    ///
    /// # Errors
    /// See [`NatsServerBuilder::start`](crate::NatsServerBuilder::start).
    pub async fn start(version: &str) -> Result<Self> {
        let ports = [(); 3].map(|()| random::free_port());
        let routes = ports.map(|port| format!("\"nats://127.0.0.1:{port}\""));
        let [a, b, c] = ports.map(|port| {
            let config = format!(
                "cluster {{ name: testkit, no_advertise: true, listen: \"127.0.0.1:{port}\", routes: [{}] }}",
                routes.join(", ")
            );
            // A server is not ready before it has found the others.
            NatsServer::builder(version).config(config).start()
        });
        let (a, b, c) = tokio::try_join!(a, b, c).context("the cluster does not start")?;
        Ok(Self {
            servers: vec![a, b, c],
        })
    }
}
