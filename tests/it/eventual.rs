//! `get` and `exists` of `wrpc:keyvalue/eventual-batch`, and batches of one key.

use crate::support::interface::{ErrorAnswer, refused};
use anyhow::{Context as _, Result, ensure};
use futures::StreamExt as _;
use testkit::async_nats::jetstream::kv;
use testkit::{LatticeCaller, Stack, Value};

const COMPONENT: &str = "component";

on_oldest_and_newest!(
    one_key_is_read_as_it_was_written,
    the_leader_answers_a_read_of_one_key,
    every_error_has_its_case_and_names_the_key,
    a_batch_of_one_key_that_is_not_written_names_the_key_and_counts_nothing,
);

async fn with_orders(
    version: &str,
    config: kv::Config,
) -> Result<(Stack, kv::Store, LatticeCaller)> {
    let stack = crate::support::stack(version).start().await?;
    let bucket = stack.create_bucket("orders", config).await?;
    let caller = crate::support::linked_with_long_timeout(&stack, COMPONENT, "orders").await?;
    Ok((stack, bucket, caller))
}

async fn one_key_is_read_as_it_was_written(version: &str) -> Result<()> {
    let (_stack, bucket, caller) = with_orders(version, kv::Config::default()).await?;
    assert_eq!(caller.get("default", "a").await??, None);
    assert!(!caller.exists("default", "a").await??);
    for value in [
        &b"one \xf0\x9f\xa6\x80"[..],
        b"",
        b"\xff\0",
        &vec![b'x'; 700_000],
    ] {
        caller.set_many("default", &[("a", value)]).await??;
        let found = caller.get("default", "a").await??;
        ensure!(found == Some(Value::from_bytes(value)), "not as written");
        assert!(caller.exists("default", "a").await??);
    }
    bucket.purge("a").await?;
    assert_eq!(caller.get("orders", "a").await??, None);
    assert!(!caller.exists("orders", "a").await??);
    Ok(())
}

/// A replica that lags behind must not answer a caller that reads what it wrote.
async fn the_leader_answers_a_read_of_one_key(version: &str) -> Result<()> {
    let (stack, bucket, caller) = with_orders(version, kv::Config::default()).await?;
    bucket.put("a", "1".into()).await?;
    let client = stack.nats.client().await?;
    let mut requests = client.subscribe("$JS.API.>").await?;
    client.flush().await?;
    caller.get("default", "a").await??;
    caller.exists("default", "a").await??;
    for _ in 0..2 {
        loop {
            let request = requests.next().await.context("no request")?;
            let subject = request.subject.as_str();
            ensure!(!subject.contains("DIRECT.GET"), "{subject}");
            if subject == "$JS.API.STREAM.MSG.GET.KV_orders" {
                break;
            }
        }
    }
    Ok(())
}

async fn every_error_has_its_case_and_names_the_key(version: &str) -> Result<()> {
    let (stack, _, caller) = with_orders(version, kv::Config::default()).await?;
    let missing = stack.link(COMPONENT, "no-such-bucket").name("missing");
    stack.provider.put_link(&missing).await?;
    for (name, key, case, words) in [
        ("elsewhere", "a", "no-such-bucket", "\"elsewhere\""),
        ("missing", "a", "no-such-bucket", "`no-such-bucket`"),
        ("default", "a b", "invalid-argument", "\"a b\""),
        ("default", "", "invalid-argument", "is empty"),
    ] {
        for error in both(&caller, name, key).await? {
            assert_eq!(error.case, case, "{name} {key}: {error}");
            assert!(error.text.contains(words), "{name} {key}: {error}");
        }
    }
    for error in both(&stack.caller("stranger"), "default", "a").await? {
        assert_eq!(error.case, "access-denied", "{error}");
        assert!(error.text.contains("no link"), "{error}");
    }
    Ok(())
}

/// The errors of both operations.
async fn both(caller: &LatticeCaller, bucket: &str, key: &str) -> Result<[ErrorAnswer; 2]> {
    let get = refused(caller.get(bucket, key).await?);
    let exists = refused(caller.exists(bucket, key).await?);
    Ok([get.context("get")?, exists.context("exists")?])
}

async fn a_batch_of_one_key_that_is_not_written_names_the_key_and_counts_nothing(
    version: &str,
) -> Result<()> {
    let config = kv::Config {
        max_bytes: 2000,
        ..kv::Config::default()
    };
    let (_stack, _, caller) = with_orders(version, config).await?;
    let value = "x".repeat(1000);
    caller.set_many("default", &[("one", &value)]).await??;
    let error = refused(caller.set_many("default", &[("two", &value)]).await?)?;
    for words in ["key \"two\" could not be set: ", "maximum bytes exceeded"] {
        assert!(error.text.contains(words), "{error}");
    }
    assert!(!error.text.contains("1 of 1"), "{error}");
    let two = [("two", &value), ("three", &value)];
    let error = refused(caller.set_many("default", &two).await?)?;
    assert!(
        error.text.contains("2 of 2 keys could not be set (first: "),
        "{error}"
    );
    Ok(())
}
