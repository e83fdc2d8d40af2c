//! Finding the consumer, or creating it.

use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;

use super::answers::{StreamAnswer, WatchConsumerAnswer};
use super::config::{self, INITIAL_UNTIL, PullLimits, SETTLED_TO, Start};
use super::request::{AttachError, refused, request};
use super::{Known, StreamNames, WatchConsumer};
use crate::api_request::is_gone;
use crate::connection::Connection;
use crate::deadline::Deadline;
use crate::error::{Error, Kind};
use crate::stream_info::{self, BucketSpec};
use crate::watch::WatchFrom;
use crate::watch::machine::Attachment;

/// How long the bucket's stream info is waited for.
const BUCKET_TIMEOUT: Duration = Duration::from_secs(5);

/// What an instance has seen of the consumer that it was attached to.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::watch) struct LastSeen {
    /// The first sequence that is not done, if that is known.
    pub(in crate::watch) resume_at: Option<u64>,
    /// The highest sequence.
    pub(in crate::watch) highest: u64,
}

impl WatchConsumer {
    /// Finds the consumer, or creates it. If there was one before, the new one begins where that
    /// one stood.
    pub(in crate::watch) async fn attach(
        &self,
        connection: &Connection,
        seen: LastSeen,
    ) -> Result<Attachment, AttachError> {
        let names = self.find_or_create_bucket(connection).await?;
        let subject = format!("{}.STREAM.INFO.{}", names.api_prefix, names.stream);
        let stream: StreamAnswer = request(connection, &subject, Bytes::new()).await?;
        if let Some(error) = stream.error {
            return Err(refused("to open the bucket", &error));
        }
        let known = self.known();
        let is_other_stream = known.as_ref().is_none_or(|known| {
            // A stream that is restored, or that has lost its latest messages, keeps its date.
            known.stream_created != stream.created || stream.state.last_seq < seen.highest
        });
        let found = self.find(connection, &names).await?;
        let (answer, ack_wait, begins) = match found {
            Some(found) => {
                let ack_wait = config::ack_wait(&found.config);
                let adjusted = self.adjust(connection, &names, found).await?;
                (adjusted, ack_wait, "where it stood")
            }
            None => {
                let start = self.start(known.as_ref(), &stream, is_other_stream, seen);
                let answer = self.create(connection, &names, &stream, start).await?;
                let ack_wait = config::ack_wait(&answer.config);
                (answer, ack_wait, start.text())
            }
        };
        let metadata = |name: &str| config::metadata_number(&answer.config, name);
        let is_other = known.is_none_or(|known| {
            known.created != answer.created || known.stream_created != stream.created
        });
        let attachment = Attachment {
            is_other,
            is_other_stream,
            settled_to: metadata(SETTLED_TO),
            has_pending: answer.num_ack_pending > 0,
            ack_wait,
            retention: stream.config.retention(),
        };
        let now_known = Known {
            initial_until: metadata(INITIAL_UNTIL),
            stream_created: stream.created,
            created: answer.created,
            ack_floor: answer.ack_floor.stream_seq,
            stream: names,
            pull_limits: PullLimits::of(&answer.config),
            begins,
        };
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(now_known);
        Ok(attachment)
    }

    async fn find_or_create_bucket(
        &self,
        connection: &Connection,
    ) -> Result<StreamNames, AttachError> {
        let spec = BucketSpec {
            create: None,
            ..self.settings.bucket.clone()
        };
        let found = find_bucket(connection, &spec).await;
        if !matches!(found, Err(Error::NoSuchBucket { .. })) {
            return found.map_err(|error| self.not_found(&error));
        }
        *self
            .bucket_was_missing
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = true;
        if self.settings.bucket.create.is_none() {
            return found.map_err(|error| self.not_found(&error));
        }
        let created = find_bucket(connection, &self.settings.bucket).await;
        created.map_err(|error| self.not_found(&error))
    }

    fn not_found(&self, error: &Error) -> AttachError {
        if error.kind() != Kind::Unavailable {
            return AttachError::Trouble(error.to_string());
        }
        let BucketSpec { name, domain, .. } = &self.settings.bucket;
        AttachError::Passing(match domain {
            Some(domain) => format!("no answer for bucket `{name}` of domain `{domain}`: {error}"),
            None => format!("no answer for bucket `{name}`: {error}"),
        })
    }

    fn start(
        &self,
        known: Option<&Known>,
        stream: &StreamAnswer,
        is_other_stream: bool,
        seen: LastSeen,
    ) -> Start {
        match known {
            // Another stream in the place of the one that was watched.
            Some(_) if is_other_stream => Start::All,
            Some(known) => {
                let least = known.ack_floor + 1;
                Start::At(seen.resume_at.unwrap_or(least).max(least))
            }
            None => {
                let missing = self.bucket_was_missing.lock();
                let was_missing = *missing.unwrap_or_else(PoisonError::into_inner);
                match self.settings.from {
                    _ if was_missing => Start::All,
                    WatchFrom::New => Start::After(stream.state.last_seq),
                    WatchFrom::Last => Start::Last,
                }
            }
        }
    }

    async fn find(
        &self,
        connection: &Connection,
        names: &StreamNames,
    ) -> Result<Option<WatchConsumerAnswer>, AttachError> {
        let answer = self
            .consumer(connection, names, "INFO", Bytes::new())
            .await?;
        match &answer.error {
            None => Ok(Some(answer)),
            Some(error) if is_gone(error) => Ok(None),
            Some(error) => Err(refused("to look at the watch's consumer", error)),
        }
    }

    async fn create(
        &self,
        connection: &Connection,
        names: &StreamNames,
        stream: &StreamAnswer,
        start: Start,
    ) -> Result<WatchConsumerAnswer, AttachError> {
        let config = config::new(&self.settings, names, start, stream.state.last_seq);
        let created = self.put(connection, names, "create", config).await?;
        match &created.error {
            None => Ok(created),
            // Another instance was faster.
            Some(error) if error.code() == 400 => match self.find(connection, names).await? {
                Some(found) => Ok(found),
                None => Err(refused("to create the watch's consumer", error)),
            },
            Some(error) => Err(refused("to create the watch's consumer", error)),
        }
    }

    /// Makes the consumer as the settings say, if it is not.
    async fn adjust(
        &self,
        connection: &Connection,
        names: &StreamNames,
        found: WatchConsumerAnswer,
    ) -> Result<WatchConsumerAnswer, AttachError> {
        if !config::is_of_watch(&found.config) {
            return Err(AttachError::Trouble(format!(
                "the consumer {} of {} is not one of a watch: delete it",
                self.name(),
                names.stream
            )));
        }
        let Some(config) = config::adjusted(&self.settings, names, &found.config) else {
            return Ok(found);
        };
        let adjusted = self.put(connection, names, "update", config).await?;
        match &adjusted.error {
            None => Ok(adjusted),
            Some(error) => Err(refused("to change the watch's consumer", error)),
        }
    }
}

/// Finds the bucket's stream, or creates it if the spec says so.
pub(super) async fn find_bucket(
    connection: &Connection,
    spec: &BucketSpec,
) -> Result<StreamNames, Error> {
    let deadline = Deadline::after(BUCKET_TIMEOUT);
    let info = stream_info::fetch_or_create(connection, spec, &deadline).await?;
    Ok(StreamNames {
        stream: info.stream,
        api_prefix: info.api_prefix,
        prefix: info.read_prefix,
    })
}
