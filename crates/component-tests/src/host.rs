use std::collections::BTreeMap;

use anyhow::Result;
use testkit::NatsServer;
use testkit::async_nats::jetstream::kv;

use crate::service::Service;

/// A host of components, and the nats-server that has the buckets.
#[expect(
    async_fn_in_trait,
    reason = "a test awaits them where it is, and spawns none"
)]
pub trait ComponentHost: Sized {
    /// Starts the nats-server with the buckets, and whatever the host needs beside it.
    ///
    /// # Errors
    ///
    /// If a part does not start.
    async fn start() -> Result<Self>;

    /// The server that has the buckets, and nothing else that the host needs.
    fn nats(&mut self) -> &mut NatsServer;

    /// Runs this component with these links, of which one is named `default`. Returns when the
    /// component reaches the bucket of that one.
    ///
    /// # Errors
    ///
    /// If the component or a link is refused, or the bucket does not answer in time.
    async fn serve(&mut self, component: &str, links: &[BucketLink]) -> Result<Service>;

    /// Stops all of it.
    ///
    /// # Errors
    ///
    /// If a part does not end in order.
    async fn stop(self) -> Result<()>;

    /// Creates a bucket.
    ///
    /// # Errors
    ///
    /// If the server refuses it.
    async fn create_bucket(&mut self, name: &str) -> Result<kv::Store> {
        self.nats().create_bucket(name, kv::Config::default()).await
    }
}

/// A link of a component to a bucket.
#[derive(Clone, Debug)]
pub struct BucketLink {
    /// The link's name.
    pub name: String,
    /// The link's settings, but for `cluster_uri`, which is the host's server.
    pub settings: BTreeMap<String, String>,
}

impl BucketLink {
    /// The link `default` to this bucket.
    #[must_use]
    pub fn to(bucket: &str) -> Self {
        Self {
            name: "default".to_owned(),
            settings: BTreeMap::from([("bucket".to_owned(), bucket.to_owned())]),
        }
    }

    /// The same link by another name.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        let name = name.to_owned();
        Self { name, ..self }
    }

    /// The same link with one more setting.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.settings.insert(key.to_owned(), value.to_owned());
        self
    }
}
