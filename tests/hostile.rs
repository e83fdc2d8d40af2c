//! Callers that speak wRPC badly on purpose: nothing ends, nothing piles up, others are served.

#[macro_use]
mod support;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};
use support::waiting::{eventually, logged};
use support::wire::{FUNCTIONS, Wire, length, text};
use testkit::async_nats::jetstream::kv;
use testkit::async_nats::{ConnectOptions, HeaderMap};
use testkit::{Caller, Stack};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

const HOSTILE: &str = "hostile";
const LONG: Duration = Duration::from_secs(60);

/// How long others may wait for an answer meanwhile; alone they wait for milliseconds.
const OTHERS_WAIT: Duration = Duration::from_secs(5);

on_version!(
    any_server,
    testkit::NEWEST,
    [
        arbitrary_bytes_as_parameters_harm_nobody,
        invocations_that_are_never_finished_hold_up_nobody,
        parameters_without_end_are_refused_and_not_kept,
        large_parameters_of_many_calls_are_bounded_together,
        parts_after_the_parameters_are_not_kept,
        arbitrary_headers_are_answered,
        only_who_may_publish_to_the_provider_can_forge_a_caller,
    ]
);

/// Whole, cut off, in parts, with parts to spare, and left half-way.
async fn arbitrary_bytes_as_parameters_harm_nobody(version: &str) -> Result<()> {
    const OF_EACH: usize = 150;
    let mut stack = stack(version).await?;
    let others = Others::start(&stack).await?;
    let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &[3; 32]);
    let mut wire = Wire::new(&stack, HOSTILE).await?;
    for (instance, function) in FUNCTIONS {
        for _ in 0..OF_EACH {
            let mut params = arbitrary(&mut random);
            let rest = params.split_off(below(&mut random, params.len() + 1));
            let opened = wire.open(instance, function, params).await?;
            let Some(address) = wire.accepted(&opened).await? else {
                continue;
            };
            let size = below(&mut random, 40) + 1;
            for part in rest.chunks(size) {
                wire.send_part(&address, part.to_vec()).await?;
            }
            if random.next_u32().is_multiple_of(2) {
                for _ in 0..below(&mut random, 4) {
                    wire.send_part(&address, b"more".to_vec()).await?;
                }
                wire.send_part(&address, Vec::new()).await?;
            }
        }
    }
    let served = others.stop().await?;
    assert!(served > 10, "only {served} rounds of others");
    well(&mut stack).await
}

/// More than the provider has under way at most. Each says that a batch of as many keys as the link
/// allows will come.
async fn invocations_that_are_never_finished_hold_up_nobody(version: &str) -> Result<()> {
    const OPENED: usize = 20_000;
    /// So many of them are waited for.
    const KEPT: u64 = 4096;
    /// What they may take: of each a task, a subscription, and all as they come in.
    const MOST_KIB: u64 = 256 * 1024;
    let mut stack = stack(version).await?;
    let others = Others::start(&stack).await?;
    let subscriptions = subscriptions(&stack).await?;
    let before = stack.provider.rss_kib()?;
    let reserved_before = reserved_kib(&stack)?;
    let (mut peak, mut reserved) = (0, 0);
    for round in 0..2 {
        let mut wire = Wire::new(&stack, HOSTILE).await?;
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
            reserved = reserved.max(reserved_kib(&stack)?);
            most = most.max(crate::subscriptions(&stack).await?);
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
            let left = crate::subscriptions(&stack).await?;
            Ok((left <= subscriptions + 20).then_some(()))
        })
        .await?;
        let large = "x".repeat(900_000);
        let pairs = [("a", &large), ("b", &large)];
        stack.caller("large").set_many("default", &pairs).await??;
    }
    others.stop().await?;
    well(&mut stack).await
}

/// A name and a value of 4 GiB, as they say, and a list of parts as long as the caller likes.
async fn parameters_without_end_are_refused_and_not_kept(version: &str) -> Result<()> {
    const PART: usize = 512 * 1024;
    let mut stack = stack(version).await?;
    let mut wire = Wire::new(&stack, HOSTILE).await?;
    let others = Others::start(&stack).await?;
    let before = stack.provider.rss_kib()?;
    let huge = b"\xff\xff\xff\xff\x0f";
    let batch = [&text("default")[..], b"\x01"].concat();
    for (function, params, answer) in [
        ("keys", huge.to_vec(), None),
        ("get-many", huge.to_vec(), None),
        (
            "get-many",
            [&batch[..], huge].concat(),
            Some("max_batch_bytes"),
        ),
        (
            "set-many",
            [&batch[..], b"\x01k\x00", huge].concat(),
            Some("max_batch_bytes"),
        ),
    ] {
        let opened = wire.open(FUNCTIONS[0].0, function, params).await?;
        let Some(address) = wire.accepted(&opened).await? else {
            continue;
        };
        // The link takes 1 MiB, so that it is over twice as much and has been refused long before.
        for _ in 0..200 {
            wire.send_part(&address, vec![b'x'; PART]).await?;
        }
        let wait = answer.map_or(Duration::from_secs(3), |_| LONG);
        let said = wire.results(&opened, wait).await?;
        match answer {
            Some(words) => assert!(said.contains(words), "{function}: {said:?}"),
            None => assert_eq!(said, "", "{function}"),
        }
    }
    // What had not been read yet when the call was refused is given back a little later.
    eventually("the memory of what was refused to be free", async || {
        let grown = stack.provider.rss_kib()?.saturating_sub(before);
        Ok((grown < 80 * 1024).then_some(()))
    })
    .await?;
    others.stop().await?;
    well(&mut stack).await
}

/// Each is within the limits of its link, and none is ever finished.
async fn large_parameters_of_many_calls_are_bounded_together(version: &str) -> Result<()> {
    const CALLS: usize = 7;
    const PART: usize = 1024 * 1024;
    let mut stack = stack(version).await?;
    let mut wire = Wire::new(&stack, "large").await?;
    let others = Others::start(&stack).await?;
    let value_of_4_gib = b"\x01\x01k\x00\xff\xff\xff\xff\x0f";
    let params = [&text("default")[..], value_of_4_gib].concat();
    let mut told = 0;
    for _ in 0..CALLS {
        let opened = wire
            .open(FUNCTIONS[3].0, "set-many", params.clone())
            .await?;
        let address = wire.accepted(&opened).await?.context("not accepted")?;
        for _ in 0..100 {
            wire.send_part(&address, vec![b'x'; PART]).await?;
        }
        wire.flush().await?;
        let said = wire.results(&opened, Duration::from_millis(200)).await?;
        assert!(said.is_empty() || said.contains("512 MiB"), "{said:?}");
        told += usize::from(!said.is_empty());
    }
    assert!(told > 0, "there is no end to what they may bring");
    // Those that were left end with their time, and what they held is free again.
    eventually("room for a large batch", async || {
        let caller = stack.caller("large").with_timeout(LONG);
        let value = "x".repeat(600 * 1024);
        let keys: Vec<_> = (0..30).map(|key| format!("key.{key}")).collect();
        let pairs: Vec<_> = keys.iter().map(|key| (key, &value)).collect();
        Ok(caller.set_many("default", &pairs).await?.ok())
    })
    .await?;
    others.stop().await?;
    well(&mut stack).await
}

/// While a call is under way, its caller goes on to send.
async fn parts_after_the_parameters_are_not_kept(version: &str) -> Result<()> {
    const PARTS: usize = 400;
    const PART: usize = 512 * 1024;
    let mut stack = stack(version).await?;
    let mut wire = Wire::new(&stack, HOSTILE).await?;
    let others = stack.caller("others").with_timeout(LONG);
    others.set_many("default", &[("key", "value")]).await??;
    let before = stack.provider.rss_kib()?;
    stack.nats.pause().await?;
    for whole in [true, false] {
        let mut params = [&text("default")[..], b"\x01", &text("key")].concat();
        let rest = params.split_off(params.len() - usize::from(!whole));
        let opened = wire.open(FUNCTIONS[0].0, "get-many", params).await?;
        let address = wire.accepted(&opened).await?.context("not accepted")?;
        wire.send_part(&address, rest).await?;
        for _ in 0..PARTS {
            wire.send_part(&address, vec![b'x'; PART]).await?;
        }
        wire.flush().await?;
        // A round trip of the provider, after all of it.
        stack.provider.health().await?;
    }
    let grown = stack.provider.rss_kib()?.saturating_sub(before);
    stack.nats.resume()?;
    eprintln!("{grown} KiB more than before");
    let sent = 2 * PARTS * PART / 1024;
    assert!(grown < 64 * 1024, "{grown} KiB are kept of {sent}");
    others.get_many("default", &["key"]).await??;
    well(&mut stack).await
}

async fn arbitrary_headers_are_answered(version: &str) -> Result<()> {
    let mut stack = stack(version).await?;
    let mut wire = Wire::new(&stack, HOSTILE).await?;
    let long = "x".repeat(400_000);
    let params = [&text("default")[..], b"\x01", &text("key")].concat();
    for (name, value) in [
        ("source-id", ""),
        ("source-id", long.as_str()),
        ("source-id", "*.>"),
        ("source-id", "\u{1b}[2J ключ"),
        ("link-name", ""),
        ("link-name", long.as_str()),
        ("link-name", "../default"),
        ("traceparent", "00-ffff"),
        ("traceparent", long.as_str()),
        ("tracestate", "=,=,="),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("source-id", HOSTILE);
        headers.insert(name, value);
        let opened = wire
            .open_with(FUNCTIONS[0].0, "get-many", headers, params.clone())
            .await?;
        let said = wire.results(&opened, LONG).await?;
        assert!(!said.is_empty(), "{name}: no answer");
        assert!(
            said.len() < 4000,
            "{name}: an answer of {} bytes",
            said.len()
        );
    }
    let logs = stack.provider.logs();
    assert!(logs.len() < 200_000, "a log of {} bytes", logs.len());
    assert!(!logs.contains("\u{1b}[2J"), "it speaks to the terminal");
    well(&mut stack).await
}

/// With the permissions that the README names, on a lattice whose hosts need no login here.
async fn only_who_may_publish_to_the_provider_can_forge_a_caller(version: &str) -> Result<()> {
    const LATTICE: &str = r#"
        accounts {
          LATTICE {
            jetstream: enabled
            users: [
              { user: host, password: of-the-hosts }
              { user: operator, password: of-wash, permissions {
                publish { deny: ["*.*.wrpc.>", "wasmbus.rpc.>"] }
                subscribe { deny: ["*.*.wrpc.>", "wasmbus.rpc.>"] }
              } }
            ]
          }
          APPLICATIONS { users: [ { user: app, password: of-the-apps } ] }
        }
        no_auth_user: host
    "#;
    let stack = support::stack(version)
        .nats(|nats| nats.config(LATTICE))
        .start()
        .await?;
    let bucket = stack.create_bucket("orders", kv::Config::default()).await?;
    stack.linked("shop", "orders").await?;
    let params = |key: &str| [text("default"), length(1), text(key), vec![0], text("x")].concat();
    for (user, password, forges) in [
        (Some("operator"), "of-wash", false),
        (Some("app"), "of-the-apps", false),
        // Nothing in the provider can tell.
        (None, "", true),
    ] {
        let options = match user {
            Some(user) => ConnectOptions::with_user_and_password(user.into(), password.into()),
            None => ConnectOptions::new(),
        };
        let nats = stack.nats.client_with(options).await?;
        let mut wire = Wire::on(nats, &stack, "shop").await?;
        let key = user.unwrap_or("host");
        let opened = wire.open(FUNCTIONS[0].0, "set-many", params(key)).await?;
        let said = wire.results(&opened, Duration::from_secs(1)).await?;
        assert_eq!(said, if forges { "\0" } else { "" }, "{key}");
        assert_eq!(bucket.get(key).await?.is_some(), forges, "{key}");
    }
    Ok(())
}

/// A stack with two components: one of them is hostile, and has a bucket of its own.
async fn stack(version: &str) -> Result<Stack> {
    let stack = support::stack(version).separate_lattice().start().await?;
    for (component, bucket) in [(HOSTILE, "theirs"), ("others", "orders")] {
        stack.create_bucket(bucket, kv::Config::default()).await?;
        let link = stack
            .link(component, bucket)
            .config("timeout", "30s")
            .config("max_batch_bytes", "1048576");
        stack.provider.put_link(&link).await?;
    }
    let large = stack.link("large", "large");
    let large = large.config("enable_bucket_auto_create", "true");
    stack
        .provider
        .put_link(&large.config("timeout", "30s"))
        .await?;
    Ok(stack)
}

async fn well(stack: &mut Stack) -> Result<()> {
    ensure!(stack.provider.is_running()?, "the provider has ended");
    ensure!(stack.provider.health().await?.healthy);
    let logs = stack.provider.logs();
    ensure!(!logs.contains("panicked"), "{logs}");
    Ok(())
}

/// A caller that minds its own business, and checks that it can.
struct Others {
    rounds: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    calls: JoinHandle<Result<()>>,
}

impl Others {
    async fn start(stack: &Stack) -> Result<Self> {
        let nats = stack.lattice().url();
        let provider = &stack.provider;
        // A connection of its own: a host does not share its with a hostile caller.
        let caller = Caller::connect(&nats, provider.lattice(), provider.key()).await?;
        let caller = caller.with_source("others").with_timeout(OTHERS_WAIT);
        let (rounds, stop) = (Arc::default(), Arc::default());
        let calls = tokio::spawn(call_on(caller, Arc::clone(&rounds), Arc::clone(&stop)));
        Ok(Self {
            rounds,
            stop,
            calls,
        })
    }

    fn rounds(&self) -> usize {
        self.rounds.load(Ordering::Relaxed)
    }

    async fn stop(self) -> Result<usize> {
        self.stop.store(true, Ordering::Relaxed);
        timeout(LONG, self.calls).await.context("others hang")???;
        Ok(self.rounds.load(Ordering::Relaxed))
    }
}

async fn call_on(caller: Caller, rounds: Arc<AtomicUsize>, stop: Arc<AtomicBool>) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        let round = rounds.load(Ordering::Relaxed).to_string();
        let pairs = [("a", &round), ("b", &round)];
        caller.set_many("default", &pairs).await??;
        let values = caller.get_many("default", &["a", "b"]).await??;
        let value = Some(round.into_bytes());
        ensure!(values == [value.clone(), value], "{values:?}");
        let mut keys = caller.keys("default").await??;
        keys.sort_unstable();
        ensure!(keys == ["a", "b"], "{keys:?}");
        rounds.fetch_add(1, Ordering::Relaxed);
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Bytes that begin like parameters, more often than not.
fn arbitrary(random: &mut TestRng) -> Vec<u8> {
    let mut params = Vec::new();
    if !random.next_u32().is_multiple_of(4) {
        params.extend(text("default"));
        params.extend(length(below(random, 4)));
    }
    for _ in 0..below(random, 8) {
        match random.next_u32() % 4 {
            0 => params.extend(text("key")),
            1 => params.push(random.next_u32().to_le_bytes()[0] % 3),
            2 => params.extend(length(below(random, 1 << 20))),
            _ => params.extend(random.next_u64().to_le_bytes()),
        }
    }
    params
}

fn below(random: &mut TestRng, end: usize) -> usize {
    random.next_u32() as usize % end
}

/// Address space, in KiB.
fn reserved_kib(stack: &Stack) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", stack.provider.pid()))?;
    let line = status.lines().find(|line| line.starts_with("VmSize:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(number.context("no VmSize")?.parse()?)
}

/// Of all clients of the lattice's NATS, the hostile one has none in the provider's account.
async fn subscriptions(stack: &Stack) -> Result<u64> {
    let all = stack.lattice().monitor("/connz?limit=1000").await?;
    let connections = all["connections"].as_array().context("no connections")?;
    let of_provider = connections
        .iter()
        .find(|connection| connection["name"] == env!("CARGO_PKG_NAME"));
    let of_provider = of_provider.context("the provider is not connected")?;
    of_provider["subscriptions"].as_u64().context("no number")
}
