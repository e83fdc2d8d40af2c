//! Creating a bucket, and telling in what one that exists is different.

use async_nats::jetstream::context::CreateStreamErrorKind;
use async_nats::jetstream::stream::{self, DiscardPolicy, StorageType};
use async_nats::jetstream::{Context, ErrorCode};

use super::{BucketSpec, BucketTemplate, Failure, stream_of};
use crate::error::Error;
use crate::message::is_transient;
use crate::text::LogText;

/// Creates the stream of a bucket, as ADR-8 has it.
///
/// Not by way of the client's `create_key_value`, which also asks for the account's limits: a login
/// that may create a stream need not be allowed to.
pub(super) async fn create(
    context: &Context,
    spec: &BucketSpec,
    template: &BucketTemplate,
) -> Result<stream::Config, Failure> {
    let created = context.create_stream(stream::Config {
        name: stream_of(&spec.name),
        subjects: vec![format!("$KV.{}.>", spec.name)],
        max_messages_per_subject: template.history.unwrap_or(1),
        max_age: template.ttl.unwrap_or_default(),
        max_bytes: template.max_bytes.unwrap_or(-1),
        max_message_size: template.max_value_size.unwrap_or(-1),
        num_replicas: template.replicas.unwrap_or(1),
        storage: template.storage.unwrap_or(StorageType::File),
        discard: DiscardPolicy::New,
        allow_rollup: true,
        deny_delete: true,
        allow_direct: true,
        ..stream::Config::default()
    });
    let error = match created.await {
        Ok(stream) => {
            tracing::info!(bucket = spec.name, "created the bucket");
            return Ok(stream.cached_info().config.clone());
        }
        Err(error) => error,
    };
    let CreateStreamErrorKind::JetStream(error) = error.kind() else {
        return Err(Failure::Transient);
    };
    // Another instance may have been quicker: the next look finds its bucket.
    if is_transient(&error) || error.error_code() == ErrorCode::STREAM_NAME_EXIST {
        return Err(Failure::Transient);
    }
    Err(Failure::Final(Error::Refused {
        what: "to create the bucket",
        reason: LogText::of_jetstream(&error),
    }))
}

/// In what the bucket differs from the template; empty if in nothing.
pub(super) fn differences(template: &BucketTemplate, found: &stream::Config) -> String {
    let mut differences = Vec::new();
    let mut compare = |key: &str, wanted: Option<String>, found: String| {
        if let Some(wanted) = wanted
            && wanted != found
        {
            differences.push(format!("{key}: {found}, not {wanted}"));
        }
    };
    // As one would write them in the configuration.
    let storage = |storage| match storage {
        StorageType::File => "file".to_owned(),
        StorageType::Memory => "memory".to_owned(),
    };
    let duration = |ttl| humantime::format_duration(ttl).to_string();
    compare(
        "bucket_replicas",
        template.replicas.map(|n| n.to_string()),
        found.num_replicas.to_string(),
    );
    compare(
        "bucket_storage",
        template.storage.map(storage),
        storage(found.storage),
    );
    compare(
        "bucket_history",
        template.history.map(|n| n.to_string()),
        found.max_messages_per_subject.to_string(),
    );
    compare(
        "bucket_ttl",
        template.ttl.map(duration),
        duration(found.max_age),
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
    differences.join("; ")
}
