//! Creating a bucket, and comparing the settings of a bucket that exists.

use async_nats::Client;
use async_nats::jetstream::context::CreateStreamErrorKind;
use async_nats::jetstream::stream::{self, DiscardPolicy, StorageType};
use async_nats::jetstream::{Context, ErrorCode};

use super::{BucketSpec, BucketTemplate, FetchError, stream_of};
use crate::error::{BucketFeature, Error, FeatureProblem};
use crate::message::is_transient;
use crate::text::LogText;

/// Creates the stream of a bucket, as ADR-8 has it.
///
/// It does not use `create_key_value` of the NATS client. That function also asks for the account's
/// limits, for which the login may lack the permission.
pub(super) async fn create(
    context: &Context,
    client: &Client,
    spec: &BucketSpec,
    template: &BucketTemplate,
) -> Result<stream::Config, FetchError> {
    // An older server would ignore the setting, and keep the markers for ever.
    if template.marker_ttl.is_some()
        && let Some(problem) = FeatureProblem::of_server(BucketFeature::MarkerTtl, client)
    {
        return Err(FetchError::Final(Error::Unsupported {
            bucket: spec.name.clone(),
            feature: BucketFeature::MarkerTtl,
            problem,
        }));
    }
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
        allow_message_ttl: template.allow_value_ttl || template.marker_ttl.is_some(),
        subject_delete_marker_ttl: template.marker_ttl,
        // A server that does not know a setting refuses the whole request (2.12) or ignores the
        // setting (before). Without it, a warning says how the bucket differs.
        allow_atomic_publish: template.allow_atomic && client.is_server_compatible(2, 12, 0),
        allow_batch_publish: template.allow_batched && client.is_server_compatible(2, 14, 0),
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
        return Err(FetchError::Transient);
    };
    // Another process may have just created the bucket. The next fetch finds it.
    if is_transient(&error) || error.error_code() == ErrorCode::STREAM_NAME_EXIST {
        return Err(FetchError::Transient);
    }
    Err(FetchError::Final(Error::Refused {
        what: "to create the bucket",
        reason: LogText::of_jetstream(&error),
    }))
}

/// The settings of the bucket that are not as the template asks for. Empty: there are none.
pub(super) fn differences(template: &BucketTemplate, found: &stream::Config) -> String {
    let mut differences = Vec::new();
    let mut compare = |setting: &str, wanted: Option<String>, found: String| {
        if let Some(wanted) = wanted
            && wanted != found
        {
            differences.push(format!("{setting}: {found}, not {wanted}"));
        }
    };
    let storage = |storage| match storage {
        StorageType::File => "file".to_owned(),
        StorageType::Memory => "memory".to_owned(),
    };
    let duration = |ttl| humantime::format_duration(ttl).to_string();
    compare(
        "replicas",
        template.replicas.map(|n| n.to_string()),
        found.num_replicas.to_string(),
    );
    compare(
        "storage",
        template.storage.map(storage),
        storage(found.storage),
    );
    compare(
        "history",
        template.history.map(|n| n.to_string()),
        found.max_messages_per_subject.to_string(),
    );
    compare("ttl", template.ttl.map(duration), duration(found.max_age));
    compare(
        "max_bytes",
        template.max_bytes.map(|n| n.to_string()),
        found.max_bytes.to_string(),
    );
    compare(
        "max_value_size",
        template.max_value_size.map(|n| n.to_string()),
        found.max_message_size.to_string(),
    );
    let on = |on: bool| on.to_string();
    compare(
        "allow_msg_ttl",
        template.allow_value_ttl.then(|| on(true)),
        on(found.allow_message_ttl),
    );
    compare(
        "subject_delete_marker_ttl",
        template.marker_ttl.map(duration),
        duration(found.subject_delete_marker_ttl.unwrap_or_default()),
    );
    compare(
        "allow_atomic",
        template.allow_atomic.then(|| on(true)),
        on(found.allow_atomic_publish),
    );
    compare(
        "allow_batched",
        template.allow_batched.then(|| on(true)),
        on(found.allow_batch_publish),
    );
    differences.join("; ")
}
