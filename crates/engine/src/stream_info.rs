//! The stream info of a bucket: how its keys are read and written.

mod create;
mod features;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::StorageType;
use async_nats::jetstream::{self, Context, ErrorCode, stream};
use tokio::time::{Instant, sleep, timeout_at};

use super::connection::Connection;
use super::deadline::Deadline;
use super::error::{BucketFeature, Error, FeatureProblem};
use super::message::is_transient;
use super::quarantine::Quarantine;
use super::text::LogText;
use super::tuning;
use super::value_size::MeanValueSize;
use features::Features;

/// The name of a bucket, and what to do if the bucket is missing.
#[derive(Clone, Debug, PartialEq)]
pub struct BucketSpec {
    /// The bucket's name; its stream is `KV_<name>` (ADR-8).
    pub name: String,
    /// The JetStream domain.
    pub domain: Option<String>,
    /// The settings to create the bucket with if it is missing. `None`: it is not created.
    pub create: Option<BucketTemplate>,
}

/// The settings of a bucket that is created. A setting that is `None` has the server's default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BucketTemplate {
    /// Replicas of the stream, 1 to 5.
    pub replicas: Option<usize>,
    /// Where the stream is kept.
    pub storage: Option<StorageType>,
    /// Values kept for each key, 1 to 64.
    pub history: Option<i64>,
    /// How long the server keeps a value.
    pub ttl: Option<Duration>,
    /// The largest size of the whole bucket in bytes.
    pub max_bytes: Option<i64>,
    /// The largest value in bytes.
    pub max_value_size: Option<i32>,
    /// Whether values may have a time to live of their own
    /// ([`WriteSettings::value_ttl`](crate::WriteSettings::value_ttl), server ≥ 2.11).
    pub allow_value_ttl: bool,
    /// How long delete markers stay, in whole seconds (ADR-48, server ≥ 2.11). `None`: for ever. An
    /// older server is asked nothing: the bucket is not created.
    pub marker_ttl: Option<Duration>,
    /// Whether the bucket takes atomic batches
    /// ([`WriteSettings::atomic`](crate::WriteSettings::atomic), ADR-50, server ≥ 2.12.1).
    pub allow_atomic: bool,
    /// Whether the bucket takes fast-ingest batches (ADR-50, server ≥ 2.14) of other clients. This
    /// crate writes by plain publishes.
    pub allow_batched: bool,
}

/// How keys are read. Only a direct get can ask for many keys at once (`multi_last`). So a batch
/// that is read by another path takes one request for each key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadPath {
    /// From any node that has the stream, by a direct get (`allow_direct`, ADR-31).
    Direct,
    /// From the stream's leader, through the JetStream API.
    Leader,
    /// From the leader of the stream that stores the writes. For a mirror, that is the mirrored
    /// stream.
    OriginLeader,
}

/// The part of a bucket's stream info that the engine needs.
#[derive(Debug)]
pub(super) struct StreamInfo {
    pub(super) stream: String,
    /// The prefix of the subjects that keys are stored under: the subject is `read_prefix` and the
    /// key.
    pub(super) read_prefix: String,
    /// The prefix of the subjects that keys are published to: the subject is `write_prefix` and the
    /// key.
    pub(super) write_prefix: String,
    pub(super) api_prefix: String,
    pub(super) read_path: ReadPath,
    /// How long the server recognizes a second copy of a write by its `Nats-Msg-Id`.
    pub(super) duplicate_window: Duration,
    /// The largest message in bytes, headers included, if the bucket has a limit.
    pub(super) max_message: Option<usize>,
    /// The stream that stores the writes. For a mirror, that is the mirrored stream.
    pub(super) write_stream: String,
    /// The API prefix of that stream.
    pub(super) write_api_prefix: String,
    /// Whether several nodes have the stream.
    pub(super) is_replicated: bool,
    /// Whether there is a stream that takes writes.
    pub(super) takes_writes: bool,
    /// What the stream allows beside plain writes.
    features: Features,
    fetched: Instant,
    /// How large the values are that were read last.
    pub(super) mean_value_size: MeanValueSize,
    /// Whether the server has denied this login a `multi_last` request.
    pub(super) multi_last_denied: AtomicBool,
    /// Whether the bucket has to be read from its leader, even if `read_path` says otherwise. All
    /// stream infos of a bucket share it.
    pub(super) quarantine: Arc<Quarantine>,
    /// The settings of the bucket that are not as the spec asks for, as text. Empty: there are
    /// none.
    pub(super) differences: String,
}

/// Fetches the stream info. If the bucket is missing, it is created if the spec says so.
pub(super) async fn fetch_or_create(
    connection: &Connection,
    spec: &BucketSpec,
    deadline: &Deadline,
) -> Result<StreamInfo, Error> {
    let (api, stream) = (api_prefix(spec), stream_of(&spec.name));
    let requests = ["INFO", "CREATE"].map(|what| format!("{api}.STREAM.{what}.{stream}"));
    let is_mine = |subject: &str| requests.iter().any(|request| request == subject);
    let mut backoff = tuning::BACKOFF.first;
    loop {
        connection.wait_connected(&spec.name, deadline).await?;
        let (context, client) = (context(connection, spec), connection.client());
        let started = Instant::now();
        // The servers of a stream without a leader may not answer at all.
        let wait_until = (started + deadline.answer_timeout()).min(deadline.call_deadline());
        let found = tokio::select! {
            found = timeout_at(wait_until, find_or_create(&context, &client, spec)) => found,
            // The server never answers a request that it denies.
            error = connection.until_permission_error(started, is_mine) => return Err(error),
        };
        match found {
            Ok(Ok(config)) => return info(spec, &config),
            Ok(Err(FetchError::Final(error))) => return Err(error),
            Ok(Err(FetchError::Transient)) | Err(_)
                if Instant::now() < deadline.send_deadline() =>
            {
                sleep(backoff).await;
                backoff = tuning::BACKOFF.after(backoff);
            }
            Ok(Err(FetchError::Transient)) | Err(_) => {
                return Err(connection.no_answer_error(&spec.name, deadline));
            }
        }
    }
}

/// A JetStream client for the bucket's domain, over the current NATS client.
pub(super) fn context(connection: &Connection, spec: &BucketSpec) -> Context {
    match &spec.domain {
        Some(domain) => jetstream::with_domain(connection.client(), domain),
        None => jetstream::new(connection.client()),
    }
}

enum FetchError {
    /// The same request may succeed later.
    Transient,
    Final(Error),
}

async fn find_or_create(
    context: &Context,
    client: &Client,
    spec: &BucketSpec,
) -> Result<stream::Config, FetchError> {
    let error = match context.get_stream(stream_of(&spec.name)).await {
        Ok(stream) => return Ok(stream.cached_info().config.clone()),
        Err(error) => error,
    };
    // Without an answer, the server may be starting up, or the cluster may be between leaders.
    let GetStreamErrorKind::JetStream(error) = error.kind() else {
        return Err(FetchError::Transient);
    };
    match &spec.create {
        Some(template) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
            create::create(context, client, spec, template).await
        }
        None if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
            Err(FetchError::Final(Error::NoSuchBucket {
                bucket: spec.name.clone(),
            }))
        }
        _ if is_transient(&error) => Err(FetchError::Transient),
        _ => Err(FetchError::Final(Error::Refused {
            what: "to open the bucket",
            reason: LogText::of_jetstream(&error),
        })),
    }
}

fn info(spec: &BucketSpec, config: &stream::Config) -> Result<StreamInfo, Error> {
    let not_a_bucket = |why| {
        Err(Error::NotABucket {
            bucket: spec.name.clone(),
            why,
        })
    };
    if config.max_messages_per_subject < 1 {
        return not_a_bucket("its `max_msgs_per_subject` is not set");
    }
    // A stream without subjects may copy its messages from other streams.
    let has_keys = |subject: &String| may_have_keys(subject, &spec.name);
    if !config.subjects.is_empty() && !config.subjects.iter().any(has_keys) {
        return not_a_bucket("none of its subjects is one of the bucket's keys");
    }
    let api_prefix = api_prefix(spec);
    // A mirror stores keys under the subjects of the mirrored bucket. Writes go to that bucket.
    let stream = stream_of(&spec.name);
    let write_stream = config
        .mirror
        .as_ref()
        .map_or_else(|| stream.clone(), |mirror| mirror.name.clone());
    let bucket = write_stream.strip_prefix("KV_").unwrap_or(&write_stream);
    let read_prefix = format!("$KV.{bucket}.");
    let external = config
        .mirror
        .as_ref()
        .and_then(|mirror| mirror.external.as_ref());
    // A publish reaches a stream in another JetStream domain through the API prefix (ADR-8).
    let (write_api_prefix, write_prefix) = match (external, &spec.domain) {
        (Some(external), _) if !external.api_prefix.is_empty() => {
            let prefix = &external.api_prefix;
            (prefix.clone(), format!("{prefix}.{read_prefix}"))
        }
        (_, Some(_)) => (api_prefix.clone(), format!("{api_prefix}.{read_prefix}")),
        (_, None) => (api_prefix.clone(), read_prefix.clone()),
    };
    Ok(StreamInfo {
        read_path: if config.allow_direct {
            ReadPath::Direct
        } else {
            ReadPath::Leader
        },
        duplicate_window: config.duplicate_window,
        max_message: usize::try_from(config.max_message_size)
            .ok()
            .filter(|&max| max > 0),
        is_replicated: config.num_replicas > 1,
        takes_writes: config.mirror.is_some() || !config.subjects.is_empty(),
        features: Features::of(config),
        fetched: Instant::now(),
        mean_value_size: MeanValueSize::default(),
        multi_last_denied: AtomicBool::new(false),
        quarantine: Arc::default(),
        differences: spec.create.as_ref().map_or_else(String::new, |template| {
            create::differences(template, config)
        }),
        stream,
        write_stream,
        write_api_prefix,
        read_prefix,
        write_prefix,
        api_prefix,
    })
}

/// Whether a stream with this subject stores keys of the bucket, or some of them.
fn may_have_keys(subject: &str, bucket: &str) -> bool {
    let mut tokens = subject.split('.');
    for expected in ["$KV", bucket] {
        match tokens.next() {
            Some(">") => return true,
            Some(token) if token == expected || token == "*" => {}
            _ => return false,
        }
    }
    tokens.next().is_some()
}

/// The prefix of the subjects of JetStream's API.
pub(super) fn api_prefix(spec: &BucketSpec) -> String {
    match &spec.domain {
        Some(domain) => format!("$JS.{domain}.API"),
        None => "$JS.API".to_owned(),
    }
}

impl StreamInfo {
    /// How keys are read, with regard to the quarantine.
    pub(super) fn effective_read_path(&self) -> ReadPath {
        if self.quarantine.is_active() {
            ReadPath::Leader
        } else {
            self.read_path
        }
    }

    pub(super) fn takes_atomic_batches(&self) -> bool {
        self.problem(BucketFeature::AtomicBatches).is_none()
    }

    /// Whether the stream info is too old to write by. A write with a time to live is right only
    /// while the bucket's history is 1: otherwise the older value comes back when the newer one
    /// expires. An operator may have raised the history meanwhile.
    pub(super) fn is_outdated_for_writes(&self) -> bool {
        self.features.has_ttl() && self.fetched.elapsed() > tuning::TTL_RULES_KNOWN_FOR
    }

    /// Why the bucket cannot do this. `None`: it can.
    pub(super) fn problem(&self, feature: BucketFeature) -> Option<FeatureProblem> {
        self.features.problem(feature)
    }

    /// How long a delete marker that the engine writes stays. `None`: for ever.
    pub(super) fn marker_ttl(&self) -> Option<Duration> {
        self.features.marker_ttl
    }

    /// Whether the stream's rules for writes differ from those of `before`.
    pub(super) fn write_rules_differ_from(&self, before: &Self) -> bool {
        self.max_message != before.max_message || self.features != before.features
    }

    /// Shares the quarantine with the stream info that was fetched before this one.
    pub(super) fn share_quarantine(&mut self, before: &Self) {
        self.quarantine = Arc::clone(&before.quarantine);
    }
}

/// The stream of a bucket (ADR-8).
pub(super) fn stream_of(bucket: &str) -> String {
    format!("KV_{bucket}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_has_subjects_of_its_keys() {
        for subject in ["$KV.b.>", "$KV.b.open.*", "$KV.*.>", "$KV.>", ">", "*.b.>"] {
            assert!(may_have_keys(subject, "b"), "{subject}");
        }
        for subject in [
            "$KV.c.>", "$KV.b", "KV_b", "orders.>", "*.*", "", "$KV.bb.>",
        ] {
            assert!(!may_have_keys(subject, "b"), "{subject}");
        }
    }
}
