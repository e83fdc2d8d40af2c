//! What it costs to open a bucket, and what an operation on one key says of it.

use anyhow::{Context as _, Result};
use eventual_batch_wasmtime::KeyValueLimits;
use futures::{FutureExt as _, StreamExt as _};

use crate::support::{Host, server};

/// As a host does that instantiates a component anew for each request.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_opens_a_bucket_in_use_costs_no_round_trip_more() -> Result<()> {
    let (nats, _) = server().await?;
    let host = Host::new(&nats, KeyValueLimits::default()).await?;
    let client = nats.client().await?;
    let subject = "$JS.API.STREAM.INFO.KV_orders";
    let mut asked = client.subscribe(subject).await?;
    let inbox = client.new_inbox();
    let mut echoes = client.subscribe(inbox.clone()).await?;
    client.flush().await?;
    for action in ["get", "draft-get", "get"] {
        assert_eq!(host.ok(action, &["default", "a"]).await?, "none");
    }
    host.ok("set", &["default", "a", "one"]).await?;
    // The server passes a request on before it answers: all of them are here once this is.
    client.publish(inbox, "".into()).await?;
    echoes.next().await.context("the server is gone")?;
    let mut count = 0;
    while asked.next().now_or_never().flatten().is_some() {
        count += 1;
    }
    assert_eq!(count, 1, "once, by the first");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_gone_is_an_error_of_the_next_operation() -> Result<()> {
    let (nats, _) = server().await?;
    let host = Host::new(&nats, KeyValueLimits::default()).await?;
    host.ok("set", &["default", "a", "one"]).await?;
    let jetstream = nats.jetstream().await?;
    jetstream.delete_key_value("orders").await?;
    let error = host.error("get", &["default", "a"]).await?;
    assert!(error.contains("does not exist"), "{error}");
    let error = host.error("open", &["default"]).await?;
    assert!(error.contains("does not exist"), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_cannot_be_set_is_named_and_not_counted() -> Result<()> {
    let (nats, bucket) = server().await?;
    let host = Host::new(&nats, KeyValueLimits::default()).await?;
    host.ok("set", &["default", "a", "one"]).await?;
    let mut config = bucket.stream.cached_info().config.clone();
    config.max_bytes = 1;
    let jetstream = nats.jetstream().await?;
    // The stream keeps what it has, and takes nothing new.
    jetstream.update_stream(config).await?;
    for (action, args, done) in [
        ("set", &["default", "the-key", "x"][..], "set"),
        ("delete", &["default", "the-key"], "deleted"),
    ] {
        let error = host.error(action, args).await?;
        let named = format!("key \"the-key\" could not be {done}: ");
        assert!(error.starts_with(&named), "{error}");
        assert!(!error.contains("1 of 1"), "{error}");
    }
    Ok(())
}
