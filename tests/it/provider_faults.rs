//! No answered write is lost when the provider is killed, when its links change without pause, and
//! when one of its two NATS servers goes away.

use std::time::Duration;

use crate::support::load::{Outcome, WriteLoad};
use crate::support::waiting::{connections_now, eventually, unhealthy};
use anyhow::{Result, ensure};
use testkit::async_nats::jetstream::kv;
use testkit::{LinkDefinition, NatsServer, Provider, Stack};
use tokio::time::{Instant, sleep};

/// Until when calls succeed again after a fault: much longer than it takes, for slow machines.
const RECOVERY: Duration = Duration::from_secs(60);

on_version!(
    any_server,
    testkit::NEWEST,
    [
        answered_writes_survive_a_killed_provider,
        a_killed_instance_loses_only_its_calls_in_flight,
        a_thousand_link_changes_leak_nothing_and_fail_no_call,
        either_nats_restarts_without_the_other,
    ]
);

/// The provider is killed in the middle of batches, and started again with the same links.
async fn answered_writes_survive_a_killed_provider(version: &str) -> Result<()> {
    const KILLS: usize = 3;
    const WRITERS: usize = 8;
    let mut stack = stack(version).await?;
    let load = WriteLoad::start(&stack.caller("shop"), WRITERS);
    for _ in 0..KILLS {
        load.wait_for_progress(RECOVERY).await?;
        stack.provider.kill()?;
        stack.provider = Provider::builder(stack.lattice().url())
            .binary(crate::support::PROVIDER)
            .instance_of(&stack.provider)
            .link(link(&stack))
            .start()
            .await?;
    }
    load.wait_for_progress(RECOVERY).await?;
    let outcome = load.stop().await?;
    eprintln!("{KILLS} kills: {outcome}");
    assert!(outcome.failed.len() <= KILLS * WRITERS * 2, "{outcome}");
    nothing_is_lost(&stack, &outcome).await
}

/// The killed instance has at most one unanswered call of each writer. The lattice gives the
/// instance no more calls once its connection is gone.
async fn a_killed_instance_loses_only_its_calls_in_flight(version: &str) -> Result<()> {
    const WRITERS: usize = 16;
    let mut stack = stack(version).await?;
    let second = Provider::builder(stack.lattice().url())
        .binary(crate::support::PROVIDER)
        .instance_of(&stack.provider)
        .link(link(&stack))
        .start()
        .await?;
    let load = WriteLoad::start(&stack.caller("shop"), WRITERS);
    eventually("both instances to answer calls", async || {
        let both = answered(&stack.provider) > 0 && answered(&second) > 0;
        Ok(both.then_some(()))
    })
    .await?;
    load.wait_for_progress(RECOVERY).await?;

    let before_kill = Instant::now();
    stack.provider.kill()?;
    let name = crate::support::CALLS_CONNECTION;
    eventually("the lattice to notice", async || {
        let left = stack.lattice().connections_named(name).await?;
        Ok((left == 1).then_some(()))
    })
    .await?;
    let noticed = Instant::now();
    // All writers may be waiting for the killed instance if the lattice noticed late.
    load.wait_for_progress(RECOVERY).await?;
    let outcome = load.stop().await?;
    eprintln!("{outcome}");
    assert!(outcome.failed.len() <= WRITERS, "{outcome}");
    for failed in &outcome.failed {
        assert!(failed.begun < noticed, "begun after the kill: {outcome}");
        assert!(failed.ended > before_kill, "failed before it: {outcome}");
    }
    let taken_over = outcome.begun_after(noticed);
    assert!(taken_over > WRITERS, "the other did not go on: {outcome}");
    stack.provider = second;
    nothing_is_lost(&stack, &outcome).await
}

/// Links of two components. Most have a connection of their own, and some are refused.
async fn a_thousand_link_changes_leak_nothing_and_fail_no_call(version: &str) -> Result<()> {
    const LINKS: usize = 1000;
    const KEPT: usize = 10;
    let stack = stack(version).await?;
    let load = WriteLoad::start(&stack.caller("shop"), 4);
    load.wait_for_progress(RECOVERY).await?;
    assert_eq!(connections_now(&stack).await?, 1);
    let mut rss_early = 0;
    let mut most = 0;
    for number in 0..LINKS {
        let put = churned(&stack, number);
        stack.provider.put_link(&put).await?;
        if number % 50 == 1 {
            let caller = stack.caller(put.source_id());
            let caller = caller.with_link(put.link_name());
            caller.get_many("default", &["key"]).await??;
            most = most.max(connections_now(&stack).await?);
        }
        if let Some(oldest) = number.checked_sub(KEPT) {
            let gone = churned(&stack, oldest);
            stack.provider.delete_link(&gone).await?;
        }
        if number == LINKS / 4 {
            rss_early = stack.provider.rss_kib()?;
        }
    }
    for number in LINKS - KEPT..LINKS {
        stack.provider.delete_link(&churned(&stack, number)).await?;
    }
    assert!((3..=KEPT + 5).contains(&most), "{most} connections");
    crate::support::waiting::connections(&stack, 1).await?;
    let rss = stack.provider.rss_kib()?;
    let outcome = load.stop().await?;
    eprintln!("{rss_early} KiB after a quarter, {rss} KiB at the end; {outcome}");
    assert!(outcome.failed.is_empty(), "{outcome}");
    assert!(rss < rss_early + 8 * 1024, "{rss_early} KiB grew to {rss}");
    nothing_is_lost(&stack, &outcome).await
}

fn churned(stack: &Stack, number: usize) -> LinkDefinition {
    let component = if number.is_multiple_of(2) {
        "shop"
    } else {
        "other"
    };
    let link = stack.link(component, "orders");
    let link = link.name(format!("link-{}", number % 100));
    match number % 10 {
        0 => link.config("timeout", "soon"),
        // Shares the connection of the other links.
        2 => link,
        // This server asks for none.
        _ => link.secret("token", format!("token-{number}")),
    }
}

/// Each server is stopped properly once, and killed once.
async fn either_nats_restarts_without_the_other(version: &str) -> Result<()> {
    const WRITERS: usize = 6;
    let mut stack = stack(version).await?;
    let load = WriteLoad::start(&stack.caller("shop"), WRITERS);
    load.wait_for_progress(RECOVERY).await?;
    for killed in [false, true] {
        let untouched = connection(&stack.nats).await?;
        end(stack.lattice_mut(), killed).await?;
        // No event: the provider must only outlive a while without a lattice.
        sleep(Duration::from_millis(700)).await;
        ensure!(stack.provider.is_running()?);
        stack.lattice_mut().start().await?;
        load.wait_for_progress(RECOVERY).await?;
        assert_eq!(connection(&stack.nats).await?, untouched);

        let untouched = connection(stack.lattice()).await?;
        end(&mut stack.nats, killed).await?;
        unhealthy(&stack.provider).await?;
        stack.nats.start().await?;
        load.wait_for_progress(RECOVERY).await?;
        assert_eq!(connection(stack.lattice()).await?, untouched);
    }
    // The host's commands arrive as before.
    let another = stack.link("other", "orders");
    stack.provider.put_link(&another).await?;
    let other = stack.caller("other");
    other.get_many("default", &["key"]).await??;
    stack.provider.delete_link(&another).await?;
    let refused = other.get_many("default", &["key"]).await?;
    assert_eq!(
        refused.err().map(|error| error.case()),
        Some("access-denied")
    );
    let outcome = load.stop().await?;
    eprintln!("{outcome}");
    // Calls in flight when the lattice goes down, and calls that begin while it is down, may fail.
    assert!(outcome.failed.len() <= 2 * WRITERS * 3, "{outcome}");
    nothing_is_lost(&stack, &outcome).await?;
    let status = stack.provider.shutdown().await?;
    assert!(status.success(), "{status}");
    Ok(())
}

async fn stack(version: &str) -> Result<Stack> {
    let stack = crate::support::stack(version)
        .separate_lattice()
        .start()
        .await?;
    stack.create_bucket("orders", kv::Config::default()).await?;
    stack.provider.put_link(&link(&stack)).await?;
    Ok(stack)
}

fn link(stack: &Stack) -> LinkDefinition {
    stack.link("shop", "orders").config("timeout", "3s")
}

async fn end(nats: &mut NatsServer, killed: bool) -> Result<()> {
    if killed {
        nats.kill();
        return Ok(());
    }
    nats.stop().await
}

/// The server's number for the provider's one connection to it.
async fn connection(nats: &NatsServer) -> Result<u64> {
    let connection = nats.connection_named(env!("CARGO_PKG_NAME")).await?;
    Ok(connection.cid)
}

fn answered(provider: &Provider) -> usize {
    provider.logs().matches("answered").count()
}

/// Through the provider, and as another client sees it.
async fn nothing_is_lost(stack: &Stack, outcome: &Outcome) -> Result<()> {
    let caller = stack.caller("shop").with_timeout(Duration::from_secs(60));
    ensure!(outcome.set.len() > 100, "too little was written: {outcome}");
    for keys in outcome.set.chunks(1000) {
        let values = caller.get_many("default", keys).await??;
        for (key, value) in keys.iter().zip(values) {
            ensure!(
                value.as_deref() == Some(key.as_bytes()),
                "{key} was set: {value:?}"
            );
        }
    }
    for keys in outcome.deleted.chunks(1000) {
        let values = caller.get_many("default", keys).await??;
        for (key, value) in keys.iter().zip(values) {
            ensure!(value.is_none(), "{key} was deleted");
        }
    }
    let jetstream = stack.nats.jetstream().await?;
    let bucket = jetstream.get_key_value("orders").await?;
    for key in outcome.set.iter().step_by(50) {
        let value = bucket.get(key).await?;
        ensure!(value.as_deref() == Some(key.as_bytes()), "{key}: {value:?}");
    }
    Ok(())
}
