//! Opening a bucket: what its stream says about how to read and write it.

mod create;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::StorageType;
use async_nats::jetstream::{self, Context, ErrorCode, stream};
use tokio::time::{Instant, sleep, timeout_at};

use super::connection::Connection;
use super::deadline::Deadline;
use super::error::Error;
use super::message::is_transient;
use super::quarantine::Quarantine;
use super::text::LogText;
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
    /// By the leader of the stream that writes end up in: of a mirror, the one that it mirrors.
    Origin,
}

/// What the engine needs of a bucket's stream info, as it was fetched last.
#[derive(Debug)]
pub(super) struct StreamInfo {
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
    /// The stream that writes end up in: of a mirror, the one that it mirrors.
    pub(super) write_stream: String,
    /// Of the API of that stream.
    pub(super) write_api_prefix: String,
    /// Whether there is a stream that takes writes.
    pub(super) takes_writes: bool,
    /// Whether this login may not ask for many keys at once.
    pub(super) multi_last_denied: AtomicBool,
    /// Whether the bucket has to be read through its leader, whatever `read_path` says. The newer
    /// info of a bucket shares it with the older.
    pub(super) quarantine: Arc<Quarantine>,
    /// In what the bucket differs from the settings it would have been created with.
    pub(super) differences: String,
}

/// Looks at the bucket's stream, and creates it if the spec says so.
pub(super) async fn fetch(
    connection: &Connection,
    spec: &BucketSpec,
    deadline: &Deadline,
) -> Result<StreamInfo, Error> {
    let (api, stream) = (api_prefix(spec), stream_of(&spec.name));
    let asked_for = ["INFO", "CREATE"].map(|what| format!("{api}.STREAM.{what}.{stream}"));
    let is_asked_for = |subject: &str| asked_for.iter().any(|asked| asked == subject);
    let mut backoff = tuning::BACKOFF.0;
    loop {
        connection.ready(&spec.name, deadline).await?;
        let context = context(connection, spec);
        let begun = Instant::now();
        // While a stream has no leader, a server may not answer at all.
        let patience = (begun + deadline.answer_timeout()).min(deadline.answer_deadline());
        let found = tokio::select! {
            found = timeout_at(patience, find_or_create(&context, spec)) => found,
            // A request that is refused has no answer.
            refused = connection.until_refused(begun, is_asked_for) => return Err(refused),
        };
        match found {
            Ok(Ok(config)) => return info(spec, &config),
            Ok(Err(Failure::Final(error))) => return Err(error),
            Ok(Err(Failure::Transient)) | Err(_) if Instant::now() < deadline.send_deadline() => {
                sleep(backoff).await;
                backoff = (backoff * 2).min(tuning::BACKOFF.1);
            }
            Ok(Err(Failure::Transient)) | Err(_) => {
                return Err(connection.no_answer_error(&spec.name, deadline));
            }
        }
    }
}

/// JetStream as the bucket's server has it, through the client of now.
pub(super) fn context(connection: &Connection, spec: &BucketSpec) -> Context {
    match &spec.domain {
        Some(domain) => jetstream::with_domain(connection.client(), domain),
        None => jetstream::new(connection.client()),
    }
}

enum Failure {
    /// Asking again may help.
    Transient,
    Final(Error),
}

async fn find_or_create(context: &Context, spec: &BucketSpec) -> Result<stream::Config, Failure> {
    let error = match context.get_stream(stream_of(&spec.name)).await {
        Ok(stream) => return Ok(stream.cached_info().config.clone()),
        Err(error) => error,
    };
    // No answer: a server that starts up, or a cluster between leaders.
    let GetStreamErrorKind::JetStream(error) = error.kind() else {
        return Err(Failure::Transient);
    };
    match &spec.create {
        Some(template) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
            create::create(context, spec, template).await
        }
        None if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
            Err(Failure::Final(Error::NoSuchBucket {
                bucket: spec.name.clone(),
            }))
        }
        _ if is_transient(&error) => Err(Failure::Transient),
        _ => Err(Failure::Final(Error::Refused {
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
    // Without subjects of its own it may have its messages from other streams.
    let has_keys = |subject: &String| may_have_keys(subject, &spec.name);
    if !config.subjects.is_empty() && !config.subjects.iter().any(has_keys) {
        return not_a_bucket("none of its subjects is of the bucket's keys");
    }
    let api_prefix = api_prefix(spec);
    // In a mirror, keys keep the subjects of the bucket that it mirrors, and writes go there.
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
    // In another JetStream domain, a publish reaches the stream through the API's prefix (ADR-8).
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
        takes_writes: config.mirror.is_some() || !config.subjects.is_empty(),
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

/// Whether a stream with this subject takes keys of the bucket, if not all of them.
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

/// Where requests to JetStream go.
pub(super) fn api_prefix(spec: &BucketSpec) -> String {
    match &spec.domain {
        Some(domain) => format!("$JS.{domain}.API"),
        None => "$JS.API".to_owned(),
    }
}

impl StreamInfo {
    /// How single keys are read now.
    pub(super) fn path(&self) -> ReadPath {
        if self.quarantine.is_active() {
            ReadPath::Leader
        } else {
            self.read_path
        }
    }

    /// Takes over what the engine has found out about the bucket's messages before this fetch.
    pub(super) fn inherit(&mut self, before: &Self) {
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
