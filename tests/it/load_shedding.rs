//! Invocations without number: they are bounded, and others are served.

use std::time::Duration;

use crate::support::hostile::{Bystander, HOSTILE, assert_healthy, stack};
use crate::support::waiting::{eventually, logged};
use crate::support::wire::{FUNCTIONS, WireCaller, length, text};
use anyhow::Result;
use testkit::Stack;
use tokio::time::{Instant, sleep};

on_version!(
    any_server,
    testkit::NEWEST,
    alone,
    [unfinished_invocations_do_not_delay_other_callers]
);

/// More than the provider has under way at most. Each says that a batch of as many keys as the link
/// allows will come.
async fn unfinished_invocations_do_not_delay_other_callers(version: &str) -> Result<()> {
    const OPENED: usize = 20_000;
    /// So many of them are waited for.
    const KEPT: u64 = 4096;
    /// What they may take: of each a task, a subscription, and all as they come in.
    const MOST_KIB: u64 = 256 * 1024;
    let mut stack = stack(version).await?;
    let others = Bystander::start(&stack).await?;
    let subscriptions_before = subscriptions(&stack).await?;
    let before = stack.provider.rss_kib()?;
    let reserved_before = stack.provider.reserved_kib()?;
    let (mut peak, mut reserved) = (0, 0);
    for round in 0..2 {
        let mut wire = WireCaller::new(&stack, HOSTILE).await?;
        let served = others.rounds();
        let begun = Instant::now();
        let mut most = 0;
        for number in 0..OPENED {
            let (instance, function) = FUNCTIONS[number % FUNCTIONS.len()];
            let mut params = text("default");
            if function == "open-bucket" || function == "keys" {
                params.pop();
            } else {
                params.extend(length(100_000));
            }
            wire.open(instance, function, params).await?;
        }
        wire.flush().await?;
        while begun.elapsed() < Duration::from_secs(8) {
            peak = peak.max(stack.provider.rss_kib()?);
            reserved = reserved.max(stack.provider.reserved_kib()?);
            most = most.max(subscriptions(&stack).await?);
            sleep(Duration::from_millis(100)).await;
        }
        let grown = peak.saturating_sub(before);
        let served = others.rounds() - served;
        eprintln!(
            "round {round}: {grown} KiB more, {most} subscriptions, {served} rounds of others"
        );
        // Some of the last round may have ended too late to make room.
        // Each is accepted twice, at addresses of their own.
        let about = 2 * KEPT - 100..2 * KEPT + 100;
        assert!(about.contains(&most), "{most} subscriptions");
        assert!(served > 20, "only {served} rounds of others meanwhile");
        assert!(grown < MOST_KIB, "they take {grown} KiB");
        // Not yet used, and counted where memory is not given out twice.
        let reserved = reserved.saturating_sub(reserved_before);
        assert!(reserved < 2 * 1024 * 1024, "they reserve {reserved} KiB");

        logged(&stack.provider, &["too many calls wait"]).await?;
        // After those, a call whose parameters come in parts is served as ever.
        drop(wire);
        eventually("the invocations to be given up", async || {
            let left = subscriptions(&stack).await?;
            Ok((left <= subscriptions_before + 20).then_some(()))
        })
        .await?;
        let large = "x".repeat(900_000);
        let pairs = [("a", &large), ("b", &large)];
        stack.caller("large").set_many("default", &pairs).await??;
    }
    others.stop().await?;
    assert_healthy(&mut stack).await
}

/// Of all clients of the lattice's NATS, the hostile one has none in the provider's account.
async fn subscriptions(stack: &Stack) -> Result<u64> {
    let lattice = stack.lattice();
    let connection = lattice.connection_named(env!("CARGO_PKG_NAME")).await?;
    Ok(connection.subscriptions)
}
