//! What a copy asks its consumer for.

use anyhow::{Context as _, Result, ensure};
use futures::TryStreamExt as _;
use testkit::NatsServer;
use testkit::async_nats::jetstream::consumer::Info;

use super::setup::{Replicated, stream};
use super::{MODES, within};
use crate::support::waiting::eventually;

on_all_versions! {
    one_request_for_messages_is_open_however_many_came,
    a_message_larger_than_what_is_asked_for_at_once_is_followed,
}

/// Several times what one request for messages asks for.
const MANY: usize = 10_500;

async fn one_request_for_messages_is_open_however_many_came(version: &str) -> Result<()> {
    testkit::init_tracing();
    let server = NatsServer::run(version).await?;
    let (mode, bound) = MODES[0];
    let replicated = Replicated::start(&server, stream("b"), mode, bound).await?;
    let bucket = &replicated.bucket;
    let keys: Vec<String> = (0..MANY).map(|number| format!("key.{number}")).collect();
    let entries = keys.iter().map(|key| (key.clone(), "1".into()));
    bucket.set_many(entries.collect(), within()).await?;
    eventually("the copy answers", async || {
        let hits = replicated.stats().hits;
        let values = bucket.get_many(&keys, within()).await?;
        ensure!(values.iter().all(Option::is_some));
        Ok((replicated.stats().hits > hits).then_some(()))
    })
    .await?;
    let stream = server.jetstream().await?.get_stream("KV_b").await?;
    let consumers: Vec<Info> = stream.consumers().try_collect().await?;
    let consumer = consumers.first().context("the copy has no consumer")?;
    ensure!(consumer.num_waiting == 1, "{consumer:?}");
    Ok(())
}

async fn a_message_larger_than_what_is_asked_for_at_once_is_followed(version: &str) -> Result<()> {
    testkit::init_tracing();
    let server = NatsServer::builder(version)
        .config("max_payload: 16MB")
        .start()
        .await?;
    let (mode, bound) = MODES[0];
    let replicated = Replicated::start(&server, stream("b"), mode, bound).await?;
    let large = "x".repeat(9 * 1024 * 1024);
    replicated.put("a", "1").await?;
    replicated.put("large", &large).await?;
    replicated.put("b", "2").await?;
    let expected = [("a", "1"), ("b", "2"), ("large", large.as_str())];
    replicated.is_right(&expected).await?;
    ensure!(replicated.stats().repairs == 0, "{:?}", replicated.stats());
    Ok(())
}
