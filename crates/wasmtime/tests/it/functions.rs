//! Every function of the interfaces, in both shapes and in the draft.

use std::time::Duration;

use anyhow::Result;
use eventual_batch_links::{Links, RawSettings};
use eventual_batch_wasmtime::KeyValueLimits;

use testkit::NatsServer;

use crate::support::{CALLER, Host, bucket, server};

#[tokio::test(flavor = "multi_thread")]
async fn single_keys_are_set_read_and_deleted() -> Result<()> {
    let (nats, bucket) = server().await?;
    let host = Host::new(&nats, KeyValueLimits::default()).await?;
    assert_eq!(host.ok("get", &["default", "a"]).await?, "none");
    assert_eq!(host.ok("exists", &["default", "a"]).await?, "false");
    host.ok("set", &["default", "a", "one"]).await?;
    assert_eq!(bucket.get("a").await?, Some("one".into()));
    assert_eq!(host.ok("get", &["default", "a"]).await?, "one");
    assert_eq!(host.ok("get", &["orders", "a"]).await?, "one");
    assert_eq!(host.ok("size", &["", "a"]).await?, "3");
    assert_eq!(host.ok("exists", &["default", "a"]).await?, "true");
    host.ok("delete", &["default", "a"]).await?;
    host.ok("delete", &["default", "a"]).await?;
    assert_eq!(bucket.get("a").await?, None);
    host.ok("set", &["default", "empty", ""]).await?;
    assert_eq!(host.ok("size", &["default", "empty"]).await?, "0");
    assert_eq!(
        host.ok("get-as-stream", &["default", "empty", "4"]).await?,
        ""
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_keep_order_and_errors_name_the_key() -> Result<()> {
    let (nats, bucket) = server().await?;
    let host = Host::new(&nats, KeyValueLimits::default()).await?;
    let set = ["default", "a", "1", "b", "2", "a", "3"];
    host.ok("set-many", &set).await?;
    let read = ["default", "b", "never", "a", "b"];
    assert_eq!(host.ok("get-many", &read).await?, "2 none 3 2");
    assert_eq!(host.ok("keys", &["default"]).await?, "a b");
    let error = host
        .error("set-many", &["default", "c", "1", "a b", "2"])
        .await?;
    assert!(error.contains("\"a b\""), "{error}");
    host.ok("delete-many", &["default", "a", "never"]).await?;
    assert_eq!(host.ok("keys", &["default"]).await?, "b");
    assert_eq!(bucket.get("b").await?, Some("2".into()));
    assert_eq!(host.ok("get-many", &["default"]).await?, "");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_counted_with_and_swapped() -> Result<()> {
    let (nats, bucket) = server().await?;
    let host = Host::new(&nats, KeyValueLimits::default()).await?;
    assert_eq!(host.ok("increment", &["default", "n", "5"]).await?, "5");
    assert_eq!(host.ok("swap", &["default", "n", "4", "9"]).await?, "false");
    assert_eq!(host.ok("swap", &["default", "n", "5", "9"]).await?, "true");
    assert_eq!(
        host.ok("swap", &["default", "new", "0", "1"]).await?,
        "true"
    );
    assert_eq!(bucket.get("n").await?, Some("9".into()));
    bucket.put("n", "nine".into()).await?;
    for (action, args) in [
        ("swap", &["default", "n", "9", "1"][..]),
        ("increment", &["default", "n", "1"]),
    ] {
        let error = host.error(action, args).await?;
        assert!(error.contains("not a number"), "{error}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_read_and_written_as_streams() -> Result<()> {
    let (nats, bucket) = server().await?;
    let host = Host::new(&nats, KeyValueLimits::default()).await?;
    let parts = ["default", "a", "one ", "two ", "three"];
    host.ok("set-as-stream", &parts).await?;
    assert_eq!(bucket.get("a").await?, Some("one two three".into()));
    let read = host.ok("get-as-stream", &["default", "a", "5"]).await?;
    assert_eq!(read, "one t|wo th|ree");
    host.ok("set-as-stream", &["default", "a"]).await?;
    assert_eq!(
        bucket.get("a").await?,
        Some("".into()),
        "nothing was written"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_is_not_whole_is_an_error_that_names_its_key() -> Result<()> {
    let (nats, bucket) = server().await?;
    let host = Host::new(&nats, KeyValueLimits::default()).await?;
    let error = host
        .error("set-while-open", &["default", "the-key"])
        .await?;
    assert!(error.contains("\"the-key\""), "{error}");
    assert!(error.contains("still open"), "{error}");
    assert_eq!(bucket.get("other").await?, None, "nothing is written");
    let error = host.error("set-unwritten", &["default", "the-key"]).await?;
    assert!(error.contains("\"the-key\""), "{error}");
    assert!(error.contains("no body was written"), "{error}");
    let error = host.error("write-while-open", &["default"]).await?;
    assert!(error.contains("still open"), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_reaches_what_its_callers_links_grant() -> Result<()> {
    let (nats, _) = server().await?;
    let archive = bucket(&nats, "archive").await?;
    let host = Host::new(&nats, KeyValueLimits::default()).await?;
    let error = host.error("open", &["archive"]).await?;
    assert!(
        error.contains("grants no bucket named \"archive\""),
        "{error}"
    );
    assert_eq!(
        host.error("draft-open", &["archive"]).await?,
        "Error::NoSuchStore"
    );

    host.link(&nats, CALLER, "archive", "archive").await?;
    host.ok("set", &["archive", "a", "one"]).await?;
    assert_eq!(archive.get("a").await?, Some("one".into()));
    let context = host.key_value.context(CALLER).with_link("archive");
    let answer = host.run_in(context, "get", &["default", "a"]).await?;
    assert_eq!(answer, Ok("one".to_owned()));

    let stranger = || host.key_value.context("stranger");
    let error = host.run_in(stranger(), "open", &["default"]).await?;
    assert!(error.unwrap_err().contains("no link"));
    let error = host.run_in(stranger(), "draft-open", &["default"]).await?;
    assert_eq!(error, Err("Error::AccessDenied".to_owned()));

    host.link(&nats, CALLER, "gone", "gone").await?;
    let error = host.error("open", &["gone"]).await?;
    assert!(error.contains("gone"), "{error}");
    assert_eq!(
        host.error("draft-open", &["gone"]).await?,
        "Error::NoSuchStore"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_function_of_the_draft_works() -> Result<()> {
    let (nats, bucket) = server().await?;
    let host = Host::new(&nats, KeyValueLimits::default()).await?;
    assert_eq!(host.ok("draft-get", &["default", "a"]).await?, "none");
    host.ok("draft-set", &["default", "a", "one"]).await?;
    assert_eq!(host.ok("draft-get", &["default", "a"]).await?, "one");
    assert_eq!(host.ok("draft-exists", &["default", "a"]).await?, "true");
    host.ok("draft-set-many", &["default", "b", "2", "c", "3"])
        .await?;
    let read = ["default", "c", "never", "a"];
    let found = host.ok("draft-get-many", &read).await?;
    assert_eq!(found, "c=3 none a=one");
    assert_eq!(host.ok("draft-list-keys", &["default"]).await?, "a b c");
    host.ok("draft-delete-many", &["default", "b", "c"]).await?;
    host.ok("draft-delete", &["default", "a"]).await?;
    assert_eq!(host.ok("draft-list-keys", &["default"]).await?, "");
    assert_eq!(
        host.ok("draft-increment", &["default", "n", "3"]).await?,
        "3"
    );
    assert_eq!(bucket.get("n").await?, Some("3".into()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_the_draft_arrive_as_errors() -> Result<()> {
    let (nats, bucket) = server().await?;
    let host = Host::new(&nats, KeyValueLimits::default()).await?;
    bucket.put("n", "three".into()).await?;
    for (action, args, expected) in [
        (
            "draft-increment",
            &["default", "n", "1"][..],
            "not a number",
        ),
        ("draft-get", &["default", "a b"], "a b"),
        ("draft-set", &["default", "a b", "1"], "a b"),
        ("draft-get-many", &["default", "ok", "a b"], "a b"),
        ("draft-set-many", &["default", "a b", "1"], "a b"),
        ("draft-delete-many", &["default", "a b"], "a b"),
    ] {
        let error = host.error(action, args).await?;
        assert!(error.starts_with("Error::Other("), "{action}: {error}");
        assert!(error.contains(expected), "{action}: {error}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_of_the_older_shape_runs() -> Result<()> {
    let (nats, bucket) = server().await?;
    let said = run_pair(&nats, "older-shape", ("a", "one")).await?;
    let twice = ["3", "one", "the value was consumed before"];
    assert_eq!(said, [twice, twice].concat());
    assert_eq!(bucket.get("a").await?, Some("one".into()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_of_golems_interfaces_runs() -> Result<()> {
    let (nats, bucket) = server().await?;
    let said = run_pair(&nats, "golem", ("a", "one")).await?;
    let read = ["one", "none", "one", "one"];
    assert_eq!(said, [&read[..], &["false", "a-streamed"]].concat());
    assert_eq!(bucket.get("a-streamed").await?, Some("one".into()));
    Ok(())
}

/// What a component says that takes a key and a value.
async fn run_pair(nats: &NatsServer, component: &str, pair: (&str, &str)) -> Result<Vec<String>> {
    let links = Links::new("test", RawSettings::default(), Duration::from_mins(1));
    let host = Host::of(links, component, KeyValueLimits::default()).await?;
    host.link(nats, CALLER, "default", "orders").await?;
    let mut store = host.store(host.key_value.context(CALLER));
    let instance = host.instance(&mut store).await?;
    let run = instance
        .get_typed_func::<(&str, &str), (Result<Vec<String>, String>,)>(&mut store, "run")?;
    let (said,) = run.call_async(&mut store, pair).await?;
    said.map_err(anyhow::Error::msg)
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_that_is_down_is_an_error_and_no_trap() -> Result<()> {
    let (mut nats, _) = server().await?;
    let links = Links::new("test", RawSettings::default(), Duration::from_secs(1));
    let host = Host::of(links, "native", KeyValueLimits::default()).await?;
    host.link(&nats, CALLER, "default", "orders").await?;
    host.ok("set", &["default", "a", "one"]).await?;
    nats.stop().await?;
    for action in ["get", "draft-get", "keys"] {
        let error = host.error(action, &["default", "a"]).await?;
        assert!(error.contains("trying again may help"), "{error}");
    }
    nats.start().await?;
    while host.run("get", &["default", "a"]).await? != Ok("one".to_owned()) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}
