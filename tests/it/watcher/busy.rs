//! A host that has no free instance: it takes calls, and does not accept them.

use std::time::Duration;

use super::setup::{COMPONENT, SHORT, at_once, bucket, component, link, stack, texts, watch};
use crate::support::waiting::logged;
use anyhow::{Context as _, Result};
use futures::StreamExt as _;
use lattice_nats::{Client, Message, Subscriber};
use testkit::Stack;
use tokio::time::timeout;

on_version!(
    newest_only,
    testkit::NEWEST,
    [
        a_call_that_is_not_accepted_is_no_try,
        a_call_that_is_accepted_too_late_gets_the_end_of_its_parameters,
    ]
);

const LIMIT: Duration = Duration::from_secs(60);

/// The component's host, as it is while all instances are busy.
struct BusyHost {
    nats: Client,
    calls: Subscriber,
}

impl BusyHost {
    async fn serve(stack: &Stack) -> Result<Self> {
        let nats = lattice_nats::connect(stack.lattice().url()).await?;
        let lattice = stack.provider.lattice();
        let interface = "wrpc:keyvalue/watcher@0.2.0-draft";
        let subject = format!("{lattice}.{COMPONENT}.wrpc.0.0.1.{interface}.on-set");
        let calls = nats.queue_subscribe(subject, COMPONENT.to_owned()).await?;
        nats.flush().await?;
        Ok(Self { nats, calls })
    }

    async fn call(&mut self) -> Result<Message> {
        let call = timeout(LIMIT, self.calls.next()).await;
        call.context("no call")?.context("the lattice is gone")
    }
}

async fn a_call_that_is_not_accepted_is_no_try(version: &str) -> Result<()> {
    let stack = stack(version).await?;
    let bucket = bucket(&stack, 1).await?;
    let mut host = BusyHost::serve(&stack).await?;
    let link = link(&stack, ">").config("watch_max_deliver", "1");
    let link = link.config("watch_timeout", format!("{}ms", SHORT.as_millis()));
    watch(&stack, &link).await?;
    bucket.put("a", "1".into()).await?;
    for _ in 0..3 {
        host.call().await?;
    }
    logged(&stack.provider, &["WARN", "no free instance"]).await?;
    drop(host);
    let component = component(&stack, at_once).await?;
    component.wait_for_text("a=1").await?;
    assert_eq!(texts(&component.calls()), ["a=1"]);
    assert!(!stack.provider.logs().contains("given up"));
    Ok(())
}

/// The host would wait for the rest of them, and call the function for nobody else.
async fn a_call_that_is_accepted_too_late_gets_the_end_of_its_parameters(
    version: &str,
) -> Result<()> {
    let stack = stack(version).await?;
    let bucket = bucket(&stack, 1).await?;
    let mut host = BusyHost::serve(&stack).await?;
    let link = link(&stack, ">");
    let link = link.config("watch_timeout", format!("{}ms", SHORT.as_millis()));
    watch(&stack, &link).await?;
    // With the headers of a call it is more than one message.
    bucket
        .put("a", vec![7_u8; 1024 * 1024 - 100].into())
        .await?;
    let first = host.call().await?;
    // The first one has been given up.
    host.call().await?;
    let accepted = first.reply.context("nobody waits for an answer")?;
    let address = host.nats.new_inbox();
    let mut params = host.nats.subscribe(format!("{address}.params")).await?;
    let nothing = "".into();
    host.nats
        .publish_with_reply(accepted, address, nothing)
        .await?;
    let end = timeout(LIMIT, params.next())
        .await
        .context("no end comes")?;
    assert!(end.context("the lattice is gone")?.payload.is_empty());
    Ok(())
}
