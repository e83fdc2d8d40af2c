//! Link configuration: from the strings of a link and of the front end's defaults to settings.
//!
//! A link's own values come first, then the defaults. The login and the TLS settings of the
//! defaults are taken or left as a whole: a link that logs in by token does not also get the
//! default password.

mod connection;
mod error;
mod names;
mod raw;
mod servers;
mod watch;

use std::str::FromStr;
use std::time::Duration;

use async_nats::jetstream::stream::StorageType;

use connection::connection;
pub use error::ConfigError;
pub use names::{LinkKind, is_secret_setting, is_setting, named_secret_setting, nearest_setting};
use raw::Lookup;
pub use raw::RawSettings;
pub use watch::{WatchIdentity, WatchLinkSettings};

use eventual_batch_engine::{
    BucketSpec, BucketTemplate, ConnectionSettings, KeyEncoding, Limits, ReadNode, ReplicaMode,
    ReplicaSettings, WriteSettings,
};

const DEFAULT_MAX_CONCURRENCY: usize = 1024;
const DEFAULT_MAX_BATCH_KEYS: usize = 100_000;
const DEFAULT_MAX_BATCH_BYTES: usize = 64 * 1024 * 1024;

/// What a bucket or a domain may be named.
const NAME: &str = "letters, digits, `-` and `_`";

/// Keys whose values are never shown.
const SECRETS: &[&str] = &[
    "client_seed",
    "credentials",
    "nkey_seed",
    "password",
    "tls_key",
    "token",
];
const LOGIN: &[&str] = &[
    "client_jwt",
    "client_seed",
    "client_seed_secret",
    "credentials",
    "credentials_secret",
    "nkey_seed",
    "nkey_seed_secret",
    "password",
    "password_secret",
    "token",
    "token_secret",
    "username",
];
const TLS: &[&str] = &[
    "tls_ca",
    "tls_ca_file",
    "tls_cert",
    "tls_first",
    "tls_key",
    "tls_key_secret",
];
const OTHERS: &[&str] = &[
    "atomic",
    "bucket",
    "bucket_allow_atomic",
    "bucket_allow_batched",
    "bucket_history",
    "bucket_marker_ttl",
    "bucket_max_bytes",
    "bucket_max_value_size",
    "bucket_replicas",
    "bucket_storage",
    "bucket_ttl",
    "buckets",
    "cluster_uri",
    "connections",
    "enable_bucket_auto_create",
    "js_domain",
    "key_encoding",
    "max_batch_bytes",
    "max_batch_keys",
    "max_concurrency",
    "replica",
    "replica_max_bytes",
    "replica_staleness",
    "single_reads",
    "timeout",
    "value_ttl",
];

/// Settings of links over which a component is told of changes.
const WATCH: &[&str] = &[
    "watch",
    "watch_durable",
    "watch_from",
    "watch_max_deliver",
    "watch_max_in_flight",
    "watch_timeout",
];
/// Other settings that such links have too.
const WITH_WATCH: &[&str] = &[
    "atomic",
    "bucket",
    "bucket_allow_atomic",
    "bucket_allow_batched",
    "bucket_history",
    "bucket_marker_ttl",
    "bucket_max_bytes",
    "bucket_max_value_size",
    "bucket_replicas",
    "bucket_storage",
    "bucket_ttl",
    "cluster_uri",
    "enable_bucket_auto_create",
    "js_domain",
    "key_encoding",
    "value_ttl",
];

/// What a link is to do, and how.
#[derive(Clone, Debug)]
pub struct LinkSettings {
    /// How to reach NATS and log in.
    pub connection: ConnectionSettings,
    /// The link's bucket.
    pub bucket: BucketSpec,
    /// Further buckets that the link grants, by the names that callers use.
    pub buckets: Vec<(String, BucketSpec)>,
    /// How keys are written in the buckets.
    pub key_encoding: KeyEncoding,
    /// What the link's calls may ask for.
    pub limits: Limits,
    /// Whether and how reads are answered from a copy in memory.
    pub replica: ReplicaSettings,
    /// How many connections reads are spread over.
    pub connections: usize,
    /// Which node answers `store.get` and `store.exists`.
    pub single_reads: ReadNode,
    /// How writes are made.
    pub writes: WriteSettings,
    /// How long one call may take.
    pub timeout: Duration,
}

impl LinkSettings {
    /// Reads a link's settings. Warns of secrets that do not come from secrets.
    ///
    /// # Errors
    ///
    /// The first value that cannot be used.
    pub fn read(
        link: &RawSettings,
        defaults: &RawSettings,
        default_timeout: Duration,
    ) -> Result<Self, ConfigError> {
        let lookup = Lookup::new(link, defaults, &[LOGIN, TLS]);
        let writes = write_settings(&lookup)?;
        let bucket = bucket_spec(&lookup, &writes)?;
        let spec = |name: &str| BucketSpec {
            name: name.to_owned(),
            ..bucket.clone()
        };
        let buckets = parse_buckets(lookup.text("buckets")?, &bucket.name)?
            .into_iter()
            .map(|(alias, name)| (alias.to_owned(), spec(name)))
            .collect();
        Ok(Self {
            connection: connection(&lookup)?,
            bucket,
            buckets,
            key_encoding: key_encoding(&lookup)?,
            limits: Limits {
                max_concurrency: lookup
                    .number("max_concurrency", 1, 16_384)?
                    .unwrap_or(DEFAULT_MAX_CONCURRENCY),
                max_batch_keys: lookup
                    .number("max_batch_keys", 1, 10_000_000)?
                    .unwrap_or(DEFAULT_MAX_BATCH_KEYS),
                max_batch_bytes: lookup
                    .number("max_batch_bytes", 1, 4 * 1024 * 1024 * 1024)?
                    .unwrap_or(DEFAULT_MAX_BATCH_BYTES),
            },
            connections: lookup.number("connections", 1, 8)?.unwrap_or(1),
            single_reads: lookup
                .choice(
                    "single_reads",
                    &[("leader", ReadNode::Leader), ("nearest", ReadNode::Nearest)],
                )?
                .unwrap_or_default(),
            replica: replica(&lookup)?,
            writes,
            timeout: lookup.call_timeout("timeout")?.unwrap_or(default_timeout),
        })
    }
}

fn write_settings(lookup: &Lookup<'_>) -> Result<WriteSettings, ConfigError> {
    Ok(WriteSettings {
        value_ttl: lookup.time_to_live("value_ttl")?,
        atomic: lookup.flag("atomic")?.unwrap_or(false),
    })
}

/// The link's own bucket, and what to do if it is missing.
fn bucket_spec(lookup: &Lookup<'_>, writes: &WriteSettings) -> Result<BucketSpec, ConfigError> {
    let name = lookup
        .text("bucket")?
        .ok_or_else(|| ConfigError::missing("bucket", "the name of a key-value bucket"))?;
    let domain = lookup
        .text("js_domain")?
        .map(|domain| checked("js_domain", domain))
        .transpose()?;
    Ok(BucketSpec {
        name: checked("bucket", name)?,
        domain,
        create: template(lookup, writes)?,
    })
}

fn key_encoding(lookup: &Lookup<'_>) -> Result<KeyEncoding, ConfigError> {
    let choices = [("none", KeyEncoding::None), ("base64", KeyEncoding::Base64)];
    let encoding = lookup.choice("key_encoding", &choices)?;
    Ok(encoding.unwrap_or(KeyEncoding::None))
}

/// The longest time for which a bucket keeps a value.
const LONGEST_TTL: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

fn template(
    lookup: &Lookup<'_>,
    writes: &WriteSettings,
) -> Result<Option<BucketTemplate>, ConfigError> {
    let marker_ttl = lookup.time_to_live("bucket_marker_ttl")?;
    let history = lookup.number("bucket_history", 1, 64)?;
    // Where a value or a marker ends by itself, the value before it would come back.
    for (key, set) in [
        ("value_ttl", writes.value_ttl.is_some()),
        ("bucket_marker_ttl", marker_ttl.is_some()),
    ] {
        if set && let Some(history) = history.filter(|&history| history > 1) {
            return Err(ConfigError::bad(
                "bucket_history",
                &history.to_string(),
                &format_args!("1 beside `{key}`: an older value would come back"),
            ));
        }
    }
    let create = lookup.flag("enable_bucket_auto_create")?.unwrap_or(false);
    let allow_atomic = lookup.flag("bucket_allow_atomic")?;
    if create && writes.atomic && allow_atomic == Some(false) {
        return Err(ConfigError::bad(
            "bucket_allow_atomic",
            "false",
            &"`true` beside `atomic`: the link could not write to a bucket that it creates",
        ));
    }
    let template = BucketTemplate {
        replicas: lookup.number("bucket_replicas", 1, 5)?,
        storage: lookup.choice(
            "bucket_storage",
            &[("file", StorageType::File), ("memory", StorageType::Memory)],
        )?,
        history,
        ttl: lookup.duration("bucket_ttl", Duration::from_millis(100), LONGEST_TTL)?,
        max_bytes: lookup.number("bucket_max_bytes", 1, i64::MAX)?,
        max_value_size: lookup.number("bucket_max_value_size", 1, i32::MAX)?,
        allow_value_ttl: writes.value_ttl.is_some(),
        marker_ttl,
        // A link that asks for atomic batches could not write to the bucket without.
        allow_atomic: allow_atomic.unwrap_or(writes.atomic),
        allow_batched: lookup.flag("bucket_allow_batched")?.unwrap_or(false),
    };
    Ok(create.then_some(template))
}

fn replica(lookup: &Lookup<'_>) -> Result<ReplicaSettings, ConfigError> {
    let default = ReplicaSettings::default();
    Ok(ReplicaSettings {
        mode: lookup
            .choice(
                "replica",
                &[
                    ("off", ReplicaMode::Off),
                    ("bounded", ReplicaMode::Bounded),
                    ("fresh", ReplicaMode::Fresh),
                ],
            )?
            .unwrap_or(default.mode),
        staleness: lookup
            .duration(
                "replica_staleness",
                Duration::from_millis(100),
                Duration::from_secs(3600),
            )?
            .unwrap_or(default.staleness),
        max_bytes: lookup
            .number("replica_max_bytes", 1, 1024 * 1024 * 1024 * 1024)?
            .unwrap_or(default.max_bytes),
    })
}

/// The entries of `buckets`: `alias=bucket`, or `bucket` under its own name.
fn parse_buckets<'a>(
    list: Option<&'a str>,
    own: &str,
) -> Result<Vec<(&'a str, &'a str)>, ConfigError> {
    let Some(list) = list else {
        return Ok(Vec::new());
    };
    let mut entries: Vec<(&str, &str)> = Vec::new();
    for entry in list.split(',') {
        let (alias, bucket) = entry.split_once('=').unwrap_or((entry, entry));
        let (alias, bucket) = (alias.trim(), bucket.trim());
        let complaint = if alias.is_empty() || bucket.is_empty() {
            "entries like `alias=bucket` or `bucket`, comma-separated"
        } else if !is_token(bucket) {
            "bucket names of letters, digits, `-` and `_`"
        } else if alias == "default" {
            "no alias `default`: it always is the link's own `bucket`"
        } else if alias == own && bucket != own {
            "no alias that is the name of the link's own `bucket`"
        } else if entries.iter().any(|(known, _)| *known == alias) {
            "each alias once"
        } else {
            entries.push((alias, bucket));
            continue;
        };
        return Err(ConfigError::bad("buckets", list, complaint));
    }
    Ok(entries)
}

fn checked(key: &str, name: &str) -> Result<String, ConfigError> {
    if is_token(name) {
        Ok(name.to_owned())
    } else {
        Err(ConfigError::bad(key, name, NAME))
    }
}

/// What ADR-8 allows as a bucket's name, which also keeps it one token of a subject.
fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn parse_in_range<T: Copy + FromStr + PartialOrd>(text: &str, min: T, max: T) -> Option<T> {
    text.parse()
        .ok()
        .filter(|value| (min..=max).contains(value))
}

#[cfg(test)]
mod tests;
