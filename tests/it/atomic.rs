//! `wrpc:keyvalue/atomic`: numbers that many count with, over the lattice.

use std::time::Duration;

use crate::support::interface::{ErrorAnswer, refused};
use anyhow::{Context as _, Result};
use futures::future::try_join_all;
use testkit::async_nats::jetstream::kv;
use testkit::{LatticeCaller, LinkDefinition, Provider, Stack};

const COMPONENT: &str = "component";

on_oldest_and_newest!(
    a_number_is_counted_with_and_swapped,
    every_error_has_its_case_and_says_what_is_wrong,
    swaps_of_many_callers_through_two_instances_are_exact,
);

async fn with_orders(version: &str) -> Result<(Stack, kv::Store, LatticeCaller)> {
    let stack = crate::support::stack(version).start().await?;
    let bucket = stack.create_bucket("orders", kv::Config::default()).await?;
    stack.provider.put_link(&link(&stack)).await?;
    let caller = stack.caller(COMPONENT);
    Ok((stack, bucket, caller.with_timeout(Duration::from_secs(60))))
}

fn link(stack: &Stack) -> LinkDefinition {
    let link = stack.link(COMPONENT, "orders").interface("wrpc", "atomic");
    link.config("timeout", "60s")
}

async fn a_number_is_counted_with_and_swapped(version: &str) -> Result<()> {
    let (_stack, bucket, caller) = with_orders(version).await?;
    let atomic = caller.atomic();
    let swap =
        async |old, new| anyhow::Ok(atomic.compare_and_swap("default", "a", old, new).await??);
    assert!(!swap(1, 2).await?, "a key without a value is 0");
    assert_eq!(bucket.get("a").await?, None, "and nothing is written");
    assert_eq!(atomic.increment("default", "a", 40).await??, 40);
    assert_eq!(atomic.increment("", "a", 2).await??, 42);
    assert!(swap(42, u64::MAX).await?);
    assert_eq!(bucket.get("a").await?, Some(u64::MAX.to_string().into()));
    assert!(!swap(42, 1).await?);
    assert!(swap(u64::MAX, 0).await?);
    bucket.put("a", "7".into()).await?;
    assert!(swap(7, 8).await?, "what another client wrote counts");
    bucket.delete("a").await?;
    assert!(swap(0, 1).await?, "a deleted key is 0");
    assert_eq!(bucket.get("a").await?, Some("1".into()));
    Ok(())
}

async fn every_error_has_its_case_and_says_what_is_wrong(version: &str) -> Result<()> {
    let (stack, bucket, caller) = with_orders(version).await?;
    let missing = stack.link(COMPONENT, "no-such-bucket").name("missing");
    stack.provider.put_link(&missing).await?;
    bucket.put("text", "words".into()).await?;
    bucket.put("full", u64::MAX.to_string().into()).await?;
    for (name, key, case, words) in [
        ("elsewhere", "a", "no-such-bucket", "\"elsewhere\""),
        ("missing", "a", "no-such-bucket", "`no-such-bucket`"),
        ("default", "a b", "invalid-argument", "\"a b\""),
        ("default", "text", "invalid-argument", "not a number"),
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
    let error = refused(caller.atomic().increment("default", "full", 1).await?)?;
    assert_eq!(error.case, "invalid-argument", "{error}");
    assert!(error.text.contains("\"full\""), "{error}");
    assert!(error.text.contains("2^64 - 1"), "{error}");

    assert_eq!(bucket.get("text").await?, Some("words".into()));
    assert_eq!(bucket.get("full").await?, Some(u64::MAX.to_string().into()));
    assert_eq!(bucket.get("a").await?, None);
    Ok(())
}

/// The errors of both operations.
async fn both(caller: &LatticeCaller, bucket: &str, key: &str) -> Result<[ErrorAnswer; 2]> {
    let atomic = caller.atomic();
    let increment = refused(atomic.increment(bucket, key, 1).await?);
    let swap = refused(atomic.compare_and_swap(bucket, key, 0, 1).await?);
    Ok([increment.context("increment")?, swap.context("swap")?])
}

/// Each swap adds one, so the number is how often one succeeded.
async fn swaps_of_many_callers_through_two_instances_are_exact(version: &str) -> Result<()> {
    const CALLERS: u64 = 8;
    const EACH: u64 = 25;
    let (stack, bucket, caller) = with_orders(version).await?;
    let _second = Provider::builder(stack.lattice().url())
        .binary(crate::support::PROVIDER)
        .instance_of(&stack.provider)
        .link(link(&stack))
        .start()
        .await?;
    let swapping = (0..CALLERS).map(|_| {
        let caller = caller.clone();
        tokio::spawn(async move {
            let (atomic, mut seen) = (caller.atomic(), 0);
            for _ in 0..EACH {
                while !atomic
                    .compare_and_swap("default", "a", seen, seen + 1)
                    .await??
                {
                    seen = atomic.increment("default", "a", 0).await??;
                }
            }
            anyhow::Ok(())
        })
    });
    for outcome in try_join_all(swapping).await? {
        outcome?;
    }
    let total = (CALLERS * EACH).to_string();
    assert_eq!(bucket.get("a").await?, Some(total.into()));
    Ok(())
}
