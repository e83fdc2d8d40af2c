//! The consumer of a watch: finding it, creating it, asking it, and deleting it.

mod answers;
mod config;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream;
use async_nats::{Client, Subject};
use bytes::Bytes;
use serde_json::{Value, json};

use super::machine::{Attachment, PendingMessages};
use super::{WatchFrom, WatchSettings, timing};
use crate::api_request::{ApiResponse, api_request, is_gone};
use crate::connection::Connection;
use crate::deadline::Deadline;
use crate::error::{Error, Kind};
use crate::stream_info;
use answers::{StreamAnswer, WatchConsumerAnswer};
use config::{INITIAL_UNTIL, SETTLED_TO, Start};

/// How long an answer is waited for.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How long the bucket's stream info is waited for.
const BUCKET_TIMEOUT: Duration = Duration::from_secs(5);

/// Messages that one pull asks for. The consumer's `max_ack_pending` bounds how many come at once. A
/// pull that is used up leaves a moment for another instance, so it is large.
pub(super) const PULL: usize = 100_000;

/// Why the consumer is not there.
#[derive(Debug)]
pub(super) enum AttachError {
    /// There was no answer: the connection or the cluster has trouble, which ends by itself.
    Silent,
    /// A person has to do something. The text names no key.
    Trouble(String),
}

/// What is known of the consumer that was found.
#[derive(Clone, Debug, Default)]
struct Known {
    /// When the stream was created, as the server writes it.
    stream_created: String,
    /// When the consumer was created, likewise.
    created: String,
    /// Up to which sequence all was acknowledged then.
    ack_floor: u64,
    stream: StreamNames,
    /// Up to which sequence messages are of before the watch: of those, only values count.
    initial_until: u64,
    /// The consumer's configuration.
    config: Value,
}

/// The names that requests need.
#[derive(Clone, Debug, Default)]
pub(super) struct StreamNames {
    pub(super) stream: String,
    pub(super) api_prefix: String,
    /// The subject of a key is this and the key.
    pub(super) prefix: String,
}

#[derive(Debug)]
pub(super) struct WatchConsumer {
    pub(super) settings: WatchSettings,
    known: Mutex<Option<Known>>,
    /// Whether the bucket was missing since the watch began: all of it is new then.
    bucket_was_missing: Mutex<bool>,
}

impl WatchConsumer {
    pub(super) fn new(settings: WatchSettings) -> Self {
        Self {
            settings,
            known: Mutex::default(),
            bucket_was_missing: Mutex::default(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.settings.name
    }

    fn known(&self) -> Option<Known> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.clone()
    }

    pub(super) fn names(&self) -> StreamNames {
        self.known().map(|known| known.stream).unwrap_or_default()
    }

    /// Up to which sequence a marker says nothing new.
    pub(super) fn initial_until(&self) -> u64 {
        self.known().map_or(0, |known| known.initial_until)
    }

    /// Finds the consumer, or creates it. `resume_at`: where a new one begins in place of one that
    /// was known.
    pub(super) async fn attach(
        &self,
        connection: &Connection,
        resume_at: Option<u64>,
    ) -> Result<Attachment, AttachError> {
        let names = self.find_bucket(connection).await?;
        let subject = format!("{}.STREAM.INFO.{}", names.api_prefix, names.stream);
        let stream: StreamAnswer = request(connection, &subject, Bytes::new()).await?;
        if let Some(error) = stream.error {
            return Err(trouble("to open the bucket", &error));
        }
        let known = self.known();
        let found = self.find(connection, &names).await?;
        let answer = match found {
            Some(found) => self.adjust(connection, &names, found).await?,
            None => {
                let start = self.start(known.as_ref(), &stream, resume_at);
                self.create(connection, &names, &stream, start).await?
            }
        };
        let metadata = |name: &str| config::metadata_number(&answer.config, name);
        let is_other = known.as_ref().is_none_or(|known| {
            known.created != answer.created || known.stream_created != stream.created
        });
        let attachment = Attachment {
            is_other,
            is_other_stream: known.is_none_or(|known| known.stream_created != stream.created),
            settled_to: metadata(SETTLED_TO),
            keeps_history: stream.config.max_msgs_per_subject != 1,
        };
        let now_known = Known {
            initial_until: metadata(INITIAL_UNTIL),
            stream_created: stream.created,
            created: answer.created,
            ack_floor: answer.ack_floor.stream_seq,
            stream: names,
            config: answer.config,
        };
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(now_known);
        Ok(attachment)
    }

    async fn find_bucket(&self, connection: &Connection) -> Result<StreamNames, AttachError> {
        let deadline = Deadline::after(BUCKET_TIMEOUT);
        match stream_info::fetch_or_create(connection, &self.settings.bucket, &deadline).await {
            Ok(info) => Ok(StreamNames {
                stream: info.stream,
                api_prefix: info.api_prefix,
                prefix: info.read_prefix,
            }),
            Err(error) if error.kind() == Kind::Unavailable => Err(AttachError::Silent),
            Err(error) => {
                if matches!(error, Error::NoSuchBucket { .. }) {
                    let mut missing = self
                        .bucket_was_missing
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner);
                    *missing = true;
                }
                Err(AttachError::Trouble(error.to_string()))
            }
        }
    }

    fn start(&self, known: Option<&Known>, stream: &StreamAnswer, resume_at: Option<u64>) -> Start {
        match known {
            Some(known) if known.stream_created == stream.created => {
                let least = known.ack_floor + 1;
                Start::At(resume_at.unwrap_or(least).max(least))
            }
            // Another stream in the place of the one that was watched.
            Some(_) => Start::All,
            None => {
                let missing = self.bucket_was_missing.lock();
                let was_missing = *missing.unwrap_or_else(PoisonError::into_inner);
                match self.settings.from {
                    _ if was_missing => Start::All,
                    WatchFrom::New => Start::New,
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
            Some(error) => Err(trouble("to look at the watch's consumer", error)),
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
        self.put(connection, names, "create", config).await
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
        match config::adjusted(&self.settings, names, &found.config) {
            None => Ok(found),
            Some(config) => self.put(connection, names, "update", config).await,
        }
    }

    async fn put(
        &self,
        connection: &Connection,
        names: &StreamNames,
        action: &str,
        config: Value,
    ) -> Result<WatchConsumerAnswer, AttachError> {
        let request = json!({
            "stream_name": names.stream,
            "action": action,
            "config": config,
        });
        let request = Bytes::from(request.to_string());
        let answer = self.consumer(connection, names, "CREATE", request).await?;
        match &answer.error {
            None => Ok(answer),
            // Another instance was faster.
            Some(error) if error.code() == 400 && action == "create" => {
                match self
                    .consumer(connection, names, "INFO", Bytes::new())
                    .await?
                {
                    found if found.error.is_none() => Ok(found),
                    _ => Err(trouble("to create the watch's consumer", error)),
                }
            }
            Some(error) => Err(trouble("to create the watch's consumer", error)),
        }
    }

    /// What the consumer waits for.
    pub(super) async fn pending(&self, connection: &Connection) -> Option<PendingMessages> {
        let names = self.names();
        let answer = self.consumer(connection, &names, "INFO", Bytes::new());
        let answer = answer.await.ok()?;
        answer.error.is_none().then(|| PendingMessages {
            count: answer.num_ack_pending,
            settled_to: config::metadata_number(&answer.config, SETTLED_TO),
        })
    }

    /// Notes in the consumer that nothing that it has delivered up to here is under way any more.
    pub(super) async fn note_settled(&self, connection: &Connection, settled_to: u64) {
        let Some(known) = self.known() else {
            return;
        };
        let config = config::with_number(&known.config, SETTLED_TO, settled_to);
        drop(self.put(connection, &known.stream, "update", config).await);
    }

    /// Asks the consumer for messages.
    pub(super) async fn pull(&self, client: &Client, names: &StreamNames, inbox: String) {
        let request = json!({
            "batch": PULL,
            "expires": config::nanos(timing::PULL_EXPIRES),
            "idle_heartbeat": config::nanos(timing::HEARTBEAT),
        });
        let subject = format!(
            "{}.CONSUMER.MSG.NEXT.{}.{}",
            names.api_prefix,
            names.stream,
            self.name()
        );
        let request = Bytes::from(request.to_string());
        // If it cannot be sent, the silence of the pull tells.
        drop(
            client
                .publish_with_reply(Subject::from(subject), inbox, request)
                .await,
        );
    }

    /// Deletes the consumer. Returns whether the server has answered that it is gone.
    pub(super) async fn delete(&self, connection: &Connection) -> bool {
        let names = match self.known() {
            Some(known) => known.stream,
            // It may be one that an earlier process has created.
            None => match self.find_bucket(connection).await {
                Ok(names) => names,
                Err(AttachError::Trouble(_)) => return true,
                Err(AttachError::Silent) => return false,
            },
        };
        let deleted = self.consumer(connection, &names, "DELETE", Bytes::new());
        match deleted.await {
            Ok(answer) => answer.error.as_ref().is_none_or(is_gone),
            Err(_) => false,
        }
    }

    async fn consumer(
        &self,
        connection: &Connection,
        names: &StreamNames,
        what: &str,
        payload: Bytes,
    ) -> Result<WatchConsumerAnswer, AttachError> {
        let subject = format!(
            "{}.CONSUMER.{what}.{}.{}",
            names.api_prefix,
            names.stream,
            self.name()
        );
        request(connection, &subject, payload).await
    }
}

async fn request<T: serde::de::DeserializeOwned>(
    connection: &Connection,
    subject: &str,
    payload: Bytes,
) -> Result<T, AttachError> {
    match api_request(connection, subject.to_owned(), payload, TIMEOUT).await {
        ApiResponse::Answer(answer) => Ok(answer),
        ApiResponse::Silent => Err(AttachError::Silent),
        ApiResponse::Denied => Err(AttachError::Trouble(format!(
            "the login may not publish to {subject}"
        ))),
    }
}

fn trouble(what: &str, error: &jetstream::Error) -> AttachError {
    if crate::message::is_transient(error) || is_gone(error) {
        AttachError::Silent
    } else {
        AttachError::Trouble(format!("the NATS server refused {what}: {error}"))
    }
}
