//! One link: its bucket, the additional ones it grants, and how long a call may take.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::DEFAULT_LINK;
use crate::metrics::bucket_attribute;
use crate::settings::LinkSettings;
use eventual_batch_engine::{Bucket, BucketOptions, ConcurrencyLimit, Connection, Replicas};
use opentelemetry::KeyValue;

/// A bucket that a link grants.
#[derive(Clone, Debug)]
pub(super) struct GrantedBucket {
    pub(super) bucket: Arc<Bucket>,
    /// Its name, in the form that metrics use.
    pub(super) attribute: KeyValue,
}

/// A link whose configuration is in order.
#[derive(Debug)]
pub struct Link {
    name: String,
    connection: Arc<Connection>,
    bucket: GrantedBucket,
    additional: HashMap<String, GrantedBucket>,
    timeout: Duration,
}

impl Link {
    pub(super) fn new(
        name: &str,
        settings: LinkSettings,
        connection: Arc<Connection>,
        further_connections: &[Arc<Connection>],
        replicas: &Replicas,
    ) -> Self {
        let concurrency = Arc::new(ConcurrencyLimit::new(settings.limits.max_concurrency));
        let bucket = |spec| {
            let bucket = Bucket::with_options(
                Arc::clone(&connection),
                spec,
                settings.key_encoding,
                settings.limits,
                Arc::clone(&concurrency),
                BucketOptions {
                    writes: settings.writes,
                    single_reads: settings.single_reads,
                    further_connections: further_connections.to_vec(),
                    // Also if the mode is off: what this link reads and writes raises the floors.
                    replica: Some((replicas, settings.replica)),
                },
            );
            GrantedBucket {
                attribute: bucket_attribute(bucket.name()),
                bucket: Arc::new(bucket),
            }
        };
        Self {
            name: name.to_owned(),
            bucket: bucket(settings.bucket),
            additional: settings
                .buckets
                .into_iter()
                .map(|(alias, spec)| (alias, bucket(spec)))
                .collect(),
            timeout: settings.timeout,
            connection,
        }
    }

    /// The link's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How long one call may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The buckets that the link grants: its own first, then the additional ones.
    pub fn buckets(&self) -> impl Iterator<Item = &Arc<Bucket>> {
        let all = std::iter::once(&self.bucket).chain(self.additional.values());
        all.map(|granted| &granted.bucket)
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(super) fn bucket(&self) -> &GrantedBucket {
        &self.bucket
    }

    /// Whether `name` is one of the names of the link's own bucket.
    pub(super) fn is_own_name(&self, name: &str) -> bool {
        name.is_empty()
            || name == DEFAULT_LINK
            || name == self.name
            || name == self.bucket.bucket.name()
    }

    /// The additional bucket that the link grants under `name`.
    pub(super) fn additional_bucket(&self, name: &str) -> Option<&GrantedBucket> {
        self.additional.get(name)
    }
}
