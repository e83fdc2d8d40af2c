//! Counters are exact: with many callers, with several instances, and when answers are lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::interface::refused;
use crate::support::proxy::Proxy;
use crate::support::waiting::{self, eventually, logged};
use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use serde_json::json;
use testkit::async_nats::jetstream::kv;
use testkit::{
    BatchError, Cluster, LatticeCaller, Level, LinkDefinition, NatsServer, Provider, Stack,
};

const COMPONENT: &str = "component";
const LONG_TIMEOUT: Duration = Duration::from_secs(120);

on_oldest_and_newest!(
    a_counter_is_readable_text_that_starts_at_nothing,
    a_counter_that_keyvalue_nats_wrote_goes_on,
    a_value_that_is_no_number_is_an_error_and_stays,
    a_sum_that_does_not_fit_is_an_error_and_the_value_stays,
    many_callers_through_two_instances_count_exactly,
    increments_of_other_clients_are_kept,
    a_lost_acknowledgement_does_not_count_twice,
    a_lost_acknowledgement_of_three_replicas_does_not_count_twice,
    across_restarts_nothing_is_counted_twice,
);
on_version!(
    any_server,
    testkit::NEWEST,
    [
        sixty_four_callers_count_to_32_000,
        each_of_those_who_wait_together_has_its_own_time,
        a_key_that_others_keep_changing_is_named_to_the_caller_and_not_in_the_log,
        the_servers_own_counters_are_left_alone
    ]
);

async fn with_orders(version: &str, history: i64) -> Result<(Stack, kv::Store, LatticeCaller)> {
    let stack = crate::support::stack(version).start().await?;
    let config = kv::Config {
        history,
        ..kv::Config::default()
    };
    let bucket = stack.create_bucket("orders", config).await?;
    stack.provider.put_link(&link(&stack.nats.url())).await?;
    let caller = stack.caller(COMPONENT).with_timeout(LONG_TIMEOUT);
    Ok((stack, bucket, caller))
}

fn link(url: &str) -> LinkDefinition {
    LinkDefinition::new(COMPONENT)
        .wasi_keyvalue()
        .config("cluster_uri", url)
        .config("bucket", "orders")
        .config("timeout", "60s")
}

async fn increment(caller: &LatticeCaller, key: &str, delta: u64) -> Result<u64> {
    Ok(caller.atomics().increment("default", key, delta).await??)
}

async fn a_counter_is_readable_text_that_starts_at_nothing(version: &str) -> Result<()> {
    for history in [1, 5] {
        let (_stack, bucket, caller) = with_orders(version, history).await?;
        assert_eq!(increment(&caller, "a", 3).await?, 3);
        assert_eq!(increment(&caller, "a", 0).await?, 3);
        assert_eq!(increment(&caller, "a", 39).await?, 42);
        assert_eq!(bucket.get("a").await?, Some("42".into()));
        assert_eq!(
            caller.store().get("default", "a").await??,
            Some("42".into())
        );
        assert_eq!(increment(&caller, "zero", 0).await?, 0);
        assert_eq!(bucket.get("zero").await?, Some("0".into()));
        // After a deletion, ours or another client's, the counter starts again.
        caller.store().delete("default", "a").await??;
        assert_eq!(increment(&caller, "a", 1).await?, 1);
        bucket.delete("a").await?;
        assert_eq!(increment(&caller, "a", 2).await?, 2);
        bucket.purge("a").await?;
        assert_eq!(increment(&caller, "a", 4).await?, 4);
        assert_eq!(bucket.get("a").await?, Some("4".into()));
    }
    Ok(())
}

/// keyvalue-nats parses a counter as Rust's `u64`, and takes an empty value for no value.
async fn a_counter_that_keyvalue_nats_wrote_goes_on(version: &str) -> Result<()> {
    let (_stack, bucket, caller) = with_orders(version, 1).await?;
    for (key, value, next) in [
        ("plain", "41", 42),
        ("empty", "", 1),
        ("zeros", "007", 8),
        ("sign", "+7", 8),
    ] {
        bucket.put(key, value.into()).await?;
        assert_eq!(increment(&caller, key, 1).await?, next, "{key}");
        assert_eq!(theirs(&bucket, key, 1).await?, next + 1, "{key}");
        assert_eq!(increment(&caller, key, 1).await?, next + 2, "{key}");
    }
    Ok(())
}

/// Increments as keyvalue-nats does, and tries again until the write succeeds.
async fn theirs(bucket: &kv::Store, key: &str, delta: u64) -> Result<u64> {
    loop {
        let entry = bucket.entry(key).await?;
        let (number, revision) = match &entry {
            Some(entry) if !entry.value.is_empty() => {
                (std::str::from_utf8(&entry.value)?.parse()?, entry.revision)
            }
            _ => (0, entry.as_ref().map_or(0, |entry| entry.revision)),
        };
        let sum: u64 = number + delta;
        let text = sum.to_string();
        if bucket.update(key, text.into(), revision).await.is_ok() {
            return Ok(sum);
        }
    }
}

async fn a_value_that_is_no_number_is_an_error_and_stays(version: &str) -> Result<()> {
    let (_stack, bucket, caller) = with_orders(version, 1).await?;
    let values: [&[u8]; 9] = [
        b"words",
        b"-1",
        b" 1",
        b"1\n",
        b"1.0",
        b"0x10",
        b"18446744073709551616",
        b"\xff\xfe",
        br#"{"val":"5"}"#,
    ];
    for value in values {
        let revision = bucket.put("a", value.to_vec().into()).await?;
        let error = refused(caller.atomics().increment("default", "a", 1).await?)?;
        assert_eq!(error.case, "other", "{value:?}: {error}");
        for words in ["\"a\"", "not a number"] {
            assert!(error.text.contains(words), "{value:?}: {error}");
        }
        let entry = bucket.entry("a").await?.context("it is gone")?;
        assert_eq!((&entry.value[..], entry.revision), (value, revision));
    }
    Ok(())
}

async fn a_sum_that_does_not_fit_is_an_error_and_the_value_stays(version: &str) -> Result<()> {
    const ROOM: u64 = 10;
    let (_stack, bucket, caller) = with_orders(version, 1).await?;
    assert_eq!(increment(&caller, "a", u64::MAX).await?, u64::MAX);
    let error = refused(caller.atomics().increment("default", "a", 1).await?)?;
    assert_eq!(error.case, "other", "{error}");
    assert!(error.text.contains("2^64 - 1"), "{error}");
    assert_eq!(increment(&caller, "a", 0).await?, u64::MAX);
    assert_eq!(bucket.get("a").await?, Some(u64::MAX.to_string().into()));

    // Of many increments at once, those that fit are counted.
    bucket
        .put("b", (u64::MAX - ROOM).to_string().into())
        .await?;
    let calls = (0..40).map(|_| async {
        let atomics = caller.atomics();
        anyhow::Ok(atomics.increment("default", "b", 1).await?.ok())
    });
    let mut sums: Vec<_> = try_join_all(calls).await?.into_iter().flatten().collect();
    sums.sort_unstable();
    let expected: Vec<_> = (1..=ROOM).map(|n| u64::MAX - ROOM + n).collect();
    assert_eq!(sums, expected);
    Ok(())
}

/// One more instance of the stack's provider.
async fn second_instance(stack: &Stack) -> Result<Provider> {
    Provider::builder(stack.lattice().url())
        .binary(crate::support::PROVIDER)
        .instance_of(&stack.provider)
        .link(link(&stack.nats.url()))
        .start()
        .await
}

/// How many increments the instance has answered.
fn answered(provider: &Provider) -> usize {
    let logs = provider.logs();
    let answers = logs.lines().filter(|line| line.contains("answered"));
    answers.filter(|line| line.contains("increment")).count()
}

async fn many_callers_through_two_instances_count_exactly(version: &str) -> Result<()> {
    count_exactly(version, 16, 40).await
}

async fn sixty_four_callers_count_to_32_000(version: &str) -> Result<()> {
    count_exactly(version, 64, 500).await
}

async fn count_exactly(version: &str, callers: usize, rounds: usize) -> Result<()> {
    let (stack, bucket, caller) = with_orders(version, 1).await?;
    let second = second_instance(&stack).await?;
    let calls = (0..callers).map(|_| {
        let caller = caller.clone();
        async move {
            let mut sums = Vec::with_capacity(rounds);
            for _ in 0..rounds {
                sums.push(increment(&caller, "hits", 1).await?);
            }
            // One caller's calls come one after the other.
            ensure!(sums.is_sorted(), "{sums:?}");
            anyhow::Ok(sums)
        }
    });
    let mut sums = try_join_all(calls.map(tokio::spawn))
        .await?
        .into_iter()
        .collect::<Result<Vec<_>>>()?
        .concat();
    sums.sort_unstable();
    let total = u64::try_from(callers * rounds)?;
    assert!(sums.into_iter().eq(1..=total), "not each value once");
    assert_eq!(bucket.get("hits").await?, Some(total.to_string().into()));
    for (name, provider) in [("first", &stack.provider), ("second", &second)] {
        assert!(answered(provider) > 0, "the {name} instance had no calls");
    }
    Ok(())
}

async fn increments_of_other_clients_are_kept(version: &str) -> Result<()> {
    const ROUNDS: usize = 100;
    let (_stack, bucket, caller) = with_orders(version, 1).await?;
    let ours = (0..8).map(|_| {
        let caller = caller.clone();
        tokio::spawn(async move {
            let mut sums = Vec::new();
            for _ in 0..ROUNDS {
                sums.push(increment(&caller, "hits", 1).await?);
            }
            anyhow::Ok(sums)
        })
    });
    let ours: Vec<_> = ours.collect();
    let (others, bucket_of_others) = (2, bucket.clone());
    let theirs = (0..others).map(|_| {
        let bucket = bucket_of_others.clone();
        tokio::spawn(async move {
            let mut sums = Vec::new();
            for _ in 0..ROUNDS {
                sums.push(theirs(&bucket, "hits", 1).await?);
            }
            anyhow::Ok(sums)
        })
    });
    let mut sums = try_join_all(ours.into_iter().chain(theirs))
        .await?
        .into_iter()
        .collect::<Result<Vec<_>>>()?
        .concat();
    sums.sort_unstable();
    let total = u64::try_from((8 + others) * ROUNDS)?;
    assert!(sums.into_iter().eq(1..=total), "not each value once");
    assert_eq!(bucket.get("hits").await?, Some(total.to_string().into()));
    Ok(())
}

async fn a_lost_acknowledgement_does_not_count_twice(version: &str) -> Result<()> {
    let (stack, bucket, _) = with_orders(version, 1).await?;
    let proxy = Proxy::start(stack.nats.port()).await?;
    stack.provider.put_link(&link(&proxy.url)).await?;
    let caller = stack.caller(COMPONENT).with_timeout(LONG_TIMEOUT);
    lost_acknowledgements(&caller, &bucket, &proxy).await
}

/// With three replicas the server checks the key's revision before it checks for a duplicate.
async fn a_lost_acknowledgement_of_three_replicas_does_not_count_twice(
    version: &str,
) -> Result<()> {
    let cluster = Cluster::start(version).await?;
    let config = kv::Config {
        bucket: "orders".to_owned(),
        ..kv::Config::default()
    };
    let bucket = cluster.create_bucket(config).await?;
    let proxy = Proxy::start(cluster.node(1).port()).await?;
    let lattice = NatsServer::run(testkit::NEWEST).await?;
    let provider = Provider::builder(lattice.url())
        .binary(crate::support::PROVIDER)
        .link(link(&proxy.url))
        .start()
        .await?;
    let caller = provider.caller(COMPONENT).with_timeout(LONG_TIMEOUT);
    lost_acknowledgements(&caller, &bucket, &proxy).await
}

async fn lost_acknowledgements(
    caller: &LatticeCaller,
    bucket: &kv::Store,
    proxy: &Proxy,
) -> Result<()> {
    assert_eq!(increment(caller, "a", 1).await?, 1);
    for round in 2..6 {
        // Two answers, the false one first: a node has not noticed that it is no longer the leader.
        if round % 2 == 0 {
            proxy.lose(1);
        } else {
            proxy.refuse(1);
        }
        assert_eq!(increment(caller, "a", 1).await?, round);
        assert_eq!(proxy.left(), 0, "nothing was lost");
        assert_eq!(bucket.get("a").await?, Some(round.to_string().into()));
    }
    Ok(())
}

/// The first and the second wait for a server that does not answer. The third has come later, so it has
/// time left when theirs is over.
async fn each_of_those_who_wait_together_has_its_own_time(version: &str) -> Result<()> {
    let stack = crate::support::stack(version)
        .separate_lattice()
        .start()
        .await?;
    stack.create_bucket("orders", kv::Config::default()).await?;
    let link = link(&stack.nats.url()).config("timeout", "8s");
    stack.provider.put_link(&link).await?;
    let caller = stack.caller(COMPONENT).with_timeout(LONG_TIMEOUT);
    increment(&caller, "hits", 1).await?;
    stack.nats.pause().await?;
    let call = || {
        let caller = caller.clone();
        tokio::spawn(async move { caller.atomics().increment("default", "hits", 1).await })
    };
    let (first, second) = (call(), call());
    tokio::time::sleep(Duration::from_secs(4)).await;
    let third = call();
    for early in [first, second] {
        let error = refused(early.await??)?;
        assert!(error.text.contains("trying again may help"), "{error}");
    }
    stack.nats.resume()?;
    third.await???;
    Ok(())
}

async fn a_key_that_others_keep_changing_is_named_to_the_caller_and_not_in_the_log(
    version: &str,
) -> Result<()> {
    const KEY: &str = "key-that-is-nobodys-business";
    let stack = crate::support::stack(version)
        .separate_lattice()
        .provider(|provider, _| provider.log_level(Level::Info))
        .start()
        .await?;
    stack.create_bucket("orders", kv::Config::default()).await?;
    let link = link(&stack.nats.url()).config("timeout", "300ms");
    stack.provider.put_link(&link).await?;
    let caller = stack.caller(COMPONENT).with_timeout(LONG_TIMEOUT);
    let nats = stack.nats.client().await?;
    let others = tokio::spawn(async move {
        let subject = format!("$KV.orders.{KEY}");
        // At the pace of the server, which would else answer nobody.
        while nats.publish(subject.clone(), "1".into()).await.is_ok() && nats.flush().await.is_ok()
        {
        }
    });
    let text = eventually("an increment that others outrun", async || {
        let answer = caller.atomics().increment("default", KEY, 1).await?;
        let text = answer.err().map(|error| error.to_string());
        Ok(text.filter(|text| text.contains("other writers")))
    })
    .await?;
    others.abort();
    assert!(text.contains(KEY), "{text}");
    logged(&stack.provider, &["WARN", "increment", "other writers"]).await?;
    let logs = stack.provider.logs();
    assert!(!logs.contains(KEY), "{logs}");
    Ok(())
}

async fn across_restarts_nothing_is_counted_twice(version: &str) -> Result<()> {
    const CALLERS: usize = 8;
    let mut stack = crate::support::stack(version)
        .separate_lattice()
        .start()
        .await?;
    let bucket = stack.create_bucket("orders", kv::Config::default()).await?;
    stack.provider.put_link(&link(&stack.nats.url())).await?;
    let caller = stack.caller(COMPONENT).with_timeout(LONG_TIMEOUT);
    let stop = tokio_util::sync::CancellationToken::new();
    let counted = Arc::new(AtomicUsize::new(0));
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (caller, stop) = (caller.clone(), stop.clone());
            let counted = Arc::clone(&counted);
            tokio::spawn(async move {
                let (mut sums, mut errors) = (Vec::new(), 0);
                while !stop.is_cancelled() {
                    match caller.atomics().increment("default", "hits", 1).await? {
                        Ok(sum) => {
                            sums.push(sum);
                            counted.fetch_add(1, Ordering::SeqCst);
                        }
                        Err(BatchError::Other(text)) => {
                            ensure!(text.contains("trying again may help"), "{text}");
                            errors += 1;
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
                Ok((sums, errors))
            })
        })
        .collect();
    for round in 0..4 {
        waiting::grown("increments", &counted, 10 * CALLERS).await?;
        if round % 2 == 0 {
            stack.nats.stop().await?;
        } else {
            stack.nats.kill();
        }
        stack.nats.start().await?;
    }
    waiting::grown("increments", &counted, 10 * CALLERS).await?;
    stop.cancel();
    let (mut sums, mut errors) = (Vec::new(), 0);
    for caller in callers {
        let (counted, failed) = caller.await??;
        sums.extend(counted);
        errors += failed;
    }
    let answered = sums.len();
    sums.sort_unstable();
    sums.dedup();
    assert_eq!(sums.len(), answered, "a value was returned twice");
    let value = bucket.get("hits").await?.context("no value")?;
    let value: usize = std::str::from_utf8(&value)?.parse()?;
    assert!(
        (answered..=answered + errors).contains(&value),
        "{answered} answered, {errors} errors, counted {value}"
    );
    Ok(())
}

async fn the_servers_own_counters_are_left_alone(version: &str) -> Result<()> {
    let (stack, _, _) = with_orders(version, 1).await?;
    let client = stack.nats.client().await?;
    let stream = json!({
        "name": "KV_counters", "subjects": ["$KV.counters.>"], "max_msgs_per_subject": 1,
        "allow_direct": true, "allow_rollup_hdrs": true, "allow_msg_counter": true,
        "num_replicas": 1, "storage": "file", "retention": "limits", "discard": "old",
    });
    let payload = serde_json::to_vec(&stream)?;
    let created = client
        .request("$JS.API.STREAM.CREATE.KV_counters", payload.into())
        .await?;
    let created: serde_json::Value = serde_json::from_slice(&created.payload)?;
    ensure!(created["error"].is_null(), "{created}");
    let mut headers = testkit::async_nats::HeaderMap::new();
    headers.insert("Nats-Incr", "5");
    client
        .request_with_headers("$KV.counters.theirs", headers, "".into())
        .await?;

    let link = link(&stack.nats.url()).name("theirs");
    let link = link.config("bucket", "counters");
    stack.provider.put_link(&link).await?;
    let caller = stack.caller(COMPONENT).with_link("theirs");
    for (key, value) in [("theirs", Some(&br#"{"val":"5"}"#[..])), ("new", None)] {
        let error = refused(caller.atomics().increment("theirs", key, 1).await?)?;
        assert_eq!(error.case, "other", "{key}: {error}");
        let found = caller.store().get("theirs", key).await??;
        assert_eq!(found.as_deref(), value, "{key}");
    }
    Ok(())
}
