//! The wasmCloud side: what the host tells this provider, and what it answers.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::poll;
use tokio::sync::{OnceCell, RwLock};
use tokio::time::{sleep, timeout};
use tracing::subscriber::{NoSubscriber, with_default};
use wasmcloud_provider_sdk::core::secrets::SecretValue;
use wasmcloud_provider_sdk::wasmcloud_tracing::global::meter;
use wasmcloud_provider_sdk::{
    HealthCheckRequest, HealthCheckResponse, HostData, InterfaceLinkDefinition, LinkConfig,
    LinkDeleteInfo, Provider, ProviderConfigUpdate, get_connection,
};

use crate::hints::{interface_hint, outage_text, refusal_text, source_hint};
use crate::lattice::{LatticeLogin, watch_end};
use crate::serve::Serving;
use crate::telemetry::export_last_metrics;
use crate::watcher::ComponentWatcher;
use crate::wrpc::DEFAULT_MAX_RESPONSE_BYTES;
use eventual_batch_engine::Secret;
use eventual_batch_links::{ConfigError, Links, RawSettings, WatchId, WatchIdentity};

const NAME: &str = env!("CARGO_PKG_NAME");

/// The name of the meter. The SDK has made the meters' provider, as the host configures it.
const METER: &str = "eventual-batch";

/// The key of the provider's configuration that bounds the memory of all answers under way. It is
/// read when the provider starts. All other keys are defaults of links.
const MAX_RESPONSE_BYTES: &str = "max_response_bytes_in_flight";

/// How long components that are told of changes may take when the provider stops.
const STOP_WATCHES: Duration = Duration::from_secs(30);

/// The provider, as the SDK drives it.
#[derive(Clone, Debug)]
pub struct EventualBatchProvider {
    links: Arc<Links>,
    serving: Serving,
    lattice: Arc<str>,
    /// How long a call of a component may take unless its link says.
    call_timeout: Duration,
    stopped: Arc<AtomicBool>,
    last_metrics: Arc<OnceCell<()>>,
}

impl EventualBatchProvider {
    /// A provider without links, with the host's settings.
    ///
    /// # Errors
    ///
    /// A secret of the provider that is not text, or a value of `max_response_bytes_in_flight` that
    /// is no number.
    pub fn new(host: &HostData) -> anyhow::Result<Self> {
        let max_response_bytes = max_response_bytes(&host.config)?;
        let defaults = raw_settings(&link_defaults(&host.config), &host.secrets)?;
        let call_timeout = rpc_timeout(host.default_rpc_timeout_ms);
        let timeout = default_timeout(call_timeout);
        Ok(Self {
            links: Arc::new(Links::new(NAME, defaults, timeout).with_metrics(&meter(METER))),
            serving: Serving::new(max_response_bytes),
            lattice: host.lattice_rpc_prefix.as_str().into(),
            call_timeout,
            stopped: Arc::default(),
            last_metrics: Arc::default(),
        })
    }

    /// Begins to answer calls on the lattice.
    ///
    /// # Errors
    ///
    /// The connection to the lattice's NATS is closed or failed, or the lattice did not take a
    /// subscription.
    pub async fn serve(&self, host: &HostData) -> anyhow::Result<()> {
        let login = LatticeLogin::new(&format!("{NAME}-calls"), host)?;
        let prefix = format!("{}.{}", host.lattice_rpc_prefix, host.provider_key);
        let links = Arc::clone(&self.links);
        self.serving.start(login, prefix.into(), links).await
    }

    /// Answers the calls under way, and hands the answers to the network, in 30 s at most. Waits as
    /// long for the components that are told of changes. Then exports the last metrics, in 2 s at
    /// most.
    pub async fn stop(&self) {
        let watches = timeout(STOP_WATCHES, self.links.stop_watches());
        let (watches, ()) = tokio::join!(watches, self.serving.stop());
        if watches.is_err() {
            tracing::warn!("stopped before all calls of components had returned");
        }
        // Before the host knows that the provider has stopped: the host kills it then.
        self.last_metrics.get_or_init(export_last_metrics).await;
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Drives the SDK's loop for the host's commands.
    ///
    /// When the host has stopped the provider, the SDK ends its subscriptions and its loop at the
    /// same time. Half of the time the loop meets an ended subscription first, and logs that as an
    /// error. So nothing that the loop says after the stop is logged.
    pub async fn handle_commands(&self, commands: impl Future<Output = ()>) {
        let mut commands = pin!(commands);
        poll_fn(|context| {
            if self.stopped.load(Ordering::Relaxed) {
                with_default(NoSubscriber::default(), || commands.as_mut().poll(context))
            } else {
                commands.as_mut().poll(context)
            }
        })
        .await;
    }
}

impl Provider for EventualBatchProvider {
    async fn receive_link_config_as_target(&self, link: LinkConfig<'_>) -> anyhow::Result<()> {
        let (source, name) = (link.source_id, link.link_name);
        let (namespace, package, interfaces) = link.wit_metadata;
        if let Some(hint) = interface_hint(namespace, package, interfaces) {
            tracing::warn!(source, link = name, "{hint}");
        }
        let put = match raw_settings(link.config, link.secrets) {
            Ok(settings) => self.links.put(source, name, settings).await,
            Err(error) => {
                self.links.refuse(source, name, error.clone()).await;
                Err(error)
            }
        };
        if let Err(error) = put {
            // In one text, because the SDK logs the outermost only.
            bail!(
                "refused link {name:?} from {source:?}: {}",
                refusal_text(&error)
            );
        }
        forget_link(&get_connection().target_links, source.to_owned()).await;
        Ok(())
    }

    async fn receive_link_config_as_source(&self, link: LinkConfig<'_>) -> anyhow::Result<()> {
        let (target, name) = (link.target_id, link.link_name);
        let (namespace, package, interfaces) = link.wit_metadata;
        if let Some(hint) = source_hint(namespace, package, interfaces) {
            bail!("refused link {name:?} to {target:?}: {hint}");
        }
        let identity = WatchIdentity {
            scope: self.lattice.to_string(),
            source: link.source_id.to_owned(),
            target: target.to_owned(),
            link: name.to_owned(),
        };
        let put = match raw_settings(link.config, link.secrets) {
            Ok(settings) => {
                let handler = ComponentWatcher::new(self.serving.outgoing(), &identity);
                let (timeout, handler) = (self.call_timeout, Arc::new(handler));
                self.links
                    .put_watch(identity, settings, timeout, handler)
                    .await
            }
            Err(error) => {
                let id = watch_id(target, name);
                self.links.refuse_watch(id, error.clone()).await;
                Err(error)
            }
        };
        if let Err(error) = put {
            // In one text, because the SDK logs the outermost only.
            bail!(
                "refused link {name:?} to {target:?}: {}",
                refusal_text(&error)
            );
        }
        forget_link(&get_connection().source_links, target.to_owned()).await;
        Ok(())
    }

    async fn delete_link_as_source(&self, link: impl LinkDeleteInfo) -> anyhow::Result<()> {
        let id = watch_id(link.get_target_id(), link.get_link_name());
        self.links.remove_watch(&id).await;
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
            .update_defaults(link_defaults(update.get_values()))
            .await;
        Ok(())
    }

    /// Never an error: the SDK ends its command loop on one.
    async fn health_request(&self, _: &HealthCheckRequest) -> anyhow::Result<HealthCheckResponse> {
        const SHOWN: usize = 5;
        let mut troubles: Vec<_> = self.links.outages().iter().map(outage_text).collect();
        let of_watches = self.links.watch_troubles();
        troubles.extend(of_watches.iter().map(ToString::to_string));
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

/// The SDK's record of links, by the components that they come from or go to.
type SdkRecord = Arc<RwLock<HashMap<String, InterfaceLinkDefinition>>>;

fn watch_id(target: &str, link: &str) -> WatchId {
    WatchId {
        target: target.to_owned(),
        link: link.to_owned(),
    }
}

/// Makes the SDK take the next put of this link.
///
/// It drops a put of a link that it has recorded, so a link whose configuration was changed would
/// stay as it was; and it records by the component alone, so of a component's links it knows only
/// the last. Nothing else reads that record.
///
/// The SDK inserts its record after the handler of the put has returned, and may look for it as
/// soon as the next put is there. So we take the write lock before the handler returns. Before each
/// release we queue for the lock again. The lock is fair: after the SDK has inserted its record we
/// are next, and remove it.
async fn forget_link(recorded: &'static SdkRecord, component: String) {
    const TURNS: u32 = 1000;
    let mut record = Arc::clone(recorded).write_owned().await;
    tokio::spawn(async move {
        for _ in 0..TURNS {
            // Time for the SDK to queue.
            sleep(Duration::from_millis(1)).await;
            let mut turn = pin!(Arc::clone(recorded).write_owned());
            _ = poll!(turn.as_mut());
            drop(record);
            record = turn.await;
            if record.remove(&component).is_some() {
                return;
            }
        }
    });
}

/// Waits until the SDK's connection, over which the host speaks, has ended for good. To be called
/// when the SDK runs.
///
/// # Errors
///
/// The client has ended already.
pub async fn host_connection_end() -> anyhow::Result<impl Future<Output = ()>> {
    let watched = watch_end(&get_connection().nats).await;
    watched.context("the connection to the host has ended")
}

fn link_defaults(config: &HashMap<String, String>) -> HashMap<String, String> {
    let mut defaults = config.clone();
    defaults.remove(MAX_RESPONSE_BYTES);
    defaults
}

fn max_response_bytes(config: &HashMap<String, String>) -> anyhow::Result<usize> {
    const LEAST: usize = 1024 * 1024;
    let Some(value) = config.get(MAX_RESPONSE_BYTES) else {
        return Ok(DEFAULT_MAX_RESPONSE_BYTES);
    };
    let bytes = value.trim().parse().ok().filter(|bytes| *bytes >= LEAST);
    bytes.with_context(|| {
        format!("`{MAX_RESPONSE_BYTES}` of the provider is {value:?}: expected a number of bytes, at least {LEAST}")
    })
}

fn raw_settings(
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

fn rpc_timeout(milliseconds: Option<u64>) -> Duration {
    const HOST_DEFAULT_MS: u64 = 2000;
    let least = Duration::from_millis(50);
    Duration::from_millis(milliseconds.unwrap_or(HOST_DEFAULT_MS)).max(least)
}

/// The host's RPC timeout less a margin, so that the caller gets an answer and not a timeout.
fn default_timeout(rpc_timeout: Duration) -> Duration {
    (rpc_timeout * 9 / 10).max(Duration::from_millis(50))
}
