//! The wasmCloud side: what the host tells this provider, and what it answers.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::poll;
use tokio::time::sleep;
use wasmcloud_provider_sdk::core::secrets::SecretValue;
use wasmcloud_provider_sdk::{
    HealthCheckRequest, HealthCheckResponse, HostData, LinkConfig, LinkDeleteInfo, Provider,
    ProviderConfigUpdate, get_connection,
};

use crate::hints::{interface_hint, outage_text};
use crate::wrpc::{Lattice, Serving};
use eventual_batch_engine::Secret;
use eventual_batch_links::{ConfigError, Links, RawSettings};

/// The provider, as the SDK drives it.
#[derive(Clone, Debug)]
pub struct EventualBatchProvider {
    links: Arc<Links>,
    serving: Serving,
}

impl EventualBatchProvider {
    /// A provider without links, with the host's settings.
    ///
    /// # Errors
    ///
    /// A secret of the provider that is not text.
    pub fn new(host: &HostData) -> anyhow::Result<Self> {
        let values = values(&host.config, &host.secrets)?;
        let timeout = default_timeout(host.default_rpc_timeout_ms);
        Ok(Self {
            links: Arc::new(Links::new(env!("CARGO_PKG_NAME"), values, timeout)),
            serving: Serving::default(),
        })
    }

    /// Begins to answer calls on the lattice.
    ///
    /// # Errors
    ///
    /// The lattice did not take a subscription.
    pub async fn serve(&self) -> anyhow::Result<()> {
        let connection = get_connection();
        let lattice = Lattice {
            nats: connection.nats.as_ref().clone(),
            prefix: format!("{}.{}", connection.lattice, connection.provider_key()).into(),
        };
        self.serving.start(&lattice, &self.links).await?;
        let flushed = lattice.nats.flush().await;
        flushed.context("failed to reach the lattice")
    }

    /// Answers the calls under way, and hands the answers to the network.
    pub async fn stop(&self) {
        self.serving.stop().await;
        if let Err(error) = get_connection().nats.flush().await {
            tracing::warn!(%error, "the last answers may not have been sent");
        }
    }
}

impl Provider for EventualBatchProvider {
    async fn receive_link_config_as_target(&self, link: LinkConfig<'_>) -> anyhow::Result<()> {
        let (source, name) = (link.source_id, link.link_name);
        let (namespace, package, interfaces) = link.wit_metadata;
        if let Some(hint) = interface_hint(namespace, package, interfaces) {
            tracing::warn!(source, link = name, "{hint}");
        }
        let put = match values(link.config, link.secrets) {
            Ok(values) => self.links.put(source, name, values).await,
            Err(error) => {
                self.links.refuse(source, name, error.clone()).await;
                Err(error)
            }
        };
        if let Err(error) = put {
            // In one text, because the SDK logs the outermost only.
            bail!("refused link {name:?} from {source:?}: {error}");
        }
        forget_link(source.to_owned()).await;
        Ok(())
    }

    async fn delete_link_as_target(&self, link: impl LinkDeleteInfo) -> anyhow::Result<()> {
        self.links
            .remove(link.get_source_id(), link.get_link_name())
            .await;
        Ok(())
    }

    async fn on_config_update(&self, update: impl ProviderConfigUpdate) -> anyhow::Result<()> {
        self.links
            .update_defaults(update.get_values().clone())
            .await;
        Ok(())
    }

    /// Never an error: the SDK ends its command loop on one.
    async fn health_request(&self, _: &HealthCheckRequest) -> anyhow::Result<HealthCheckResponse> {
        const SHOWN: usize = 5;
        let mut troubles: Vec<_> = self.links.outages().iter().map(outage_text).collect();
        if troubles.len() > SHOWN {
            let more = troubles.len() - SHOWN;
            troubles.truncate(SHOWN);
            troubles.push(format!("and {more} more links"));
        }
        Ok(HealthCheckResponse {
            healthy: troubles.is_empty(),
            message: (!troubles.is_empty()).then(|| troubles.join("; ")),
        })
    }

    async fn shutdown(&self) -> anyhow::Result<()> {
        self.stop().await;
        Ok(())
    }
}

/// Makes the SDK take the next put of this link.
///
/// It drops a put of a link that it has recorded, so a link whose configuration was changed would
/// stay as it was; and it records by source alone, so of a caller's links it knows only the last.
/// Nothing else reads that record.
///
/// The SDK makes the record when the handler of the put has returned, and may look for it as soon
/// as the next put is there. So its lock is taken here, before the handler returns, and the next
/// turn at it is queued for before it is let go: locks are granted in turn, hence whenever the SDK
/// gets its turn, the one after is this task's.
async fn forget_link(source: String) {
    const TURNS: u32 = 1000;
    let recorded = &get_connection().target_links;
    let mut record = Arc::clone(recorded).write_owned().await;
    tokio::spawn(async move {
        for _ in 0..TURNS {
            // Time for the SDK to queue.
            sleep(Duration::from_millis(1)).await;
            let mut turn = pin!(Arc::clone(recorded).write_owned());
            _ = poll!(turn.as_mut());
            drop(record);
            record = turn.await;
            if record.remove(&source).is_some() {
                return;
            }
        }
    });
}

fn values(
    config: &HashMap<String, String>,
    secrets: &HashMap<String, SecretValue>,
) -> Result<RawSettings, ConfigError> {
    let mut texts = HashMap::with_capacity(secrets.len());
    for (key, secret) in secrets {
        let text = match secret {
            SecretValue::String(text) => text.clone(),
            SecretValue::Bytes(bytes) => match String::from_utf8(bytes.clone()) {
                Ok(text) => text,
                Err(_) => {
                    let reason = "is a secret of bytes that are not UTF-8 text".to_owned();
                    return Err(ConfigError::unusable(key, reason));
                }
            },
        };
        texts.insert(key.clone(), Secret::new(text));
    }
    Ok(RawSettings::new(config.clone(), texts))
}

/// The host's RPC timeout less a margin, so that the caller gets an answer and not a timeout.
fn default_timeout(rpc_timeout_ms: Option<u64>) -> Duration {
    const HOST_DEFAULT_MS: u64 = 2000;
    let rpc_timeout = Duration::from_millis(rpc_timeout_ms.unwrap_or(HOST_DEFAULT_MS));
    (rpc_timeout * 9 / 10).max(Duration::from_millis(50))
}
