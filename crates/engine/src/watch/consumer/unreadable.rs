//! Finding the messages that the NATS client cannot parse.
//!
//! When such a message is delivered, the client drops its connection. The consumer waits for it,
//! and delivers it again and again. `$JS.API.STREAM.MSG.GET` shows its headers as base64 text.

use std::collections::HashSet;

use async_nats::jetstream::{self, stream::RawMessage};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use super::request::{AttachError, request};
use super::{StreamNames, WatchConsumer};
use crate::connection::Connection;
use crate::quarantine::parser_breaker;
use crate::text::LogText;
use crate::watch::pattern;

/// How many messages are looked at.
const MOST: usize = 4096;

/// A message that the consumer waits for, and that cannot be delivered.
#[derive(Clone, Debug)]
pub(in crate::watch) struct UnreadableMessage {
    pub(in crate::watch) sequence: u64,
    pub(in crate::watch) key: String,
    /// What is wrong with it.
    pub(in crate::watch) why: LogText,
    /// Where it is acknowledged.
    pub(in crate::watch) reply: String,
}

#[derive(Deserialize)]
struct RawAnswer {
    #[serde(default)]
    message: Option<RawMessage>,
    #[serde(default)]
    error: Option<jetstream::Error>,
}

impl WatchConsumer {
    /// Those of the messages that the consumer waits for, and that are not `held`, which the NATS
    /// client cannot parse.
    pub(in crate::watch) async fn unreadable(
        &self,
        connection: &Connection,
        held: HashSet<u64>,
    ) -> Result<Vec<UnreadableMessage>, AttachError> {
        let names = self.names();
        let info = self
            .consumer(connection, &names, "INFO", Bytes::new())
            .await?;
        let held_count = u64::try_from(held.len()).unwrap_or(u64::MAX);
        let mut found = Vec::new();
        if info.error.is_some() || info.num_ack_pending <= held_count {
            return Ok(found);
        }
        let mut next = info.ack_floor.stream_seq + 1;
        for _ in 0..MOST {
            let Some(raw) = next_message(connection, &names, next).await? else {
                break;
            };
            if raw.sequence > info.delivered.stream_seq {
                break;
            }
            next = raw.sequence + 1;
            let Some(key) = raw.subject.strip_prefix(&names.prefix) else {
                continue;
            };
            let is_waited_for =
                pattern::covers_key(&self.settings.patterns, key) && !held.contains(&raw.sequence);
            if is_waited_for && let Some(why) = parser_breaker(&raw) {
                found.push(UnreadableMessage {
                    sequence: raw.sequence,
                    key: key.to_owned(),
                    why,
                    reply: self.reply_of(&names, &raw),
                });
            }
        }
        Ok(found)
    }

    /// The reply subject that a delivery of the message has. Of its numbers the server uses the
    /// message's sequence (nats-server `processAckMsg`, `AckExplicit`).
    fn reply_of(&self, names: &StreamNames, raw: &RawMessage) -> String {
        let time = raw.time.unix_timestamp_nanos();
        let (stream, consumer, sequence) = (&names.stream, self.name(), raw.sequence);
        format!("$JS.ACK.{stream}.{consumer}.1.{sequence}.1.{time}.0")
    }
}

/// The first message of a key with this sequence or a later one.
async fn next_message(
    connection: &Connection,
    names: &StreamNames,
    sequence: u64,
) -> Result<Option<RawMessage>, AttachError> {
    let StreamNames {
        stream,
        api_prefix,
        prefix,
    } = names;
    let subject = format!("{api_prefix}.STREAM.MSG.GET.{stream}");
    let asked = json!({"seq": sequence, "next_by_subj": format!("{prefix}>")});
    let answer: RawAnswer = request(connection, &subject, asked.to_string().into()).await?;
    // There is none, or the server has trouble: then the next loss of the connection leads here.
    Ok(answer.message.filter(|_| answer.error.is_none()))
}
