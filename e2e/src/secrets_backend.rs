//! A secrets backend: wasmCloud's own one, which keeps secrets in a key-value bucket of NATS.

use std::collections::HashSet;

use anyhow::{Context as _, Result};
use nkeys::XKey;
use secrets_nats_kv::client::{SECRETS_API_VERSION, add_mapping, put_secret};
use secrets_nats_kv::{Api, PutSecretRequest};
use testkit::NatsServer;
use tokio::task::JoinHandle;

use crate::artifacts::{provider_archive, subject};
use crate::lattice::eventually;

/// What hosts and backends put before the subjects of their requests. Hosts are told by
/// `--secrets-topic`.
pub(crate) const SECRETS_TOPIC: &str = "wasmcloud.secrets";

/// The name that manifests call the backend by.
const BACKEND: &str = "nats-kv";

/// A running backend. It ends when it is dropped, and its secrets stay.
pub struct SecretsBackend {
    client: lattice_nats::Client,
    transit: XKey,
    task: JoinHandle<Result<()>>,
}

impl SecretsBackend {
    /// Starts a backend on the lattice's server.
    ///
    /// # Errors
    ///
    /// If it cannot connect.
    pub async fn start(nats: &NatsServer) -> Result<Self> {
        let client = lattice_nats::connect(nats.url()).await?;
        let (transit, encryption) = (XKey::new(), XKey::new());
        let api = Api::new(
            XKey::from_seed(&transit.seed()?)?,
            encryption,
            client.clone(),
            SECRETS_TOPIC.to_owned(),
            BACKEND.to_owned(),
            "WASMCLOUD_SECRETS".to_owned(),
            64,
            "wasmcloud_secrets".to_owned(),
            SECRETS_API_VERSION.to_owned(),
        );
        let task = tokio::spawn(async move { api.run().await });
        Ok(Self {
            client,
            transit,
            task,
        })
    }

    /// Stores a secret, or its next version.
    ///
    /// # Errors
    ///
    /// If the backend does not take it within two minutes.
    pub async fn put(&self, key: &str, value: &str) -> Result<()> {
        // The backend makes its bucket when it starts, and refuses secrets until then.
        eventually(|| async {
            let secret = PutSecretRequest {
                key: key.to_owned(),
                string_secret: Some(value.to_owned()),
                ..PutSecretRequest::default()
            };
            put_secret(&self.client, SECRETS_TOPIC, &self.transit, secret).await
        })
        .await
        .with_context(|| format!("the backend does not take the secret {key}"))
    }

    /// Allows the provider, as which its archive is signed, to have these secrets.
    ///
    /// # Errors
    ///
    /// If the archive has not been made, or the backend does not answer.
    pub async fn allow_provider(&self, keys: &[&str]) -> Result<()> {
        let provider = subject(&provider_archive()?).await?;
        let keys: HashSet<_> = keys.iter().map(ToString::to_string).collect();
        add_mapping(&self.client, SECRETS_TOPIC, &provider, keys)
            .await
            .context("the backend does not take the mapping")
    }
}

impl Drop for SecretsBackend {
    fn drop(&mut self) {
        self.task.abort();
    }
}
