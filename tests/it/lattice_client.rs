//! Messages that end a NATS client: calls come over another client soon, and the process ends only
//! when the host can no longer reach it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use testkit::async_nats::jetstream::kv;
use testkit::{NEWEST, Stack};
use tokio::time::timeout;
use wasmcloud_provider_sdk::core::rpc::health_subject;

use crate::support::raw;
use crate::support::waiting::logged;
use crate::support::wire::{FUNCTIONS, WireCaller, length, text};

/// Until when all functions are served again: much longer than it takes, for slow machines.
const SERVED_AGAIN: Duration = Duration::from_secs(30);

/// How soon a call is answered that the provider has got.
const ANSWERED: Duration = Duration::from_millis(500);

/// A reply subject that is not UTF-8.
const NOT_UTF8: &[u8] = b"_IN\xff\xfe.x";

const STORE: &str = "wrpc:keyvalue/store@0.2.0-draft";
const EVENTUAL_BATCH: &str = "wrpc:keyvalue/eventual-batch@0.1.0";
const ATOMIC: &str = "wrpc:keyvalue/atomic@0.1.0";
const ATOMICS: &str = "wrpc:keyvalue/atomics@0.2.0-draft";

async fn stack() -> Result<Stack> {
    let stack = crate::support::stack(NEWEST).separate_lattice();
    let stack = stack.start().await?;
    stack.create_bucket("orders", kv::Config::default()).await?;
    stack.linked("shop", "orders").await?;
    Ok(stack)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_ends_the_client_costs_no_more_than_that() -> Result<()> {
    let mut stack = stack().await?;
    let provider = &stack.provider;
    let prefix = format!("{}.{}.wrpc.0.0.1", provider.lattice(), provider.key());
    for (instance, function) in &FUNCTIONS[1..4] {
        let subject = format!("{prefix}.{instance}.{function}");
        raw::publish_with_reply(stack.lattice(), &subject, NOT_UTF8).await?;
        timeout(SERVED_AGAIN, all_functions_answer(&stack))
            .await
            .with_context(|| format!("after {function}: not all functions are served again"))??;
        let ended = "the lattice's client has ended";
        logged(&stack.provider, &["ERROR", ended]).await?;
    }
    assert!(stack.provider.is_running()?);
    assert!(stack.provider.health().await?.healthy);
    let status = stack.provider.shutdown().await?;
    assert!(status.success(), "{status}");
    Ok(())
}

/// One call of each function, again and again until all have been answered.
async fn all_functions_answer(stack: &Stack) -> Result<()> {
    let singles = [
        (STORE, "get", 1),
        (STORE, "set", 2),
        (STORE, "delete", 1),
        (STORE, "exists", 1),
        (STORE, "list-keys", 0),
        (EVENTUAL_BATCH, "get", 1),
        (EVENTUAL_BATCH, "exists", 1),
        (ATOMICS, "increment", 1),
        (ATOMIC, "increment", 1),
        (ATOMIC, "compare-and-swap", 1),
    ];
    let mut all: Vec<(&str, &str, Vec<u8>)> = Vec::new();
    for (instance, function) in FUNCTIONS {
        let mut params = text("default");
        if !["keys", "open-bucket"].contains(&function) {
            params.extend(length(0));
        }
        all.push((instance, function, params));
    }
    for (instance, function, texts) in singles {
        let mut params = text("default");
        (0..texts).for_each(|_| params.extend(text("1")));
        let zeros = match function {
            "list-keys" | "increment" => 1,
            "compare-and-swap" => 2,
            _ => 0,
        };
        params.extend(vec![0; zeros]);
        all.push((instance, function, params));
    }
    let mut wire = WireCaller::new(stack, "shop").await?;
    for (instance, function, params) in all {
        loop {
            let opened = wire.open(instance, function, params.clone()).await?;
            if wire.is_answered(&opened, ANSWERED).await? {
                break;
            }
        }
    }
    Ok(())
}

/// The host starts a provider again that has exited, and not one that it cannot reach.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_way_to_the_host_the_process_says_so_and_ends() -> Result<()> {
    let mut stack = stack().await?;
    let subject = health_subject(stack.provider.lattice(), stack.provider.key());
    raw::publish_with_reply(stack.lattice(), &subject, NOT_UTF8).await?;
    let status = stack.provider.wait(Duration::from_secs(30)).await?;
    let logs = stack.provider.logs();
    assert!(status.code().is_some_and(|code| code != 0), "{status}");
    let said = |line: &str| line.contains("ERROR") && line.contains("has ended for good");
    assert!(logs.lines().any(said), "{logs}");
    Ok(())
}
