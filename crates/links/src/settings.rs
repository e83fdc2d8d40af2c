//! Link configuration: from the strings of a link and of the front end's defaults to settings.
//!
//! A link's own values come first, then the defaults. The login and the TLS settings of the
//! defaults are taken or left as a whole: a link that logs in by token does not also get the
//! default password.

mod error;
mod names;
mod raw;
mod servers;
mod watch;

use std::fs;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use async_nats::jetstream::stream::StorageType;
use tracing::warn;

pub use error::ConfigError;
pub use names::{LinkKind, is_secret_setting, is_setting, nearest_setting};
use raw::Lookup;
pub use raw::RawSettings;
pub use watch::{WatchIdentity, WatchLinkSettings};

use eventual_batch_engine::{
    Auth, BucketSpec, BucketTemplate, ConnectionSettings, KeyEncoding, Limits, ReplicaMode,
    ReplicaSettings, SingleReads, Tls, WriteSettings,
};

const DEFAULT_CLUSTER_URI: &str = "nats://127.0.0.1:4222";
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
    "credentials",
    "nkey_seed",
    "password",
    "token",
    "username",
];
const TLS: &[&str] = &["tls_ca", "tls_ca_file", "tls_cert", "tls_first", "tls_key"];
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
    "bucket",
    "bucket_allow_atomic",
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
    pub single_reads: SingleReads,
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
        let writes = WriteSettings {
            value_ttl: lookup.time_to_live("value_ttl")?,
            atomic: lookup.flag("atomic")?.unwrap_or(false),
        };
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
            single_reads: single_reads(&lookup)?,
            replica: replica(&lookup)?,
            writes,
            timeout: lookup
                .duration(
                    "timeout",
                    Duration::from_millis(50),
                    Duration::from_secs(3600),
                )?
                .unwrap_or(default_timeout),
        })
    }
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
    match lookup.text("key_encoding")? {
        None | Some("none") => Ok(KeyEncoding::None),
        Some("base64") => Ok(KeyEncoding::Base64),
        Some(other) => Err(ConfigError::bad(
            "key_encoding",
            other,
            "`none` or `base64`",
        )),
    }
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
    let template = BucketTemplate {
        replicas: lookup.number("bucket_replicas", 1, 5)?,
        storage: match lookup.text("bucket_storage")? {
            None => None,
            Some("file") => Some(StorageType::File),
            Some("memory") => Some(StorageType::Memory),
            Some(other) => {
                return Err(ConfigError::bad(
                    "bucket_storage",
                    other,
                    "`file` or `memory`",
                ));
            }
        },
        history,
        ttl: lookup.duration("bucket_ttl", Duration::from_millis(100), LONGEST_TTL)?,
        max_bytes: lookup.number("bucket_max_bytes", 1, i64::MAX)?,
        max_value_size: lookup.number("bucket_max_value_size", 1, i32::MAX)?,
        allow_value_ttl: writes.value_ttl.is_some(),
        marker_ttl,
        // A link that asks for atomic batches could not write to the bucket without.
        allow_atomic: lookup.flag("bucket_allow_atomic")?.unwrap_or(writes.atomic),
        allow_batched: lookup.flag("bucket_allow_batched")?.unwrap_or(false),
    };
    let create = lookup.flag("enable_bucket_auto_create")?.unwrap_or(false);
    Ok(create.then_some(template))
}

fn single_reads(lookup: &Lookup<'_>) -> Result<SingleReads, ConfigError> {
    match lookup.text("single_reads")? {
        None | Some("leader") => Ok(SingleReads::Leader),
        Some("nearest") => Ok(SingleReads::Nearest),
        Some(other) => Err(ConfigError::bad(
            "single_reads",
            other,
            "`leader` or `nearest`",
        )),
    }
}

fn replica(lookup: &Lookup<'_>) -> Result<ReplicaSettings, ConfigError> {
    let default = ReplicaSettings::default();
    Ok(ReplicaSettings {
        mode: match lookup.text("replica")? {
            None | Some("off") => ReplicaMode::Off,
            Some("bounded") => ReplicaMode::Bounded,
            Some("fresh") => ReplicaMode::Fresh,
            Some(other) => {
                return Err(ConfigError::bad(
                    "replica",
                    other,
                    "`off`, `bounded` or `fresh`",
                ));
            }
        },
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

fn connection(lookup: &Lookup<'_>) -> Result<ConnectionSettings, ConfigError> {
    let list = lookup.text("cluster_uri")?.unwrap_or(DEFAULT_CLUSTER_URI);
    let (servers, login) = servers::parse(list)?;
    if login.is_some() {
        warn!(
            key = "cluster_uri",
            "a login is set within the servers' URLs; move it to the link's secrets"
        );
    }
    let settings = ConnectionSettings {
        servers,
        auth: auth(lookup, login)?,
        tls: tls(lookup)?,
    };
    // What the client cannot use is found here, where the link can be refused for it.
    settings.check().map_err(ConfigError::of_connection)?;
    Ok(settings)
}

/// The one way to log in, of the login keys and the one that the servers' URLs may hold.
fn auth(lookup: &Lookup<'_>, in_urls: Option<Auth>) -> Result<Auth, ConfigError> {
    // Out of a file, these come with a line end.
    let trimmed = |key| Ok(lookup.secret(key)?.map(|secret| secret.trimmed()));
    let jwt = trimmed("client_jwt")?;
    let seed = trimmed("client_seed")?;
    let credentials = lookup.secret("credentials")?;
    let username = lookup.secret("username")?;
    let password = lookup.secret("password")?;
    let token = lookup.secret("token")?;
    let nkey_seed = trimmed("nkey_seed")?;

    let mut ways = Vec::from_iter(in_urls);
    match (jwt, seed) {
        (Some(jwt), Some(seed)) => ways.push(Auth::Jwt { jwt, seed }),
        (None, None) => {}
        (Some(_), None) => return Err(ConfigError::pair("client_jwt", "client_seed")),
        (None, Some(_)) => return Err(ConfigError::pair("client_seed", "client_jwt")),
    }
    match (username, password) {
        (Some(username), Some(password)) => ways.push(Auth::User {
            username: username.expose().to_owned(),
            password,
        }),
        (None, None) => {}
        (Some(_), None) => return Err(ConfigError::pair("username", "password")),
        (None, Some(_)) => return Err(ConfigError::pair("password", "username")),
    }
    ways.extend(credentials.map(Auth::Credentials));
    ways.extend(token.map(Auth::Token));
    ways.extend(nkey_seed.map(Auth::NkeySeed));
    if ways.len() > 1 {
        return Err(ConfigError::SeveralLogins);
    }
    Ok(ways.pop().unwrap_or_default())
}

fn tls(lookup: &Lookup<'_>) -> Result<Tls, ConfigError> {
    let ca = match (lookup.text("tls_ca")?, lookup.text("tls_ca_file")?) {
        (Some(_), Some(_)) => {
            return Err(ConfigError::unusable(
                "tls_ca_file",
                "cannot be set together with `tls_ca`; keep one of them".to_owned(),
            ));
        }
        (Some(pem), None) => Some(pem.to_owned()),
        (None, Some(path)) => Some(pem_file(path).map_err(|error| {
            ConfigError::bad(
                "tls_ca_file",
                path,
                &format!("a file that can be read ({error})"),
            )
        })?),
        (None, None) => None,
    };
    let client = match (lookup.text("tls_cert")?, lookup.secret("tls_key")?) {
        (Some(certificate), Some(key)) => Some((certificate.to_owned(), key)),
        (None, None) => None,
        (Some(_), None) => return Err(ConfigError::pair("tls_cert", "tls_key")),
        (None, Some(_)) => return Err(ConfigError::pair("tls_key", "tls_cert")),
    };
    Ok(Tls {
        ca,
        client,
        first: lookup.flag("tls_first")?.unwrap_or(false),
    })
}

/// The text of a file of certificates. A device or a pipe might never end, and links wait for it.
fn pem_file(path: &str) -> io::Result<String> {
    const MAX_BYTES: u64 = 16 * 1024 * 1024;
    let file = fs::metadata(path)?;
    if !file.is_file() || file.len() > MAX_BYTES {
        return Err(io::Error::other("not a regular file of at most 16 MiB"));
    }
    fs::read_to_string(path)
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
