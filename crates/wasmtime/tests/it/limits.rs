//! A component that asks for too much gets an error or a trap, and others go on.

use anyhow::Result;
use eventual_batch_wasmtime::KeyValueLimits;

use crate::support::{CALLER, Host, bucket, server};

fn small() -> KeyValueLimits {
    KeyValueLimits {
        max_resources: 1000,
        max_bytes: 1024 * 1024,
        ..KeyValueLimits::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_without_end_are_an_error_or_a_trap() -> Result<()> {
    let (nats, _) = server().await?;
    let host = Host::new(&nats, small()).await?;
    let error = host.error("hoard-outgoing", &["default", "65536"]).await?;
    assert!(error.contains("`max_bytes` = 1048576"), "{error}");
    // `new-outgoing-value` has no error.
    let trap = host.run("hoard-outgoing", &["default", "1"]).await;
    let trap = format!("{:#}", trap.unwrap_err());
    assert!(trap.contains("`max_resources` = 1000"), "{trap}");

    let large = "x".repeat(10_000);
    host.ok("set", &["default", "a", &large]).await?;
    let error = host.error("hoard-incoming", &["default", "a"]).await?;
    assert!(error.contains("`max_bytes` = 1048576"), "{error}");
    host.ok("set", &["default", "a", "small"]).await?;
    // The error of the batch that does not fit is a resource itself, for which there is room again.
    let error = host.error("hoard-incoming", &["default", "a"]).await?;
    assert!(error.contains("`max_resources` = 1000"), "{error}");
    let trap = host.run("hoard-errors", &["default"]).await;
    assert!(format!("{:#}", trap.unwrap_err()).contains("max_resources"));

    // What they held was given back with their stores.
    let host_wide = KeyValueLimits {
        max_total_bytes: 2 * 1024 * 1024,
        ..small()
    };
    let host = Host::new(&nats, host_wide).await?;
    for _ in 0..5 {
        host.error("hoard-outgoing", &["default", "65536"]).await?;
    }
    assert_eq!(host.ok("get", &["default", "a"]).await?, "small");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_over_the_limit_are_errors_in_both_interfaces() -> Result<()> {
    let (nats, orders) = server().await?;
    for key in ["a", "b"] {
        orders.put(key, vec![b'x'; 60_000].into()).await?;
    }
    orders.put("large", vec![b'x'; 120_000].into()).await?;
    let names = bucket(&nats, "names").await?;
    for number in 0..200 {
        let name = format!("{number:0>1000}");
        names.put(name, "".into()).await?;
    }
    let limits = KeyValueLimits {
        max_bytes: 100_000,
        ..KeyValueLimits::default()
    };
    let host = Host::new(&nats, limits).await?;
    host.link(&nats, CALLER, "names", "names").await?;
    for (action, args) in [
        ("get", &["default", "large"][..]),
        ("get-many", &["default", "a", "b"]),
        ("keys", &["names"]),
        ("draft-get", &["default", "large"]),
        ("draft-get-many", &["default", "a", "b"]),
        ("draft-list-keys", &["names"]),
    ] {
        let error = host.error(action, args).await?;
        assert!(error.contains("`max_bytes` = 100000"), "{action}: {error}");
        // In a store of its own, what fits is answered.
        for action in ["get", "draft-get"] {
            assert_eq!(host.ok(action, &["default", "a"]).await?.len(), 60_000);
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_without_end_breaks_its_value() -> Result<()> {
    let (nats, bucket) = server().await?;
    let host = Host::new(&nats, small()).await?;
    let error = host.error("endless-stream", &["default", "a"]).await?;
    assert!(error.contains("\"a\""), "{error}");
    assert!(error.contains("`max_bytes` = 1048576"), "{error}");
    assert_eq!(bucket.get("a").await?, None);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_beyond_the_limit_are_refused_with_a_sentence() -> Result<()> {
    let (nats, _) = server().await?;
    let limits = KeyValueLimits {
        max_calls: 1,
        ..KeyValueLimits::default()
    };
    let host = Host::new(&nats, limits).await?;
    host.ok("set", &["default", "a", "one"]).await?;
    nats.pause().await?;
    let context = || host.key_value.context(CALLER);
    let mut first = Box::pin(host.run_in(context(), "get", &["default", "a"]));
    let mut second = Box::pin(host.run_in(context(), "get", &["default", "a"]));
    let refused = tokio::select! {
        answer = &mut first => answer?,
        answer = &mut second => answer?,
    };
    let error = refused.unwrap_err();
    assert!(error.contains("`max_calls` = 1"), "{error}");
    drop((first, second));
    nats.resume()?;
    // A read that was dropped is no longer under way.
    assert_eq!(host.ok("get", &["default", "a"]).await?, "one");
    Ok(())
}
