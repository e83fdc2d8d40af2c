//! A store that is dropped in mid-call.

use std::time::Duration;

use anyhow::{Context as _, Result};
use eventual_batch_wasmtime::KeyValueLimits;
use futures::StreamExt as _;
use tokio::time::timeout;

use crate::support::{Host, server};

const LONG: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_write_ends_though_its_store_is_dropped() -> Result<()> {
    const KEYS: u64 = 90_000;
    let (nats, _) = server().await?;
    let host = Host::new(&nats, KeyValueLimits::default()).await?;
    let mut batch = Box::pin(host.run("set-many-of", &["default", "90000", "100"]));
    // A subscriber beside the bucket's stream sees the first write as soon as the server has it.
    let mut writes = nats.client().await?.subscribe("$KV.>").await?;
    tokio::select! {
        biased;
        first = writes.next() => assert!(first.is_some(), "the subscription has ended"),
        answer = &mut batch => panic!("it ended too early: {answer:?}"),
    }
    drop(writes);
    drop(batch);
    timeout(LONG, host.key_value.drain()).await?;
    let stream = nats.jetstream().await?.get_stream("KV_orders").await?;
    assert_eq!(stream.cached_info().state.messages, KEYS);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_counts_until_it_has_ended_though_its_store_is_dropped() -> Result<()> {
    let limits = KeyValueLimits {
        max_total_bytes: 10_000_000,
        ..KeyValueLimits::default()
    };
    for action in ["set-many-own", "draft-set-many-own"] {
        let (nats, _) = server().await?;
        let host = Host::new(&nats, limits).await?;
        host.ok("set", &["default", "a", "one"]).await?;
        let three_megabytes = ["default", "30", "100000"];
        nats.pause().await?;
        // Each leaves a write behind, if it came so far within its time.
        let mut refused = None;
        for _ in 0..20 {
            let batch = host.run(action, &three_megabytes);
            if let Ok(answer) = timeout(Duration::from_secs(1), batch).await {
                refused = Some(answer?);
                break;
            }
        }
        let refused = refused.context("none of the writes was refused")?;
        let error = refused.unwrap_err();
        assert!(error.contains("`max_total_bytes` = 10000000"), "{error}");
        nats.resume()?;
        timeout(LONG, host.key_value.drain()).await?;
        host.ok(action, &three_megabytes).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_stops_when_its_store_is_dropped() -> Result<()> {
    let (nats, _) = server().await?;
    let limits = KeyValueLimits {
        max_calls: 1,
        ..KeyValueLimits::default()
    };
    let host = Host::new(&nats, limits).await?;
    host.ok("set", &["default", "a", "one"]).await?;
    nats.pause().await?;
    for _ in 0..3 {
        // Each would be refused if one before it went on.
        let read = timeout(
            Duration::from_millis(100),
            host.run("get", &["default", "a"]),
        );
        assert!(read.await.is_err(), "a frozen server has answered");
    }
    nats.resume()?;
    assert_eq!(host.ok("get", &["default", "a"]).await?, "one");
    Ok(())
}
