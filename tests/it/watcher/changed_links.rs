//! Links that are put again with other settings, and links that are refused.

use super::setup::{
    BUCKET, COMPONENT, acknowledged, admin, at_once, bucket, component, consumers, link, returned,
    stack, texts, watch, with_logins,
};
use crate::support::waiting::{eventually, unhealthy};
use anyhow::{Context as _, Result};
use testkit::Stack;
use testkit::async_nats::jetstream::consumer;

on_version!(
    newest_only,
    testkit::NEWEST,
    [
        other_addresses_of_the_same_servers_lose_nothing,
        another_login_loses_nothing,
        whether_changes_are_kept_may_change,
        a_refused_link_is_in_the_health_and_takes_its_consumer_along,
        a_refused_link_goes_on_where_it_stood,
    ]
);

const CHANGES: [&str; 3] = ["1", "2", "3"];

async fn other_addresses_of_the_same_servers_lose_nothing(version: &str) -> Result<()> {
    let stack = stack(version).await?;
    let bucket = bucket(&stack, 5).await?;
    let before = link(&stack, ">");
    watch(&stack, &before).await?;
    for value in CHANGES {
        bucket.put("a", value.into()).await?;
    }
    let url = stack.nats.url();
    let both = format!("{url},{}", url.replace("127.0.0.1", "localhost"));
    let after = before.config("cluster_uri", both);
    stack.provider.put_link(&after).await?;
    let component = component(&stack, at_once).await?;
    assert_eq!(component.wait_for_text("a=3").await?, ["a=1", "a=2", "a=3"]);
    consumers(&stack, 1).await
}

async fn another_login_loses_nothing(version: &str) -> Result<()> {
    let stack = with_logins(version, &["one", "two"], &[">"]).await?;
    let bucket = admin(&stack).await?.get_key_value(BUCKET).await?;
    for user in ["one", "two"] {
        let link = link(&stack, ">").config("username", user);
        let link = link.secret("password", format!("p{user}"));
        stack.provider.put_link(&link).await?;
        if user == "one" {
            consumer_config(&stack).await?;
            for value in CHANGES {
                bucket.put("a", value.into()).await?;
            }
        }
    }
    let component = component(&stack, at_once).await?;
    let all = component.wait_for_text("a=3").await?;
    assert_eq!(all.last().map(String::as_str), Some("a=3"));
    assert_eq!(bucket.stream.get_info().await?.state.consumer_count, 1);
    Ok(())
}

async fn whether_changes_are_kept_may_change(version: &str) -> Result<()> {
    let stack = stack(version).await?;
    bucket(&stack, 5).await?;
    let link = link(&stack, ">");
    for (durable, is_kept) in [("false", false), ("true", true), ("false", false)] {
        let link = link.clone().config("watch_durable", durable);
        stack.provider.put_link(&link).await?;
        eventually("the consumer to be kept or not", async || {
            let config = consumer_config(&stack).await?;
            Ok((config.inactive_threshold.is_zero() == is_kept).then_some(()))
        })
        .await?;
    }
    Ok(())
}

/// The configuration of the only consumer.
async fn consumer_config(stack: &Stack) -> Result<consumer::Config> {
    let jetstream = admin(stack).await?;
    let stream = jetstream.get_stream(format!("KV_{BUCKET}")).await?;
    eventually("the consumer", async || {
        let mut infos = stream.consumers();
        let info = futures::StreamExt::next(&mut infos).await;
        Ok(info.transpose()?.map(|info| info.config))
    })
    .await
}

async fn a_refused_link_is_in_the_health_and_takes_its_consumer_along(version: &str) -> Result<()> {
    let stack = stack(version).await?;
    bucket(&stack, 1).await?;
    let good = link(&stack, ">");
    let bad = link(&stack, "a..b");
    watch(&stack, &good).await?;
    stack.provider.put_link(&bad).await?;
    let message = unhealthy(&stack.provider).await?.message;
    let message = message.context("a message")?;
    assert!(
        message.contains(COMPONENT) && message.contains("refused"),
        "{message}"
    );
    assert!(message.contains("a..b"), "{message}");
    stack.provider.delete_link(&bad).await?;
    consumers(&stack, 0).await?;
    eventually("health", async || {
        Ok(stack.provider.health().await?.healthy.then_some(()))
    })
    .await?;

    // A link that watches another bucket next.
    watch(&stack, &good).await?;
    stack.provider.put_link(&bad).await?;
    let other = good.config("bucket", "other");
    stack.provider.put_link(&other).await?;
    consumers(&stack, 0).await
}

async fn a_refused_link_goes_on_where_it_stood(version: &str) -> Result<()> {
    let stack = stack(version).await?;
    let bucket = bucket(&stack, 5).await?;
    let component = component(&stack, at_once).await?;
    watch(&stack, &link(&stack, ">")).await?;
    bucket.put("a", "1".into()).await?;
    component.wait_for_text("a=1").await?;
    // A call that is under way when a link is refused is made again.
    acknowledged(&bucket, 1).await?;
    stack.provider.put_link(&link(&stack, "a..b")).await?;
    unhealthy(&stack.provider).await?;
    bucket.put("a", "2".into()).await?;
    let short = link(&stack, ">").config("watch_timeout", "3s");
    stack.provider.put_link(&short).await?;
    let calls = returned(&component, "a=2").await?;
    assert_eq!(texts(&calls), ["a=1", "a=2"]);
    Ok(())
}
