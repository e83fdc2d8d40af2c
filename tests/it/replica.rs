//! The copy of a bucket in memory: right within its bound whatever happens to the stream, on every server.
//!
//! These tests use the engine without the provider, because only the engine tells whether an answer is
//! from the copy.

#![allow(clippy::unwrap_used)]

mod consumer;
mod faults;
mod load;
mod permissions;
mod rows;
mod server_reads;
mod setup;

use std::time::Duration;

use self::setup::{Replicated, STALENESS, consumers, stream};
use crate::support::raw;
use crate::support::waiting::{eventually, logged};
use anyhow::{Context as _, Result, ensure};
use eventual_batch_engine::{Deadline, FallbackReason, ReplicaMode, ReplicaSettings};
use testkit::NatsServer;
use testkit::async_nats::HeaderMap;
use testkit::async_nats::jetstream::kv;
use testkit::async_nats::jetstream::stream::Config;

on_all_versions! {
    a_bucket_with_history_is_read_from_the_server,
    a_bucket_that_does_not_fit_is_read_from_the_server,
    no_consumer_is_left_behind,
    what_this_process_writes_is_read_at_once,
    a_message_that_breaks_the_client_ends_the_copy,
    a_link_with_a_copy_answers_and_leaves_no_consumer,
}

/// The modes, and how long after a change an answer may be of before it.
const MODES: [(ReplicaMode, Duration); 2] = [
    (ReplicaMode::Bounded, STALENESS),
    (ReplicaMode::Fresh, Duration::ZERO),
];

/// Runs a test on a bucket of its own in each mode.
async fn in_each_mode(
    version: &str,
    change: impl Fn(&mut Config),
    test: impl AsyncFn(&Replicated) -> Result<()>,
) -> Result<()> {
    testkit::init_tracing();
    let server = NatsServer::run(version).await?;
    for (mode, bound) in MODES {
        let mut config = stream(&format!("{mode:?}"));
        change(&mut config);
        let replicated = Replicated::start(&server, config, mode, bound).await?;
        test(&replicated)
            .await
            .with_context(|| format!("{mode:?}"))?;
    }
    Ok(())
}

async fn a_bucket_with_history_is_read_from_the_server(version: &str) -> Result<()> {
    let history = |config: &mut Config| config.max_messages_per_subject = 2;
    in_each_mode(version, history, async |bucket| {
        bucket.put("a", "1").await?;
        bucket.put("a", "2").await?;
        bucket.is_answered(&[("a", "2")]).await?;
        let off = bucket.stats().off.context("there is no copy")?;
        ensure!(off.contains("more than one value"), "{off}");
        ensure!(bucket.stats().hits == 0);
        Ok(())
    })
    .await
}

async fn a_bucket_that_does_not_fit_is_read_from_the_server(version: &str) -> Result<()> {
    testkit::init_tracing();
    let server = NatsServer::run(version).await?;
    let settings = ReplicaSettings {
        mode: ReplicaMode::Bounded,
        staleness: STALENESS,
        max_bytes: 20_000,
    };
    let bucket = Replicated::start_with(&server, stream("small"), settings, STALENESS).await?;
    bucket.put("a", "1").await?;
    bucket.is_right(&[("a", "1")]).await?;
    bucket.put("large", &"x".repeat(30_000)).await?;
    eventually("the copy is given up", async || {
        bucket.bucket.get_many(&["a".to_owned()], within()).await?;
        Ok(bucket.stats().off)
    })
    .await?;
    bucket
        .is_answered(&[("a", "1"), ("large", &"x".repeat(30_000))])
        .await?;
    ensure!(bucket.stats().bytes == 0, "{:?}", bucket.stats());
    // There is room again.
    bucket.purge(Some("large")).await?;
    bucket.is_right(&[("a", "1")]).await
}

async fn no_consumer_is_left_behind(version: &str) -> Result<()> {
    testkit::init_tracing();
    let server = NatsServer::run(version).await?;
    let (mode, bound) = MODES[0];
    let replicated = Replicated::start(&server, stream("b"), mode, bound).await?;
    ensure!(
        consumers(&server, "KV_b").await? == 0,
        "nobody has read yet"
    );
    replicated.put("a", "1").await?;
    replicated.is_right(&[("a", "1")]).await?;
    ensure!(consumers(&server, "KV_b").await? == 1);
    // Another user shares the copy, and goes.
    let other = replicated.another_user();
    other.get_many(&["a".to_owned()], within()).await?;
    ensure!(consumers(&server, "KV_b").await? == 1);
    drop(other);
    replicated.is_right(&[("a", "1")]).await?;
    ensure!(consumers(&server, "KV_b").await? == 1);
    drop(replicated);
    eventually("the consumer is deleted", async || {
        Ok((consumers(&server, "KV_b").await? == 0).then_some(()))
    })
    .await
}

async fn a_message_that_breaks_the_client_ends_the_copy(version: &str) -> Result<()> {
    testkit::init_tracing();
    let server = NatsServer::run(version).await?;
    let (mode, bound) = MODES[0];
    let replicated = Replicated::start(&server, stream("b"), mode, bound).await?;
    replicated.put("a", "1").await?;
    replicated.is_right(&[("a", "1")]).await?;
    let headers = b"NATS/1.0\r\na b: c\r\n\r\n";
    let stored = raw::publish(&server, b"$KV.b.c", headers, b"2").await?;
    stored.context("the message is not stored")?;
    eventually("the copy is given up", async || {
        // The connection is lost meanwhile.
        drop(
            replicated
                .bucket
                .get_many(&["a".to_owned()], within())
                .await,
        );
        let off = replicated.stats().off;
        Ok(off.filter(|off| off.contains("the connection was lost")))
    })
    .await?;
    replicated.is_answered(&[("a", "1"), ("c", "2")]).await
}

async fn what_this_process_writes_is_read_at_once(version: &str) -> Result<()> {
    in_each_mode(
        version,
        |_| {},
        async |replicated| {
            let bucket = &replicated.bucket;
            let key = || vec!["own".to_owned()];
            replicated.put("other", "0").await?;
            replicated.is_right(&[("other", "0")]).await?;
            for number in 0..200 {
                let value = number.to_string();
                match number % 4 {
                    0 => {
                        let value = value.clone().into();
                        bucket.set("own".into(), value, within()).await?;
                    }
                    1 => {
                        let entries = vec![
                            ("x".into(), "x".into()),
                            ("own".into(), value.clone().into()),
                        ];
                        bucket.set_many(entries, within()).await?;
                    }
                    2 => {
                        bucket
                            .set("own".into(), (number - 1).to_string().into(), within())
                            .await?;
                        bucket.increment("own", 1, within()).await?;
                    }
                    _ => {
                        bucket.delete_many(key(), within()).await?;
                        ensure!(
                            bucket.get_many(&key(), within()).await? == [None],
                            "{number}"
                        );
                        // Another client writes, and this process learns of it from the leader.
                        replicated.put("own", &value).await?;
                        bucket.get("own", within()).await?;
                    }
                }
                let read = bucket.get_many(&key(), within()).await?;
                ensure!(read == [Some(value.into())], "{number}: {read:?}");
            }
            let stats = replicated.stats();
            ensure!(stats.hits > 100, "{stats:?}");
            ensure!(stats.fallbacks[&FallbackReason::Off] == 0, "{stats:?}");
            Ok(())
        },
    )
    .await
}

async fn a_link_with_a_copy_answers_and_leaves_no_consumer(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    let store = stack.create_bucket("orders", kv::Config::default()).await?;
    let link = stack
        .link("component", "orders")
        .config("replica", "bounded");
    stack.provider.put_link(&link).await?;
    let caller = stack.caller("component");
    caller.set_many("", &[("a", "1")]).await??;
    caller.get_many("", &["a"]).await??;
    logged(
        &stack.provider,
        &["the bucket is read from a copy in memory"],
    )
    .await?;
    ensure!(consumers(&stack.nats, "KV_orders").await? == 1);
    caller.set_many("", &[("a", "2"), ("b", "3")]).await??;
    caller.delete_many("", &["a"]).await??;
    let values = caller.get_many("", &["a", "b"]).await??;
    ensure!(values == [None, Some(b"3".to_vec())], "{values:?}");
    ensure!(caller.keys("").await?? == ["b"]);
    // Another client's change is seen, too.
    store.put("b", "4".into()).await?;
    eventually("the other client's value", async || {
        let values = caller.get_many("", &["b"]).await??;
        Ok((values == [Some(b"4".to_vec())]).then_some(()))
    })
    .await?;
    stack.provider.delete_link(&link).await?;
    eventually("the consumer is deleted", async || {
        Ok((consumers(&stack.nats, "KV_orders").await? == 0).then_some(()))
    })
    .await
}

fn within() -> Deadline {
    Deadline::after(Duration::from_secs(30))
}

/// Headers of these names and values.
fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.insert(*name, *value);
    }
    headers
}
