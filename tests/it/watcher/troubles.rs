//! What keeps a component from being told of changes, and how the health shows it.

use super::setup::{
    BUCKET, COMPONENT, acknowledged, at_once, bucket, component, link, stack, with_login,
    with_password,
};
use crate::support::waiting::{eventually, logged};
use anyhow::Result;
use testkit::Stack;

on_oldest_and_newest!(the_permissions_of_the_docs_are_enough);
on_version!(
    newest_only,
    testkit::NEWEST,
    [
        a_login_without_a_permission_is_told_of,
        a_login_that_may_not_pull_is_told_of,
        a_login_that_may_not_acknowledge_is_told_of,
        a_domain_that_is_not_there_is_told_of,
        a_server_may_bound_what_a_pull_asks_for,
    ]
);

/// As docs/permissions.md lists them.
const PERMISSIONS: [&str; 6] = [
    "$JS.API.STREAM.INFO.KV_orders",
    "$JS.API.CONSUMER.INFO.KV_orders.*",
    "$JS.API.CONSUMER.CREATE.KV_orders.*",
    "$JS.API.CONSUMER.MSG.NEXT.KV_orders.*",
    "$JS.API.CONSUMER.DELETE.KV_orders.*",
    "$JS.ACK.KV_orders.>",
];

/// All of them but the one that holds this text.
fn without(text: &str) -> Vec<&'static str> {
    let others = PERMISSIONS.into_iter().filter(|it| !it.contains(text));
    others.collect()
}

/// Waits until the health says all of this.
async fn health_says(stack: &Stack, parts: &[&str]) -> Result<()> {
    eventually(&format!("health with {parts:?}"), async || {
        let message = stack.provider.health().await?.message.unwrap_or_default();
        Ok(parts
            .iter()
            .all(|part| message.contains(part))
            .then_some(()))
    })
    .await
}

async fn the_permissions_of_the_docs_are_enough(version: &str) -> Result<()> {
    let (stack, bucket) = with_login(version, &PERMISSIONS).await?;
    let component = component(&stack, at_once).await?;
    let link = with_password(link(&stack, ">").config("watch_from", "last"));
    bucket.put("a", "1".into()).await?;
    stack.provider.put_link(&link).await?;
    component.wait_for_text("a=1").await?;
    // It is acknowledged, or the consumer would go on waiting for it.
    acknowledged(&bucket, 1).await?;
    stack.provider.delete_link(&link).await?;
    eventually("the end of the consumer", async || {
        let info = bucket.stream.get_info().await?;
        Ok((info.state.consumer_count == 0).then_some(()))
    })
    .await?;
    Ok(())
}

async fn a_login_without_a_permission_is_told_of(version: &str) -> Result<()> {
    let (stack, _) = with_login(version, &PERMISSIONS[..2]).await?;
    let link = with_password(link(&stack, ">"));
    stack.provider.put_link(&link).await?;
    let says = "may not publish to $JS.API.CONSUMER.CREATE.KV_orders";
    health_says(&stack, &[COMPONENT, says]).await?;
    logged(
        &stack.provider,
        &["WARN", "cannot be watched", "may not publish"],
    )
    .await?;
    Ok(())
}

async fn a_login_that_may_not_pull_is_told_of(version: &str) -> Result<()> {
    let (stack, _) = with_login(version, &without("MSG.NEXT")).await?;
    let link = with_password(link(&stack, ">"));
    stack.provider.put_link(&link).await?;
    let says = "may not publish to $JS.API.CONSUMER.MSG.NEXT.KV_orders.";
    health_says(&stack, &[COMPONENT, says]).await?;
    logged(&stack.provider, &["WARN", "cannot be watched", "MSG.NEXT"]).await?;
    Ok(())
}

async fn a_login_that_may_not_acknowledge_is_told_of(version: &str) -> Result<()> {
    let (stack, bucket) = with_login(version, &without("$JS.ACK")).await?;
    let component = component(&stack, at_once).await?;
    let link = with_password(link(&stack, ">").config("watch_from", "last"));
    bucket.put("a", "1".into()).await?;
    stack.provider.put_link(&link).await?;
    component.wait_for_text("a=1").await?;
    let says = "may not publish to $JS.ACK.KV_orders.>";
    health_says(&stack, &[COMPONENT, says]).await?;
    // The subject of an acknowledgement ends in numbers, and is no use to anybody.
    logged(&stack.provider, &["WARN", "cannot be watched", "$JS.ACK"]).await?;
    Ok(())
}

async fn a_domain_that_is_not_there_is_told_of(version: &str) -> Result<()> {
    let stack = stack(version).await?;
    bucket(&stack, 1).await?;
    let link = link(&stack, ">").config("js_domain", "nowhere");
    stack.provider.put_link(&link).await?;
    health_says(&stack, &[COMPONENT, BUCKET, "nowhere"]).await?;
    logged(&stack.provider, &["WARN", "cannot be watched"]).await?;
    Ok(())
}

async fn a_server_may_bound_what_a_pull_asks_for(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).separate_lattice();
    let stack = stack.nats(|nats| nats.jetstream_config("limits { max_request_batch: 10 }"));
    let stack = stack.start().await?;
    let bucket = bucket(&stack, 1).await?;
    let component = component(&stack, at_once).await?;
    super::setup::watch(&stack, &link(&stack, ">")).await?;
    for change in 0..25 {
        bucket.put(format!("key.{change}"), "v".into()).await?;
    }
    let is_complete = |calls: &[testkit::Told]| calls.len() == 25;
    component.wait_for("all changes", is_complete).await?;
    Ok(())
}
