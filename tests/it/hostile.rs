//! Callers that break the wRPC protocol on purpose: the provider keeps running, its memory stays
//! bounded, and other callers are served.

use std::time::Duration;

use crate::support::hostile::{Bystander, HOSTILE, LONG_TIMEOUT, assert_healthy, stack};
use crate::support::waiting::eventually;
use crate::support::wire::{FUNCTIONS, WireCaller, length, text};
use anyhow::{Context as _, Result};
use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};
use testkit::async_nats::jetstream::kv;
use testkit::async_nats::{ConnectOptions, HeaderMap};

on_version!(
    any_server,
    testkit::NEWEST,
    [
        arbitrary_parameter_bytes_do_not_affect_other_callers,
        endless_parameters_are_refused_and_not_kept_in_memory,
        large_parameters_of_many_calls_are_bounded_together,
        parts_after_the_parameters_are_dropped,
        arbitrary_headers_are_answered,
        only_a_client_that_may_publish_to_the_provider_can_forge_a_caller,
    ]
);

/// Parameters that are complete, truncated, in parts, with surplus parts, and abandoned half-way.
async fn arbitrary_parameter_bytes_do_not_affect_other_callers(version: &str) -> Result<()> {
    const OF_EACH: usize = 150;
    let mut stack = stack(version).await?;
    let others = Bystander::start(&stack).await?;
    let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &[3; 32]);
    let mut wire = WireCaller::new(&stack, HOSTILE).await?;
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
    assert_healthy(&mut stack).await
}

/// The lengths announce a name and a value of 4 GiB, and the caller sends parts without end.
async fn endless_parameters_are_refused_and_not_kept_in_memory(version: &str) -> Result<()> {
    const PART: usize = 512 * 1024;
    let mut stack = stack(version).await?;
    let mut wire = WireCaller::new(&stack, HOSTILE).await?;
    let others = Bystander::start(&stack).await?;
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
        // The link takes 1 MiB, so the provider refuses the call long before the last part.
        for _ in 0..200 {
            wire.send_part(&address, vec![b'x'; PART]).await?;
        }
        let wait = answer.map_or(Duration::from_secs(3), |_| LONG_TIMEOUT);
        let said = wire.results(&opened, wait).await?;
        match answer {
            Some(words) => assert!(said.contains(words), "{function}: {said:?}"),
            None => assert_eq!(said, "", "{function}"),
        }
    }
    // Parts that were still unread when the call was refused are freed a little later.
    eventually("the memory of what was refused to be free", async || {
        let grown = stack.provider.rss_kib()?.saturating_sub(before);
        Ok((grown < 80 * 1024).then_some(()))
    })
    .await?;
    others.stop().await?;
    assert_healthy(&mut stack).await
}

/// Each call is within the limits of its link, and no call is ever finished.
async fn large_parameters_of_many_calls_are_bounded_together(version: &str) -> Result<()> {
    const CALLS: usize = 7;
    // Calls are given ten seconds for their parameters. On a machine that is busy for a moment the
    // first have ended before the last has brought its own.
    const ROUNDS: usize = 5;
    const PART: usize = 1024 * 1024;
    let mut stack = stack(version).await?;
    let mut wire = WireCaller::new(&stack, "large").await?;
    let others = Bystander::start(&stack).await?;
    let value_of_4_gib = b"\x01\x01k\x00\xff\xff\xff\xff\x0f";
    let params = [&text("default")[..], value_of_4_gib].concat();
    let mut said = String::new();
    for call in 1..=ROUNDS * CALLS {
        let opened = wire
            .open(FUNCTIONS[3].0, "set-many", params.clone())
            .await?;
        let address = wire
            .accepted_within(&opened, LONG_TIMEOUT)
            .await?
            .context("not accepted")?;
        for _ in 0..5 {
            for _ in 0..20 {
                wire.send_part(&address, vec![b'x'; PART]).await?;
            }
            wire.flush().await?;
            // The answer comes about when the provider has read the parts. A server cuts off who
            // reads too slowly.
            let paced = stack.caller("pace").with_timeout(LONG_TIMEOUT);
            drop(paced.get_many("default", &["key"]).await?);
        }
        if call % CALLS == 0 {
            said = wire.results(&opened, Duration::from_secs(5)).await?;
            if !said.is_empty() {
                break;
            }
        }
    }
    assert!(said.contains("512 MiB"), "{said:?}");
    // The incomplete calls end with their timeout, and their memory is free again.
    eventually("room for a large batch", async || {
        let caller = stack.caller("large").with_timeout(LONG_TIMEOUT);
        let value = "x".repeat(600 * 1024);
        let keys: Vec<_> = (0..30).map(|key| format!("key.{key}")).collect();
        let pairs: Vec<_> = keys.iter().map(|key| (key, &value)).collect();
        Ok(caller.set_many("default", &pairs).await?.ok())
    })
    .await?;
    others.stop().await?;
    assert_healthy(&mut stack).await
}

/// A caller goes on to send parts while its call is being answered.
async fn parts_after_the_parameters_are_dropped(version: &str) -> Result<()> {
    const PARTS: usize = 400;
    const PART: usize = 512 * 1024;
    let mut stack = stack(version).await?;
    let mut wire = WireCaller::new(&stack, HOSTILE).await?;
    let others = stack.caller("others").with_timeout(LONG_TIMEOUT);
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
        // The provider answers the health request after it has read the parts.
        stack.provider.health().await?;
    }
    let grown = stack.provider.rss_kib()?.saturating_sub(before);
    stack.nats.resume()?;
    eprintln!("{grown} KiB more than before");
    let sent = 2 * PARTS * PART / 1024;
    assert!(grown < 64 * 1024, "{grown} KiB are kept of {sent}");
    others.get_many("default", &["key"]).await??;
    assert_healthy(&mut stack).await
}

async fn arbitrary_headers_are_answered(version: &str) -> Result<()> {
    let mut stack = stack(version).await?;
    let mut wire = WireCaller::new(&stack, HOSTILE).await?;
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
        let said = wire.results(&opened, LONG_TIMEOUT).await?;
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
    assert_healthy(&mut stack).await
}

/// With the permissions that docs/security.md names, on a lattice whose hosts need no login here.
async fn only_a_client_that_may_publish_to_the_provider_can_forge_a_caller(
    version: &str,
) -> Result<()> {
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
    let stack = crate::support::stack(version)
        .nats(|nats| nats.config(LATTICE))
        .start()
        .await?;
    let bucket = stack.create_bucket("orders", kv::Config::default()).await?;
    stack.linked("shop", "orders").await?;
    let params = |key: &str| [text("default"), length(1), text(key), vec![0], text("x")].concat();
    for (user, password, forges) in [
        (Some("operator"), "of-wash", false),
        (Some("app"), "of-the-apps", false),
        // The provider cannot tell this client from a host.
        (None, "", true),
    ] {
        let options = match user {
            Some(user) => ConnectOptions::with_user_and_password(user.into(), password.into()),
            None => ConnectOptions::new(),
        };
        let nats = stack.nats.client_with(options).await?;
        let mut wire = WireCaller::on(nats, &stack, "shop").await?;
        let key = user.unwrap_or("host");
        let opened = wire.open(FUNCTIONS[0].0, "set-many", params(key)).await?;
        let said = wire.results(&opened, Duration::from_secs(1)).await?;
        assert_eq!(said, if forges { "\0" } else { "" }, "{key}");
        assert_eq!(bucket.get(key).await?.is_some(), forges, "{key}");
    }
    Ok(())
}

/// Random bytes, most of which begin like parameters.
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
