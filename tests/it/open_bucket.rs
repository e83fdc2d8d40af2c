//! What it costs to open a bucket: a request if nothing is known of it, else none.

use std::time::Duration;

use crate::support::interface::refused;
use crate::support::waiting::eventually;
use anyhow::{Context as _, Result};
use futures::{FutureExt as _, StreamExt as _};
use testkit::async_nats::jetstream::kv;
use testkit::async_nats::{Client, Subscriber};
use testkit::{LatticeCaller, Stack};
use tokio::time::sleep;

const COMPONENT: &str = "component";

on_oldest_and_newest!(
    a_bucket_that_was_looked_at_is_opened_without_a_request,
    a_bucket_that_was_used_is_opened_without_a_request,
    a_bucket_that_is_gone_is_found_out_by_the_next_operation,
);
on_version!(
    any_server,
    testkit::NEWEST,
    [
        a_bucket_that_was_not_used_for_a_while_is_asked_for_again,
        links_do_not_vouch_for_each_other
    ]
);

/// Counts the requests for a bucket's stream info, as the server gets them.
struct InfoRequests {
    client: Client,
    requests: Subscriber,
    echo: (String, Subscriber),
}

impl InfoRequests {
    async fn of(stack: &Stack, bucket: &str) -> Result<Self> {
        let client = stack.nats.client().await?;
        let subject = format!("$JS.API.STREAM.INFO.KV_{bucket}");
        let requests = client.subscribe(subject).await?;
        let inbox = client.new_inbox();
        let echo = (inbox.clone(), client.subscribe(inbox).await?);
        let mut counter = Self {
            client,
            requests,
            echo,
        };
        counter.count().await?;
        Ok(counter)
    }

    /// How many have come since the last count. The server passes a request on before it answers, so
    /// what was answered before is here after one round trip.
    async fn count(&mut self) -> Result<usize> {
        let (inbox, echoes) = &mut self.echo;
        self.client.publish(inbox.clone(), "".into()).await?;
        echoes.next().await.context("the server is gone")?;
        let mut count = 0;
        while let Some(Some(_)) = self.requests.next().now_or_never() {
            count += 1;
        }
        Ok(count)
    }
}

async fn with_orders(version: &str) -> Result<(Stack, LatticeCaller, InfoRequests)> {
    let stack = crate::support::stack(version).start().await?;
    stack.create_bucket("orders", kv::Config::default()).await?;
    let caller = crate::support::linked_with_long_timeout(&stack, COMPONENT, "orders").await?;
    let requests = InfoRequests::of(&stack, "orders").await?;
    Ok((stack, caller, requests))
}

async fn a_bucket_that_was_looked_at_is_opened_without_a_request(version: &str) -> Result<()> {
    let (_stack, caller, mut requests) = with_orders(version).await?;
    caller.open_bucket("default").await??;
    assert_eq!(requests.count().await?, 1);
    for name in ["default", "", "orders", "default"] {
        caller.open_bucket(name).await??;
    }
    assert_eq!(requests.count().await?, 0);
    Ok(())
}

async fn a_bucket_that_was_used_is_opened_without_a_request(version: &str) -> Result<()> {
    let (_stack, caller, mut requests) = with_orders(version).await?;
    caller.set_many("default", &[("a", "1")]).await??;
    assert_eq!(requests.count().await?, 1);
    caller.open_bucket("default").await??;
    caller.get_many("default", &["a"]).await??;
    caller.open_bucket("default").await??;
    assert_eq!(requests.count().await?, 0);
    Ok(())
}

async fn a_bucket_that_is_gone_is_found_out_by_the_next_operation(version: &str) -> Result<()> {
    let (stack, caller, _) = with_orders(version).await?;
    caller.open_bucket("default").await??;
    let jetstream = stack.nats.jetstream().await?;
    jetstream.delete_key_value("orders").await?;
    for error in [
        refused(caller.get_many("default", &["a"]).await?)?,
        refused(caller.open_bucket("default").await?)?,
    ] {
        assert_eq!(error.case, "no-such-bucket", "{error}");
    }
    stack.create_bucket("orders", kv::Config::default()).await?;
    caller.open_bucket("default").await??;
    Ok(())
}

/// Opening alone does not keep a bucket known, and after ten seconds the server is asked.
async fn a_bucket_that_was_not_used_for_a_while_is_asked_for_again(version: &str) -> Result<()> {
    let (_stack, caller, mut requests) = with_orders(version).await?;
    caller.open_bucket("default").await??;
    assert_eq!(requests.count().await?, 1);
    eventually("another request", async || {
        sleep(Duration::from_millis(200)).await;
        caller.open_bucket("default").await??;
        Ok((requests.count().await? > 0).then_some(()))
    })
    .await
}

/// Another login may not be allowed what this one is.
async fn links_do_not_vouch_for_each_other(version: &str) -> Result<()> {
    let (stack, caller, mut requests) = with_orders(version).await?;
    let other = crate::support::linked_with_long_timeout(&stack, "other", "orders").await?;
    caller.open_bucket("default").await??;
    assert_eq!(requests.count().await?, 1);
    other.open_bucket("default").await??;
    assert_eq!(requests.count().await?, 1);
    Ok(())
}
