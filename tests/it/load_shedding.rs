//! Many more invocations than the provider keeps: memory is bounded, and other callers are served.

use crate::support::CALLS_CONNECTION;
use crate::support::hostile::{Bystander, HOSTILE, assert_healthy, stack_of};
use crate::support::waiting::{eventually, logged};
use crate::support::wire::{FUNCTIONS, WireCaller, length, text};
use anyhow::Result;
use testkit::{OtlpCollector, Stack};

on_version!(
    any_server,
    testkit::NEWEST,
    alone,
    [incomplete_invocations_do_not_delay_other_callers]
);

/// Opens more invocations than the provider keeps at a time. Each announces a batch of as many keys
/// as the link allows, and sends none of them.
async fn incomplete_invocations_do_not_delay_other_callers(version: &str) -> Result<()> {
    const OPENED: usize = 20_000;
    /// How many incomplete invocations the provider keeps.
    const KEPT: u64 = 4096;
    /// How much memory they may take: a task and a subscription for each that is kept, and the
    /// messages of the others until they are refused.
    const MOST_KIB: u64 = 256 * 1024;
    /// What the log says of each that is refused.
    const REFUSED: &str = "too many calls wait";
    let collector = OtlpCollector::start().await?;
    let url = collector.url().to_owned();
    let builder = crate::support::stack(version);
    let builder = builder.provider(|provider, _| provider.collector(url));
    let mut stack = stack_of(builder).await?;
    let others = Bystander::start(&stack).await?;
    let subscriptions_before = subscriptions(&stack).await?;
    let before = stack.provider.rss_kib()?;
    let reserved_before = stack.provider.reserved_kib()?;
    let (mut peak, mut reserved) = (0, 0);
    for round in 0..2 {
        let mut wire = WireCaller::new(&stack, HOSTILE).await?;
        let served = others.rounds();
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
        eventually(
            "the provider to read all, and to serve others",
            async || {
                peak = peak.max(stack.provider.rss_kib()?);
                reserved = reserved.max(stack.provider.reserved_kib()?);
                most = most.max(subscriptions(&stack).await?);
                let read = stack
                    .lattice()
                    .have_read_everything(CALLS_CONNECTION)
                    .await?;
                Ok((read && others.rounds() - served > 20).then_some(()))
            },
        )
        .await?;
        let grown = peak.saturating_sub(before);
        eprintln!("round {round}: {grown} KiB more, {most} subscriptions");
        // Each is accepted at two addresses. The last round's, the well-behaved caller's and the
        // provider's own come on top.
        assert!(most < 2 * KEPT + 100, "{most} subscriptions");
        assert!(grown < MOST_KIB, "they take {grown} KiB");
        // Address space counts on machines that do not overcommit memory.
        let reserved = reserved.saturating_sub(reserved_before);
        assert!(reserved < 2 * 1024 * 1024, "they reserve {reserved} KiB");

        logged(&stack.provider, &[REFUSED]).await?;
        // Afterwards a call whose parameters come in parts is served as usual.
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
    eventually("the refused invocations to be counted", async || {
        let shed = collector.metric("eventual_batch.calls.shed")?;
        let shed = shed.map_or(0.0, |shed| shed.sum(&[("reason", "unfinished-calls")]));
        let refused = stack.provider.logs().matches(REFUSED).count();
        Ok((shed.to_string() == refused.to_string()).then_some(()))
    })
    .await?;
    assert_healthy(&mut stack).await
}

/// How many subscriptions the provider's connection to the lattice has.
async fn subscriptions(stack: &Stack) -> Result<u64> {
    let lattice = stack.lattice();
    let connection = lattice.connection_named(CALLS_CONNECTION).await?;
    Ok(connection.subscriptions)
}
