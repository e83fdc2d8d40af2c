//! The provider's own connection to the lattice, over which calls come.
//!
//! The SDK has a connection of its own for what the host says. A NATS client ends by a panic over a
//! message that it cannot parse, and whoever may call can send one. So calls come over another
//! client, which is replaced when it ends.
//!
//! `lattice_nats` is `async-nats` in the version that the SDK and the wRPC transport use.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt as _;
use lattice_nats::{AuthError, Client, ConnectOptions, Event};
use nkeys::KeyPair;
use tokio::time::timeout;
use tracing::{debug, info, warn};
use wasmcloud_provider_sdk::HostData;

/// The NATS of a host that names none.
const DEFAULT_URL: &str = "nats://127.0.0.1:4222";

/// The longest pause between two attempts to connect.
const RECONNECT_MAX: Duration = Duration::from_secs(2);

/// How long one request to the lattice may take.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How to reach the lattice and log in to it.
pub(crate) struct LatticeLogin {
    client_name: String,
    url: String,
    jwt: String,
    key: Option<Arc<KeyPair>>,
}

impl LatticeLogin {
    /// The login that the host has given the provider.
    ///
    /// # Errors
    ///
    /// The host's seed is not a valid nkey seed.
    pub(crate) fn new(client_name: &str, host: &HostData) -> anyhow::Result<Self> {
        let url = match host.lattice_rpc_url.as_str() {
            "" => DEFAULT_URL,
            url => url,
        };
        let jwt = host.lattice_rpc_user_jwt.trim();
        let seed = host.lattice_rpc_user_seed.trim();
        let key = if jwt.is_empty() && seed.is_empty() {
            None
        } else {
            let key = KeyPair::from_seed(seed);
            Some(key.context("the host's seed for the lattice cannot be used")?)
        };
        Ok(Self {
            client_name: client_name.to_owned(),
            url: url.to_owned(),
            jwt: jwt.to_owned(),
            key: key.map(Arc::new),
        })
    }

    /// A new client that is connected.
    ///
    /// # Errors
    ///
    /// The lattice's NATS is not there, or refuses the login.
    pub(crate) async fn connect(&self) -> anyhow::Result<Client> {
        let options = match &self.key {
            None => ConnectOptions::new(),
            Some(key) => {
                let key = Arc::clone(key);
                ConnectOptions::with_jwt(self.jwt.clone(), move |nonce| {
                    let key = Arc::clone(&key);
                    async move { key.sign(&nonce).map_err(AuthError::new) }
                })
            }
        };
        options
            .name(&self.client_name)
            .reconnect_delay_callback(pause)
            .event_callback(|event| {
                log(&event);
                std::future::ready(())
            })
            .connect(&self.url)
            .await
            .context("failed to connect to the lattice's NATS")
    }

    /// A new client that is connected, however long that takes.
    pub(crate) async fn connect_again(&self) -> Client {
        for attempt in 0.. {
            tokio::time::sleep(pause(attempt)).await;
            match self.connect().await {
                Ok(client) => return client,
                Err(error) => warn!(error = format!("{error:#}"), "not connected to the lattice"),
            }
        }
        unreachable!("attempts go on until one succeeds")
    }
}

/// The pause before an attempt to connect, after so many that failed. The engine's connections use
/// the same rule. It is not exported, because a pause is not part of the engine's interface.
fn pause(failed: usize) -> Duration {
    let doublings = u32::try_from(failed).unwrap_or(u32::MAX).min(8);
    (Duration::from_millis(10) * 2_u32.pow(doublings)).min(RECONNECT_MAX)
}

fn log(event: &Event) {
    match event {
        Event::Connected => info!("connected to the lattice"),
        Event::Disconnected => warn!("the connection to the lattice is lost"),
        Event::Closed => debug!("the connection to the lattice is closed"),
        // Each attempt to connect that fails is one; the loss of the connection is logged already.
        Event::ClientError(error) => debug!(%error, "the lattice's client"),
        event => warn!(%event, "the connection to the lattice"),
    }
}

/// Waits until the client has ended for good. A client that connects again has not ended.
///
/// # Errors
///
/// The client has ended already.
pub(crate) async fn watch_end(client: &Client) -> anyhow::Result<impl Future<Output = ()> + use<>> {
    // Nobody sends anything there. The subscription ends with the client.
    let mut subscription = client.subscribe(client.new_inbox()).await?;
    Ok(async move { while subscription.next().await.is_some() {} })
}

/// Waits until the network has taken what the client was given.
///
/// # Errors
///
/// The lattice did not answer in time.
pub(crate) async fn flush(client: &Client) -> anyhow::Result<()> {
    let flushed = timeout(REQUEST_TIMEOUT, client.flush()).await;
    Ok(flushed.context("the lattice did not answer in time")??)
}
