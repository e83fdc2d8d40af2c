//! Opening a bucket: what its stream says about how to read and write it.

use std::time::Duration;

use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::StorageType;
use async_nats::jetstream::{self, Context, ErrorCode, kv, stream};
use tokio::time::timeout_at;

use super::connection::Connection;
use super::deadline::Deadline;
use super::error::Error;
use super::message::is_transient;
use super::tuning;

/// Which bucket, and what to do if it is missing.
#[derive(Clone, Debug, PartialEq)]
pub struct BucketSpec {
    /// The bucket's name; its stream is `KV_<name>` (ADR-8).
    pub name: String,
    /// The JetStream domain.
    pub domain: Option<String>,
    /// How to create the bucket if it is missing; `None`: do not.
    pub create: Option<BucketTemplate>,
}

/// The settings of a bucket that is created here. What is `None` is the server's default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BucketTemplate {
    /// Replicas of the stream, 1 to 5.
    pub replicas: Option<usize>,
    /// Where the stream is kept.
    pub storage: Option<StorageType>,
    /// Values kept for each key, 1 to 64.
    pub history: Option<i64>,
    /// How long a value lives.
    pub ttl: Option<Duration>,
    /// The bucket's size in bytes, all in all.
    pub max_bytes: Option<i64>,
    /// The largest value in bytes.
    pub max_value_size: Option<i32>,
}

/// How single keys are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadPath {
    /// By any replica, from its store (`allow_direct`, ADR-31).
    Direct,
    /// By the stream's leader, through the JetStream API.
    Leader,
}

/// A bucket as its stream was when it was last looked at.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) context: Context,
    pub(super) stream: String,
    /// The subject of a key is this and the key, where it is stored.
    pub(super) read_prefix: String,
    /// The same where it is published to.
    pub(super) write_prefix: String,
    pub(super) api_prefix: String,
    pub(super) read_path: ReadPath,
    /// How long the server knows a write again by its `Nats-Msg-Id`.
    pub(super) duplicate_window: Duration,
    /// The largest message in bytes, headers included, if the bucket has a limit.
    pub(super) max_message: Option<usize>,
}

/// Looks at the bucket's stream, and creates it if the spec says so.
pub(super) async fn open(
    connection: &Connection,
    spec: &BucketSpec,
    deadline: &Deadline,
) -> Result<Opened, Error> {
    let client = connection.client().clone();
    let context = match &spec.domain {
        Some(domain) => jetstream::with_domain(client, domain),
        None => jetstream::new(client),
    };
    let mut backoff = tuning::BACKOFF.0;
    loop {
        connection.ready(deadline).await?;
        let attempt = timeout_at(deadline.end(), find_or_create(&context, spec));
        match attempt.await {
            Ok(Ok(config)) => return opened(context, spec, &config),
            Ok(Err(Failure::Final(error))) => return Err(error),
            Ok(Err(Failure::Transient)) if tokio::time::Instant::now() < deadline.settle() => {
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(tuning::BACKOFF.1);
            }
            Ok(Err(Failure::Transient)) | Err(_) => return Err(connection.explain(deadline)),
        }
    }
}

enum Failure {
    /// Asking again may help.
    Transient,
    Final(Error),
}

async fn find_or_create(context: &Context, spec: &BucketSpec) -> Result<stream::Config, Failure> {
    let name = format!("KV_{}", spec.name);
    let error = match context.get_stream(&name).await {
        Ok(stream) => {
            let config = stream.cached_info().config.clone();
            if let Some(template) = &spec.create {
                warn_of_differences(&spec.name, template, &config);
            }
            return Ok(config);
        }
        Err(error) => error,
    };
    match (error.kind(), &spec.create) {
        (GetStreamErrorKind::JetStream(error), Some(template))
            if error.error_code() == ErrorCode::STREAM_NOT_FOUND =>
        {
            create(context, spec, template).await
        }
        (GetStreamErrorKind::JetStream(error), None)
            if error.error_code() == ErrorCode::STREAM_NOT_FOUND =>
        {
            Err(Failure::Final(Error::NoSuchBucket {
                bucket: spec.name.clone(),
            }))
        }
        (GetStreamErrorKind::JetStream(error), _) if !is_transient(&error) => {
            Err(Failure::Final(Error::Refused {
                what: "to open the bucket",
                reason: error.to_string(),
            }))
        }
        // No answer: a server that starts up, or a cluster between leaders.
        _ => Err(Failure::Transient),
    }
}

async fn create(
    context: &Context,
    spec: &BucketSpec,
    template: &BucketTemplate,
) -> Result<stream::Config, Failure> {
    let created = context.create_key_value(kv::Config {
        bucket: spec.name.clone(),
        history: template.history.unwrap_or_default(),
        max_age: template.ttl.unwrap_or_default(),
        max_bytes: template.max_bytes.unwrap_or_default(),
        max_value_size: template.max_value_size.unwrap_or_default(),
        num_replicas: template.replicas.unwrap_or_default(),
        storage: template.storage.unwrap_or(StorageType::File),
        ..kv::Config::default()
    });
    match created.await {
        Ok(store) => {
            tracing::info!(bucket = spec.name, "created the bucket");
            Ok(store.stream.cached_info().config.clone())
        }
        Err(error) => {
            let refused = std::error::Error::source(&error)
                .and_then(|source| source.downcast_ref::<jetstream::context::CreateStreamError>())
                .and_then(|error| match error.kind() {
                    CreateStreamErrorKind::JetStream(error) => Some(error),
                    _ => None,
                });
            match refused {
                // Another instance was quicker: the next look finds it.
                Some(error) if error.error_code() == ErrorCode::STREAM_NAME_EXIST => {
                    Err(Failure::Transient)
                }
                Some(error) if !is_transient(&error) => Err(Failure::Final(Error::Refused {
                    what: "to create the bucket",
                    reason: error.to_string(),
                })),
                _ => Err(Failure::Transient),
            }
        }
    }
}

/// A bucket that exists is used as it is; whoever set other values on the link should know.
fn warn_of_differences(bucket: &str, template: &BucketTemplate, found: &stream::Config) {
    let mut differences = Vec::new();
    let mut compare = |key: &str, wanted: Option<String>, found: String| {
        if let Some(wanted) = wanted
            && wanted != found
        {
            differences.push(format!("{key}: {found}, not {wanted}"));
        }
    };
    let seconds = |ttl: Duration| format!("{ttl:?}");
    compare(
        "bucket_replicas",
        template.replicas.map(|n| n.to_string()),
        found.num_replicas.to_string(),
    );
    compare(
        "bucket_storage",
        template.storage.map(|storage| format!("{storage:?}")),
        format!("{:?}", found.storage),
    );
    compare(
        "bucket_history",
        template.history.map(|n| n.to_string()),
        found.max_messages_per_subject.to_string(),
    );
    compare(
        "bucket_ttl",
        template.ttl.map(seconds),
        seconds(found.max_age),
    );
    compare(
        "bucket_max_bytes",
        template.max_bytes.map(|n| n.to_string()),
        found.max_bytes.to_string(),
    );
    compare(
        "bucket_max_value_size",
        template.max_value_size.map(|n| n.to_string()),
        found.max_message_size.to_string(),
    );
    if !differences.is_empty() {
        tracing::warn!(
            bucket,
            differences = differences.join("; "),
            "the bucket exists with other settings than the link names; it is used as it is"
        );
    }
}

fn opened(context: Context, spec: &BucketSpec, config: &stream::Config) -> Result<Opened, Error> {
    if config.max_messages_per_subject < 1 {
        return Err(Error::NotABucket {
            bucket: spec.name.clone(),
        });
    }
    let api_prefix = match &spec.domain {
        Some(domain) => format!("$JS.{domain}.API"),
        None => "$JS.API".to_owned(),
    };
    let (read_prefix, write_prefix) = prefixes(&spec.name, &api_prefix, config);
    Ok(Opened {
        stream: format!("KV_{}", spec.name),
        read_prefix,
        write_prefix,
        api_prefix,
        read_path: if config.allow_direct {
            ReadPath::Direct
        } else {
            ReadPath::Leader
        },
        duplicate_window: config.duplicate_window,
        max_message: usize::try_from(config.max_message_size)
            .ok()
            .filter(|&max| max > 0),
        context,
    })
}

/// Where keys stand in the stream, and where they are published (ADR-8): in a mirror, keys keep
/// the subjects of the bucket that it mirrors, and writes go there.
fn prefixes(bucket: &str, api_prefix: &str, config: &stream::Config) -> (String, String) {
    let subject = |bucket: &str| format!("$KV.{bucket}.");
    let Some(mirror) = &config.mirror else {
        let read = subject(bucket);
        // In another JetStream domain, a publish reaches the stream through the API's prefix.
        let write = match api_prefix {
            "$JS.API" => read.clone(),
            prefix => format!("{prefix}.{read}"),
        };
        return (read, write);
    };
    let origin = subject(mirror.name.trim_start_matches("KV_"));
    let write = match &mirror.external {
        Some(external) if !external.api_prefix.is_empty() => {
            format!("{}.{origin}", external.api_prefix)
        }
        _ => origin.clone(),
    };
    (origin, write)
}
