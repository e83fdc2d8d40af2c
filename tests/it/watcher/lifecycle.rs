//! Links that are put, changed and deleted, and providers, servers and buckets that end and begin.

use super::setup::{
    BUCKET, COMPONENT, SHORT, at_once, bucket, component, consumers, consumers_now, link, returned,
    stack, started_again, texts, watch,
};
use crate::support::waiting::{eventually, logged, unhealthy};
use anyhow::Result;
use std::time::Duration;
use testkit::{LinkDefinition, Reply, Told};

on_oldest_and_newest!(
    changes_made_while_the_provider_is_stopped_come_later,
    a_link_that_goes_takes_its_consumer_along,
    a_bucket_may_be_missing_and_be_made_again,
);
on_version!(
    newest_only,
    testkit::NEWEST,
    [
        a_change_under_way_is_waited_for_when_the_provider_stops,
        what_is_not_durable_is_not_kept,
        a_second_put_changes_the_watch,
        a_consumer_that_is_deleted_is_made_again,
        bad_settings_are_refused_with_what_is_wrong,
        servers_that_are_down_are_waited_for,
        a_bucket_may_be_made_again_during_a_call,
    ]
);

async fn changes_made_while_the_provider_is_stopped_come_later(version: &str) -> Result<()> {
    let mut stack = stack(version).await?;
    let bucket = bucket(&stack, 5).await?;
    let component = component(&stack, at_once).await?;
    let link = link(&stack, ">");
    watch(&stack, &link).await?;
    bucket.put("a", "1".into()).await?;
    component.wait_for_text("a=1").await?;

    stack.provider.shutdown().await?;
    bucket.put("a", "2".into()).await?;
    bucket.put("b", "1".into()).await?;
    bucket.delete("b").await?;
    assert_eq!(consumers_now(&stack).await?, 1, "it keeps the changes");
    let provider = started_again(&stack, &link).await?;
    returned(&component, "a=2").await?;
    let calls = returned(&component, "b deleted").await?;
    let mut all = texts(&calls);
    all.sort_unstable();
    assert_eq!(all, ["a=1", "a=2", "b deleted", "b=1"]);
    drop(provider);
    Ok(())
}

async fn a_change_under_way_is_waited_for_when_the_provider_stops(version: &str) -> Result<()> {
    let mut stack = stack(version).await?;
    let bucket = bucket(&stack, 5).await?;
    let slow = |_: &Told| Reply::After(SHORT * 3);
    let component = component(&stack, slow).await?;
    let link = link(&stack, ">").config("watch_timeout", "20s");
    watch(&stack, &link).await?;
    bucket.put("a", "1".into()).await?;
    bucket.put("a", "2".into()).await?;
    component.wait_for_text("a=1").await?;
    stack.provider.shutdown().await?;
    assert_eq!(texts(&component.calls()), ["a=1"]);
    assert!(component.calls()[0].returned.is_some(), "it was waited for");
    let _provider = started_again(&stack, &link).await?;
    let calls = returned(&component, "a=2").await?;
    assert_eq!(texts(&calls), ["a=1", "a=2"], "each once");
    Ok(())
}

async fn what_is_not_durable_is_not_kept(version: &str) -> Result<()> {
    let mut stack = stack(version).await?;
    let bucket = bucket(&stack, 5).await?;
    let mut fails = true;
    let component = component(&stack, move |told| {
        if told.text() == "a=1" && std::mem::take(&mut fails) {
            Reply::Never
        } else {
            Reply::NOW
        }
    })
    .await?;
    let link = link(&stack, ">").config("watch_durable", "false");
    let link = link.config("watch_timeout", "300ms");
    watch(&stack, &link).await?;
    bucket.put("a", "1".into()).await?;
    bucket.put("a", "2".into()).await?;
    let calls = returned(&component, "a=2").await?;
    assert_eq!(texts(&calls), ["a=1", "a=2"], "nothing is tried again");

    stack.provider.shutdown().await?;
    consumers(&stack, 0).await?;
    bucket.put("a", "3".into()).await?;
    let _provider = started_again(&stack, &link).await?;
    consumers(&stack, 1).await?;
    bucket.put("a", "4".into()).await?;
    let calls = returned(&component, "a=4").await?;
    assert_eq!(texts(&calls), ["a=1", "a=2", "a=4"]);
    Ok(())
}

async fn a_link_that_goes_takes_its_consumer_along(version: &str) -> Result<()> {
    let stack = stack(version).await?;
    let bucket = bucket(&stack, 1).await?;
    let component = component(&stack, at_once).await?;
    let link = link(&stack, ">");
    watch(&stack, &link).await?;
    bucket.put("a", "1".into()).await?;
    component.wait_for_text("a=1").await?;
    stack.provider.delete_link(&link).await?;
    consumers(&stack, 0).await?;
    bucket.put("a", "2".into()).await?;

    // From when it is put again.
    watch(&stack, &link).await?;
    bucket.put("a", "3".into()).await?;
    assert_eq!(component.wait_for_text("a=3").await?, ["a=1", "a=3"]);

    // One of two links of the component.
    let second = link.clone().name("second");
    stack.provider.put_link(&second).await?;
    consumers(&stack, 2).await?;
    stack.provider.delete_link(&link).await?;
    consumers(&stack, 1).await?;
    bucket.put("a", "4".into()).await?;
    let calls = component.wait_for("a=4", |calls| calls.len() == 3).await?;
    assert_eq!(calls[2].link.as_deref(), Some("second"));
    Ok(())
}

async fn a_second_put_changes_the_watch(version: &str) -> Result<()> {
    let stack = stack(version).await?;
    let bucket = bucket(&stack, 1).await?;
    let component = component(&stack, at_once).await?;
    watch(&stack, &link(&stack, "a")).await?;
    bucket.put("a", "1".into()).await?;
    component.wait_for_text("a=1").await?;
    stack.provider.put_link(&link(&stack, "b")).await?;
    // The consumer of before is used, with another filter.
    eventually("the other filter", async || {
        let jetstream = stack.nats.jetstream().await?;
        let stream = jetstream.get_stream(format!("KV_{BUCKET}")).await?;
        let mut names = stream.consumer_names();
        let name = futures::StreamExt::next(&mut names).await;
        let Some(Ok(name)) = name else {
            return Ok(None);
        };
        let info = stream.consumer_info(name).await?;
        let filters = [
            info.config.filter_subjects,
            vec![info.config.filter_subject],
        ]
        .concat();
        Ok(filters.contains(&"$KV.orders.b".to_owned()).then_some(()))
    })
    .await?;
    assert_eq!(consumers_now(&stack).await?, 1);
    bucket.put("a", "2".into()).await?;
    bucket.put("b", "1".into()).await?;
    assert_eq!(component.wait_for_text("b=1").await?, ["a=1", "b=1"]);

    // A refused put ends the watch, and does not go on with the settings of before.
    stack.provider.put_link(&link(&stack, "b..c")).await?;
    bucket.put("b", "2".into()).await?;
    stack.provider.put_link(&link(&stack, "b")).await?;
    bucket.put("b", "3".into()).await?;
    component.wait_for_text("b=3").await?;
    Ok(())
}

async fn a_bucket_may_be_missing_and_be_made_again(version: &str) -> Result<()> {
    let stack = stack(version).await?;
    let component = component(&stack, at_once).await?;
    stack.provider.put_link(&link(&stack, ">")).await?;
    eventually("health that names the bucket", async || {
        let message = stack.provider.health().await?.message.unwrap_or_default();
        let names = message.contains(COMPONENT) && message.contains("`orders` does not exist");
        Ok(names.then_some(()))
    })
    .await?;

    // What is written before the provider finds the bucket is told too.
    let created = bucket(&stack, 1).await?;
    created.put("a", "1".into()).await?;
    component.wait_for_text("a=1").await?;
    eventually("health", async || {
        Ok(stack.provider.health().await?.healthy.then_some(()))
    })
    .await?;

    let jetstream = stack.nats.jetstream().await?;
    jetstream.delete_key_value(BUCKET).await?;
    let created = bucket(&stack, 1).await?;
    created.put("b", "2".into()).await?;
    component.wait_for_text("b=2").await?;
    Ok(())
}

/// The call for the bucket that is gone must not count for a change of the new one, which has the same
/// sequence.
async fn a_bucket_may_be_made_again_during_a_call(version: &str) -> Result<()> {
    let stack = stack(version).await?;
    let created = bucket(&stack, 1).await?;
    let component = component(&stack, |told| match told.key.as_str() {
        "a" => Reply::After(Duration::from_secs(3)),
        _ => Reply::NOW,
    })
    .await?;
    watch(&stack, &link(&stack, ">").config("watch_timeout", "10s")).await?;
    created.put("a", "1".into()).await?;
    component.wait_for_text("a=1").await?;
    let jetstream = stack.nats.jetstream().await?;
    jetstream.delete_key_value(BUCKET).await?;
    let created = bucket(&stack, 1).await?;
    created.put("b", "2".into()).await?;
    component.wait_for_text("b=2").await?;
    Ok(())
}

async fn a_consumer_that_is_deleted_is_made_again(version: &str) -> Result<()> {
    let stack = stack(version).await?;
    let bucket = bucket(&stack, 5).await?;
    let component = component(&stack, at_once).await?;
    watch(&stack, &link(&stack, ">")).await?;
    bucket.put("a", "1".into()).await?;
    returned(&component, "a=1").await?;
    let jetstream = stack.nats.jetstream().await?;
    let stream = jetstream.get_stream(format!("KV_{BUCKET}")).await?;
    let mut names = stream.consumer_names();
    while let Some(name) = futures::StreamExt::next(&mut names).await {
        stream.delete_consumer(&name?).await?;
    }
    // Nothing that is written meanwhile is missed.
    for value in ["2", "3", "4"] {
        bucket.put("a", value.into()).await?;
    }
    let all = component.wait_for_text("a=4").await?;
    assert_eq!(all[all.len() - 3..], ["a=2", "a=3", "a=4"]);
    Ok(())
}

async fn bad_settings_are_refused_with_what_is_wrong(version: &str) -> Result<()> {
    let stack = stack(version).await?;
    bucket(&stack, 1).await?;
    for (key, value, says) in [
        ("watch", "a..b", "two dots"),
        ("watch", "SETT@a", "`SET@` or"),
        ("watch_from", "begin", "`new` or `last`"),
        (
            "watch_max_in_flight",
            "many",
            "a whole number from 1 to 1024",
        ),
        ("watch_timeout", "soon", "a duration"),
        ("password", "hunter2", "needs `username`"),
    ] {
        let link = link(&stack, ">").config(key, value);
        stack.provider.put_link(&link).await?;
        let error = logged(&stack.provider, &["refused link", COMPONENT, key, says]).await?;
        assert!(!error.contains("hunter2"), "{error}");
    }
    let missing = LinkDefinition::to_watcher(COMPONENT).config("bucket", BUCKET);
    stack.provider.put_link(&missing).await?;
    logged(&stack.provider, &["refused link", "`watch` is missing"]).await?;
    let other = link(&stack, ">").interface("wasi", "incoming-handler");
    stack.provider.put_link(&other).await?;
    logged(&stack.provider, &["refused link", "--interface watcher"]).await?;
    assert_eq!(consumers_now(&stack).await?, 0);

    // Keys that mean nothing here, or there.
    let useless = link(&stack, ">").config("replica", "fresh");
    stack.provider.put_link(&useless).await?;
    let parts = ["WARN", "replica", "no meaning on a link that watches"];
    logged(&stack.provider, &parts).await?;
    let useless = stack.link(COMPONENT, BUCKET).config("watch", ">");
    stack.provider.put_link(&useless).await?;
    logged(&stack.provider, &["WARN", "--source-config"]).await?;
    Ok(())
}

async fn servers_that_are_down_are_waited_for(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).separate_lattice();
    let mut stack = stack.start().await?;
    let component = component(&stack, at_once).await?;
    let created = bucket(&stack, 1).await?;
    let link = link(&stack, ">").config("watch_from", "last");
    created.put("a", "1".into()).await?;
    stack.nats.stop().await?;
    stack.provider.put_link(&link).await?;
    let health = unhealthy(&stack.provider).await?;
    let message = health.message.unwrap_or_default();
    assert!(message.contains(COMPONENT), "{message}");
    stack.nats.start().await?;
    component.wait_for_text("a=1").await?;

    stack.nats.stop().await?;
    stack.nats.start().await?;
    let jetstream = stack.nats.jetstream().await?;
    let again = eventually("the bucket", async || {
        Ok(jetstream.get_key_value(BUCKET).await.ok())
    });
    again.await?.put("a", "2".into()).await?;
    component.wait_for_text("a=2").await?;
    stack.lattice_mut().stop().await?;
    stack.lattice_mut().start().await?;
    Ok(())
}
