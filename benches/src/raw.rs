//! What a program of its own can do with the same bucket: the limit.

use anyhow::{Context as _, Result, ensure};
use async_nats::jetstream::{self, kv};
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::json;

/// The most subjects that a server takes in one `multi_last` request (ADR-31).
const MULTI_LAST_SUBJECTS: usize = 1024;

/// Messages of one pull, at most. The client drops messages of a subscription that has more than 65,536
/// to be read.
const PULLED: usize = 32_768;

/// Whether each write has an id by which the server would know a second copy.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ids {
    With,
    Without,
}

#[derive(Clone)]
pub(crate) struct Raw {
    client: Client,
    bucket: String,
}

impl Raw {
    pub(crate) fn new(client: Client, bucket: &str) -> Self {
        Self {
            client,
            bucket: bucket.to_owned(),
        }
    }

    fn subject(&self, key: &str) -> String {
        format!("$KV.{}.{key}", self.bucket)
    }

    /// One direct get for each key, all sent at once, answered on one inbox.
    pub(crate) async fn get_pipelined(&self, keys: &[String]) -> Result<()> {
        let inbox = self.client.new_inbox();
        let answers = self.client.subscribe(format!("{inbox}.*")).await?;
        for (place, key) in keys.iter().enumerate() {
            let subject = format!(
                "$JS.API.DIRECT.GET.KV_{}.{}",
                self.bucket,
                self.subject(key)
            );
            self.client
                .publish_with_reply(subject, format!("{inbox}.{place}"), Bytes::new())
                .await?;
        }
        let bytes = answers
            .take(keys.len())
            .fold(0, async |bytes, answer| bytes + answer.payload.len())
            .await;
        ensure!(bytes > 0, "nothing came");
        Ok(())
    }

    /// As few `multi_last` requests as the server allows.
    pub(crate) async fn get_multi_last(&self, keys: &[String]) -> Result<()> {
        for keys in keys.chunks(MULTI_LAST_SUBJECTS) {
            let inbox = self.client.new_inbox();
            let mut answers = self.client.subscribe(inbox.clone()).await?;
            let subjects: Vec<_> = keys.iter().map(|key| self.subject(key)).collect();
            let request = serde_json::to_vec(&json!({ "multi_last": subjects }))?;
            self.client
                .publish_with_reply(
                    format!("$JS.API.DIRECT.GET.KV_{}", self.bucket),
                    inbox,
                    request.into(),
                )
                .await?;
            let mut found = 0;
            while let Some(answer) = answers.next().await {
                if answer.status.is_some() {
                    break;
                }
                found += 1;
            }
            ensure!(found == keys.len(), "{found} of {}", keys.len());
        }
        Ok(())
    }

    /// One publish for each key, all sent at once, acknowledged on one inbox.
    pub(crate) async fn set(&self, keys: &[String], value: &Bytes, ids: Ids) -> Result<()> {
        self.publish(keys, None, value, ids).await
    }

    /// The same with a delete marker in place of the value.
    pub(crate) async fn delete(&self, keys: &[String], ids: Ids) -> Result<()> {
        self.publish(keys, Some("DEL"), &Bytes::new(), ids).await
    }

    async fn publish(
        &self,
        keys: &[String],
        operation: Option<&str>,
        value: &Bytes,
        ids: Ids,
    ) -> Result<()> {
        let inbox = self.client.new_inbox();
        let answers = self.client.subscribe(format!("{inbox}.*")).await?;
        for (place, key) in keys.iter().enumerate() {
            let (subject, reply) = (self.subject(key), format!("{inbox}.{place}"));
            let mut headers = HeaderMap::new();
            if ids == Ids::With {
                headers.insert("Nats-Msg-Id", reply.as_str());
            }
            if let Some(operation) = operation {
                headers.insert("KV-Operation", operation);
            }
            if headers.is_empty() {
                let published = self
                    .client
                    .publish_with_reply(subject, reply, value.clone());
                published.await?;
            } else {
                let published = self.client.publish_with_reply_and_headers(
                    subject,
                    reply,
                    headers,
                    value.clone(),
                );
                published.await?;
            }
        }
        let refused = answers
            .take(keys.len())
            .filter(|answer| {
                let error = answer.payload.windows(7).any(|part| part == b"\"error\"");
                futures::future::ready(error)
            })
            .count()
            .await;
        ensure!(refused == 0, "{refused} refused");
        Ok(())
    }

    /// As async-nats lists keys: an ordered consumer over the last message of each, headers only.
    pub(crate) async fn keys(&self) -> Result<usize> {
        let keys = self.store().await?.keys().await?;
        Ok(keys.try_fold(0, async |count, _| Ok(count + 1)).await?)
    }

    /// The same by as few pulls as the client takes.
    pub(crate) async fn keys_by_pull(&self) -> Result<usize> {
        let jetstream = jetstream::new(self.client.clone());
        let stream = jetstream
            .get_stream_no_info(format!("KV_{}", self.bucket))
            .await?;
        let consumer = stream
            .create_consumer(jetstream::consumer::pull::Config {
                deliver_policy: jetstream::consumer::DeliverPolicy::LastPerSubject,
                ack_policy: jetstream::consumer::AckPolicy::None,
                filter_subject: self.subject(">"),
                headers_only: true,
                ..Default::default()
            })
            .await?;
        let pending = usize::try_from(consumer.cached_info().num_pending)?;
        let mut live = 0;
        let mut come = 0;
        while come < pending {
            let mut messages = consumer
                .batch()
                .max_messages(PULLED.min(pending - come))
                .messages()
                .await
                .context("no page")?;
            while let Some(message) = messages.next().await {
                let message = message.map_err(|error| anyhow::anyhow!(error))?;
                let headers = message.headers.as_ref();
                let deleted = headers.is_some_and(|headers| headers.get("KV-Operation").is_some());
                live += usize::from(!deleted);
                come += 1;
            }
        }
        // Nobody waits for this. A thousand that were left would be all that a stream takes.
        let name = &consumer.cached_info().name;
        let subject = format!("$JS.API.CONSUMER.DELETE.KV_{}.{name}", self.bucket);
        self.client
            .publish_with_reply(subject, self.client.new_inbox(), Bytes::new())
            .await?;
        Ok(live)
    }

    async fn store(&self) -> Result<kv::Store> {
        let jetstream = jetstream::new(self.client.clone());
        Ok(jetstream.get_key_value(&self.bucket).await?)
    }
}
