//! A bucket of the engine with a copy, and another client that changes the bucket.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{headers, within};
use crate::support::waiting::eventually;
use anyhow::{Context as _, Result, ensure};
use eventual_batch_engine::{
    Auth, Bucket, BucketOptions, BucketSpec, ConcurrencyLimit, Connection, ConnectionSettings,
    Connections, KeyEncoding, Limits, ReplicaMode, ReplicaSettings, ReplicaStats, Replicas, Secret,
};
use futures::TryStreamExt as _;
use testkit::NatsServer;
use testkit::async_nats::ConnectOptions;
use testkit::async_nats::jetstream::stream::{Config, DiscardPolicy, StorageType};
use testkit::async_nats::jetstream::{self, Context};
use tokio::time::Instant;

/// How old a bounded copy may be in these tests.
pub(super) const STALENESS: Duration = Duration::from_millis(300);

/// All keys that a test may use.
pub(super) const KEYS: &[&str] = &[
    "a", "b", "c", "d", "e", "f", "c.d", "empty", "old", "new", "stays", "goes", "minutes",
    "never", "large", "other", "own", "x",
];

pub(super) struct Replicated {
    pub(super) bucket: Bucket,
    replicas: Replicas,
    connection: Arc<Connection>,
    settings: ReplicaSettings,
    /// How long after a change an answer may be of before it.
    bound: Duration,
    js: Context,
    config: Config,
    name: String,
}

/// The stream of a bucket with a copy.
pub(super) fn stream(bucket: &str) -> Config {
    Config {
        name: format!("KV_{bucket}"),
        subjects: vec![format!("$KV.{bucket}.>")],
        max_messages_per_subject: 1,
        discard: DiscardPolicy::New,
        storage: StorageType::File,
        allow_rollup: true,
        allow_direct: true,
        num_replicas: 1,
        ..Config::default()
    }
}

/// How many consumers the stream has.
pub(super) async fn consumers(server: &NatsServer, stream: &str) -> Result<usize> {
    let stream = server.jetstream().await?.get_stream(stream).await?;
    Ok(stream.cached_info().state.consumer_count)
}

fn settings(mode: ReplicaMode) -> ReplicaSettings {
    ReplicaSettings {
        mode,
        staleness: STALENESS,
        ..ReplicaSettings::default()
    }
}

impl Replicated {
    pub(super) async fn start(
        server: &NatsServer,
        config: Config,
        mode: ReplicaMode,
        bound: Duration,
    ) -> Result<Self> {
        Self::start_with(server, config, settings(mode), bound).await
    }

    pub(super) async fn start_with(
        server: &NatsServer,
        config: Config,
        settings: ReplicaSettings,
        bound: Duration,
    ) -> Result<Self> {
        let js = server.jetstream().await?;
        Self::start_at(server.url(), js, config, settings, bound).await
    }

    /// With the bucket read by this user of the server. The others log in as `admin`.
    pub(super) async fn start_as(
        server: &NatsServer,
        user: &str,
        config: Config,
        mode: ReplicaMode,
        bound: Duration,
    ) -> Result<Self> {
        let secret = || "secret".to_owned();
        let admin = ConnectOptions::with_user_and_password("admin".to_owned(), secret());
        let js = jetstream::new(server.client_with(admin).await?);
        let login = Auth::User {
            username: user.to_owned(),
            password: Secret::new(secret()),
        };
        Self::start_by(login, server.url(), js, config, settings(mode), bound).await
    }

    /// On the servers of these addresses.
    pub(super) async fn start_at(
        servers: String,
        js: Context,
        config: Config,
        settings: ReplicaSettings,
        bound: Duration,
    ) -> Result<Self> {
        Self::start_by(Auth::None, servers, js, config, settings, bound).await
    }

    async fn start_by(
        auth: Auth,
        servers: String,
        js: Context,
        config: Config,
        settings: ReplicaSettings,
        bound: Duration,
    ) -> Result<Self> {
        eventually("the stream to be created", async || {
            Ok(js.create_stream(config.clone()).await.ok())
        })
        .await?;
        let connections = Connections::new("replica-test");
        let connection = connections
            .get(&ConnectionSettings {
                servers: servers.split(',').map(str::to_owned).collect(),
                auth,
                tls: eventual_batch_engine::Tls::default(),
            })
            .await?;
        let name = config.name["KV_".len()..].to_owned();
        let replicas = Replicas::new(64 * 1024 * 1024);
        let bucket = bucket(&connection, &name, &replicas, settings);
        Ok(Self {
            bucket,
            replicas,
            connection,
            settings,
            bound,
            js,
            config,
            name,
        })
    }

    /// The same bucket for another user.
    pub(super) fn another_user(&self) -> Bucket {
        self.user(self.settings.mode)
    }

    /// The same bucket for another user, who reads in this mode.
    pub(super) fn user(&self, mode: ReplicaMode) -> Bucket {
        let settings = ReplicaSettings {
            mode,
            ..self.settings
        };
        bucket(&self.connection, &self.name, &self.replicas, settings)
    }

    pub(super) fn stats(&self) -> ReplicaStats {
        self.bucket.replica_stats().unwrap()
    }

    pub(super) async fn put(&self, key: &str, value: &str) -> Result<u64> {
        self.put_with(key, value, &[]).await
    }

    pub(super) async fn put_with(
        &self,
        key: &str,
        value: &str,
        pairs: &[(&str, &str)],
    ) -> Result<u64> {
        let subject = format!("$KV.{}.{key}", self.name);
        let sent = self
            .js
            .publish_with_headers(subject, headers(pairs), value.to_owned().into());
        Ok(sent.await?.await?.sequence)
    }

    /// Writes a marker.
    pub(super) async fn mark(&self, key: &str, operation: &str) -> Result<()> {
        let mut pairs = vec![("KV-Operation", operation)];
        if operation == "PURGE" {
            pairs.push(("Nats-Rollup", "sub"));
        }
        self.put_with(key, "", &pairs).await.map(drop)
    }

    pub(super) async fn purge(&self, keys: Option<&str>) -> Result<()> {
        let stream = self.js.get_stream(&self.config.name).await?;
        match keys {
            Some(keys) => {
                let filter = format!("$KV.{}.{keys}", self.name);
                stream.purge().filter(filter).await?;
            }
            None => {
                stream.purge().await?;
            }
        }
        Ok(())
    }

    pub(super) async fn delete_message(&self, sequence: u64) -> Result<()> {
        let stream = self.js.get_stream(&self.config.name).await?;
        ensure!(stream.delete_message(sequence).await?);
        Ok(())
    }

    pub(super) async fn delete_stream(&self) -> Result<()> {
        self.js.delete_stream(&self.config.name).await?;
        Ok(())
    }

    pub(super) async fn create_again(&self) -> Result<()> {
        self.js.delete_stream(&self.config.name).await?;
        self.js.create_stream(self.config.clone()).await?;
        Ok(())
    }

    /// The bucket's values, as the leader has them.
    pub(super) async fn values_at_leader(&self) -> Result<BTreeMap<String, String>> {
        let stream = self.js.get_stream(&self.config.name).await?;
        let mut values = BTreeMap::new();
        for key in KEYS {
            let subject = format!("$KV.{}.{key}", self.name);
            let Ok(last) = stream.get_last_raw_message_by_subject(&subject).await else {
                continue;
            };
            if last.headers.get("KV-Operation").is_none() {
                let value = String::from_utf8_lossy(&last.payload).into_owned();
                values.insert((*key).to_owned(), value);
            }
        }
        Ok(values)
    }

    /// The names of the stream's consumers.
    pub(super) async fn consumers(&self) -> Result<Vec<String>> {
        let stream = self.js.get_stream(&self.config.name).await?;
        Ok(stream.consumer_names().try_collect().await?)
    }

    /// Deletes every consumer of the stream.
    pub(super) async fn delete_consumers(&self) -> Result<()> {
        let stream = self.js.get_stream(&self.config.name).await?;
        for name in self.consumers().await? {
            // It may have gone by itself.
            drop(stream.delete_consumer(&name).await);
        }
        Ok(())
    }

    /// Waits until the server has no message of the key.
    pub(super) async fn until_gone(&self, key: &str) -> Result<()> {
        let stream = self.js.get_stream(&self.config.name).await?;
        let subject = format!("$KV.{}.{key}", self.name);
        eventually("the server has dropped the value", async || {
            let last = stream.get_last_raw_message_by_subject(&subject).await;
            Ok(last.is_err().then_some(()))
        })
        .await
    }

    /// Succeeds as soon as the copy has answered that the bucket has these values and no others. Until
    /// the bound is over, an answer may be of before; after it, none may.
    pub(super) async fn is_right(&self, expected: &[(&str, &str)]) -> Result<()> {
        let changed = Instant::now();
        eventually("the copy has answered", async || {
            let (hits, begun) = (self.stats().hits, Instant::now());
            let read = self.read().await?;
            let listed = self.listed().await?;
            let is_from_copy = self.stats().hits == hits + 2;
            let is_right = is_equal(&read, &listed, expected);
            ensure!(
                is_right || begun <= changed + self.bound,
                "after {:?}, and not {expected:?}: {read:?}, {listed:?}, {:?}",
                begun - changed,
                self.stats()
            );
            Ok((is_from_copy && is_right).then_some(()))
        })
        .await
        .with_context(|| format!("{:?}", self.stats()))
    }

    /// The same, whoever answers.
    pub(super) async fn is_answered(&self, expected: &[(&str, &str)]) -> Result<()> {
        let (read, listed) = (self.read().await?, self.listed().await?);
        ensure!(
            is_equal(&read, &listed, expected),
            "not {expected:?}: {read:?}, {listed:?}"
        );
        Ok(())
    }

    pub(super) async fn read(&self) -> Result<BTreeMap<String, String>> {
        let keys: Vec<String> = KEYS.iter().map(|key| (*key).to_owned()).collect();
        let values = self.bucket.get_many(&keys, within()).await?;
        let pairs = keys.into_iter().zip(values);
        Ok(pairs
            .filter_map(|(key, value)| Some((key, String::from_utf8_lossy(&value?).into_owned())))
            .collect())
    }

    async fn listed(&self) -> Result<Vec<String>> {
        let mut keys = self.bucket.keys(within()).await?;
        keys.sort_unstable();
        Ok(keys)
    }
}

fn is_equal(read: &BTreeMap<String, String>, listed: &[String], expected: &[(&str, &str)]) -> bool {
    let expected: BTreeMap<String, String> = expected
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    *read == expected && listed.iter().eq(expected.keys())
}

fn bucket(
    connection: &Arc<Connection>,
    name: &str,
    replicas: &Replicas,
    settings: ReplicaSettings,
) -> Bucket {
    let limits = Limits {
        max_concurrency: 256,
        max_batch_keys: 100_000,
        max_batch_bytes: 64 * 1024 * 1024,
    };
    let spec = BucketSpec {
        name: name.to_owned(),
        domain: None,
        create: None,
    };
    Bucket::with_options(
        Arc::clone(connection),
        spec,
        KeyEncoding::None,
        limits,
        Arc::new(ConcurrencyLimit::new(limits.max_concurrency)),
        BucketOptions {
            replica: Some((replicas, settings)),
            ..BucketOptions::default()
        },
    )
}
