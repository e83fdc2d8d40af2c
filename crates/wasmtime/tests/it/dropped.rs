//! A store that is dropped in mid-call.

use std::time::Duration;

use anyhow::Result;
use eventual_batch_wasmtime::KeyValueLimits;
use tokio::time::{sleep, timeout};

use crate::support::{Host, server};

const LONG: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_write_ends_though_its_store_is_dropped() -> Result<()> {
    const KEYS: u64 = 90_000;
    let (nats, bucket) = server().await?;
    let host = Host::new(&nats, KeyValueLimits::default()).await?;
    let mut batch = Box::pin(host.run("set-many-of", &["default", "90000", "100"]));
    let begun = async {
        while bucket.status().await?.values() == 0 {
            sleep(Duration::from_millis(1)).await;
        }
        anyhow::Ok(())
    };
    tokio::select! {
        biased;
        begun = begun => begun?,
        answer = &mut batch => panic!("it ended too early: {answer:?}"),
    }
    drop(batch);
    timeout(LONG, host.key_value.drain()).await?;
    assert_eq!(bucket.status().await?.values(), KEYS);
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
