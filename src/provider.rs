//! The wasmCloud side: what the host tells this provider, and what it answers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::time::sleep;
use wasmcloud_provider_sdk::core::secrets::SecretValue;
use wasmcloud_provider_sdk::{
    HealthCheckRequest, HealthCheckResponse, HostData, LinkConfig, LinkDeleteInfo, Provider,
    ProviderConfigUpdate, get_connection,
};

use crate::config::Values;
use crate::engine::Secret;
use crate::links::Links;
use crate::rpc::Serving;

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
            links: Arc::new(Links::new(values, timeout)),
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
        let prefix: Arc<str> =
            format!("{}.{}", connection.lattice, connection.provider_key()).into();
        let wrpc = wrpc_transport_nats::Client::new(
            Arc::clone(&connection.nats),
            Arc::clone(&prefix),
            Some(prefix),
        )
        .await
        .context("failed to subscribe on the lattice")?;
        self.serving.start(&wrpc, &self.links).await?;
        connection
            .nats
            .flush()
            .await
            .context("failed to reach the lattice")
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
        let values = values(link.config, link.secrets)?;
        if let Err(error) = self.links.put(source, name, values).await {
            // In one text, because the SDK logs the outermost only.
            bail!("refused link {name:?} from {source:?}: {error}");
        }
        forget_link(source.to_owned());
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
            .update_provider(update.get_values().clone())
            .await;
        Ok(())
    }

    /// Never an error: the SDK ends its command loop on one.
    async fn health_request(&self, _: &HealthCheckRequest) -> anyhow::Result<HealthCheckResponse> {
        const SHOWN: usize = 5;
        let mut troubles = self.links.troubles();
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
/// Nothing else reads that record. It is made right after the handler of the put returns.
fn forget_link(source: String) {
    const TRIES: u32 = 200;
    tokio::spawn(async move {
        let recorded = &get_connection().target_links;
        for _ in 0..TRIES {
            if recorded.write().await.remove(&source).is_some() {
                return;
            }
            sleep(Duration::from_millis(5)).await;
        }
    });
}

fn values(
    config: &HashMap<String, String>,
    secrets: &HashMap<String, SecretValue>,
) -> anyhow::Result<Values> {
    let mut texts = HashMap::with_capacity(secrets.len());
    for (key, secret) in secrets {
        let text = match secret {
            SecretValue::String(text) => text.clone(),
            SecretValue::Bytes(bytes) => match String::from_utf8(bytes.clone()) {
                Ok(text) => text,
                Err(_) => bail!("the secret `{key}` is bytes that are not UTF-8 text"),
            },
        };
        texts.insert(key.clone(), Secret::new(text));
    }
    Ok(Values::new(config.clone(), texts))
}

/// The host's RPC timeout less a margin, so that the caller gets an answer and not a timeout.
fn default_timeout(rpc_timeout_ms: Option<u64>) -> Duration {
    const HOST_DEFAULT_MS: u64 = 2000;
    let rpc_timeout = Duration::from_millis(rpc_timeout_ms.unwrap_or(HOST_DEFAULT_MS));
    (rpc_timeout * 9 / 10).max(Duration::from_millis(50))
}
