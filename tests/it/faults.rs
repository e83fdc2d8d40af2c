//! What callers see when NATS or the bucket goes away, changes, or says nothing.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::waiting;
use anyhow::{Context as _, Result, bail, ensure};
use futures::future::try_join_all;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use testkit::async_nats::jetstream::stream::{Config as StreamConfig, Source};
use testkit::async_nats::jetstream::{self, kv};
use testkit::{BatchError, EventualBatchError, LatticeCaller, NatsServer, Stack};
use tokio::time::{Instant, sleep, timeout};

const COMPONENT: &str = "component";
/// How long a call may take over its link's `timeout` before it counts as late.
const GRACE: Duration = Duration::from_secs(5);
/// Far more than anything here takes on a busy machine.
const LONG_TIMEOUT: Duration = Duration::from_secs(120);

on_oldest_and_newest! {
    calls_while_nats_is_down_are_unavailable_in_time_and_write_nothing_later,
    calls_begun_while_nats_is_down_are_answered_when_it_is_back_in_time,
    batches_across_restarts_are_whole_and_written_once,
    a_paused_server_delays_no_answer_and_leaves_nothing_behind,
    a_paused_server_with_full_buffers_delays_no_answer,
    a_bucket_that_was_deleted_works_when_it_is_created_again,
    a_bucket_whose_settings_were_changed_is_used_as_it_is_now,
    a_bucket_without_direct_gets_does_everything,
    a_stream_that_is_no_bucket_is_refused_until_it_is_one,
    a_server_without_jetstream_is_an_error_in_time,
    an_account_without_jetstream_gets_the_servers_message,
    a_mirror_is_read_here_and_written_at_its_origin,
}

async fn calls_while_nats_is_down_are_unavailable_in_time_and_write_nothing_later(
    version: &str,
) -> Result<()> {
    let mut stack = crate::support::stack(version)
        .separate_lattice()
        .start()
        .await?;
    let bucket = stack.create_bucket("orders", history(10)).await?;
    let limit = Duration::from_secs(1);
    let caller = linked(&stack, "hasty", "1s").await?;
    let patient = linked(&stack, "patient", "30s").await?;
    caller.set_many("default", &[("kept", "before")]).await??;

    stack.nats.stop().await?;
    assert_everything_is_unavailable(&caller, limit).await?;
    let opened = caller.open_bucket("default").await?;
    assert_unavailable(opened.err().as_ref(), "open-bucket");
    let health = stack.provider.health().await?;
    assert!(!health.healthy);
    assert!(health.message.is_some_and(|text| text.contains("NATS")));

    stack.nats.start().await?;
    assert_eq!(
        patient.keys("default").await??,
        ["kept"],
        "a call answered while NATS was down did not write later"
    );
    // There is no event to wait for: a delayed write must not arrive. On a slow machine this finds
    // less, but does not fail.
    sleep(Duration::from_millis(700)).await;
    assert_eq!(revisions(&stack, "orders").await?, counts([("kept", 1)]));
    assert_eq!(bucket.get("kept").await?.as_deref(), Some(&b"before"[..]));
    caller.set_many("default", &[("new", "after")]).await??;
    assert!(stack.provider.health().await?.healthy);
    Ok(())
}

async fn calls_begun_while_nats_is_down_are_answered_when_it_is_back_in_time(
    version: &str,
) -> Result<()> {
    let mut stack = crate::support::stack(version)
        .separate_lattice()
        .start()
        .await?;
    stack.create_bucket("orders", history(10)).await?;
    // When NATS stops, the provider knows the bucket of one link, and has never used the other's.
    let known = linked(&stack, "known", "30s").await?;
    let unknown = linked(&stack, "unknown", "30s").await?;
    known
        .set_many("default", &[("a", "1"), ("b", "2"), ("gone", "3")])
        .await??;

    stack.nats.stop().await?;
    let before = messages_to_the_lattice(&stack).await?;
    let calls = async { tokio::try_join!(all_at_once(&known), all_at_once(&unknown)) };
    let restart = async {
        // The provider answers each call that reaches it with a message or two, and then begins to
        // work on it.
        waiting::eventually("calls to begin", async || {
            let messages = messages_to_the_lattice(&stack).await? - before;
            Ok((messages >= 2 * OPERATIONS).then_some(()))
        })
        .await?;
        stack.nats.start().await
    };
    let (answered, restarted) = tokio::join!(timeout(LONG_TIMEOUT, calls), restart);
    restarted?;
    answered.context("the calls were not answered")??;
    let mut keys = known.keys("default").await??;
    keys.sort_unstable();
    assert_eq!(keys, ["a", "b", "new"]);
    Ok(())
}

/// How many messages the provider has sent to the lattice.
async fn messages_to_the_lattice(stack: &Stack) -> Result<u64> {
    let name = crate::support::CALLS_CONNECTION;
    Ok(stack.lattice().connection_named(name).await?.in_msgs)
}

/// How many calls [`all_at_once`] makes.
const OPERATIONS: u64 = 5;

/// Every operation, begun together.
async fn all_at_once(caller: &LatticeCaller) -> Result<()> {
    let (opened, values, keys, set, deleted) = tokio::try_join!(
        Box::pin(caller.open_bucket("default")),
        Box::pin(caller.get_many("default", &["b", "no", "a"])),
        Box::pin(caller.keys("default")),
        Box::pin(caller.set_many("default", &[("new", "4")])),
        Box::pin(caller.delete_many("default", &["gone"])),
    )?;
    opened?;
    set?;
    deleted?;
    assert_eq!(values?, [value("2"), None, value("1")]);
    assert!(keys?.iter().any(|key| key == "a"));
    Ok(())
}

/// Writers go on while the server is stopped or killed, and started again. Each batch has keys of
/// its own, so the history of a key shows how often it was written.
async fn batches_across_restarts_are_whole_and_written_once(version: &str) -> Result<()> {
    const WRITERS: usize = 4;
    const KEYS: usize = 300;
    let mut stack = crate::support::stack(version)
        .separate_lattice()
        .start()
        .await?;
    stack.create_bucket("orders", history(64)).await?;
    let caller = linked(&stack, "default", "30s").await?;
    caller.open_bucket("default").await??;

    let stop = Arc::new(AtomicBool::new(false));
    let finished = Arc::new(AtomicUsize::new(0));
    let writers = (0..WRITERS).map(|writer| {
        let (caller, stop) = (caller.clone(), Arc::clone(&stop));
        let finished = Arc::clone(&finished);
        tokio::spawn(async move {
            let mut batches = 0;
            while !stop.load(Ordering::Relaxed) {
                let keys: Vec<_> = (0..KEYS)
                    .map(|key| format!("{writer}.{batches}.{key}"))
                    .collect();
                let pairs: Vec<_> = keys.iter().map(|key| (key, key)).collect();
                caller.set_many("default", &pairs).await??;
                let found = caller.get_many("default", &keys).await??;
                for (key, found) in keys.iter().zip(found) {
                    ensure!(found == value(key), "{key} is {found:?} after an ok");
                }
                caller.delete_many("default", &keys[..KEYS / 2]).await??;
                batches += 1;
                finished.fetch_add(1, Ordering::SeqCst);
            }
            Ok(batches)
        })
    });
    let writers: Vec<_> = writers.collect();
    for hard in [false, true, false] {
        waiting::grown("the writers' batches", &finished, WRITERS).await?;
        if hard {
            stack.nats.kill();
        } else {
            stack.nats.stop().await?;
        }
        stack.nats.start().await?;
    }
    waiting::grown("the writers' batches", &finished, WRITERS).await?;
    stop.store(true, Ordering::Relaxed);

    let mut expected = HashMap::new();
    for (writer, batches) in writers.into_iter().enumerate() {
        let batches: usize = timeout(LONG_TIMEOUT, batches)
            .await
            .context("a writer hangs")??
            .context("a batch across a restart was not ok")?;
        for batch in 0..batches {
            for key in 0..KEYS {
                let revisions = if key < KEYS / 2 { 2 } else { 1 };
                expected.insert(format!("{writer}.{batch}.{key}"), revisions);
            }
        }
    }
    let found = revisions(&stack, "orders").await?;
    assert!(expected.len() > KEYS, "the writers did hardly anything");
    assert_eq!(found.len(), expected.len());
    let wrong: Vec<_> = expected
        .iter()
        .filter(|(key, count)| found.get(*key) != Some(count))
        .map(|(key, count)| format!("{key}: {:?}, not {count}", found.get(key)))
        .collect();
    assert!(
        wrong.is_empty(),
        "{} keys: {:?}",
        wrong.len(),
        &wrong[..wrong.len().min(5)]
    );
    Ok(())
}

async fn a_paused_server_delays_no_answer_and_leaves_nothing_behind(version: &str) -> Result<()> {
    const LIMIT: Duration = Duration::from_millis(300);
    const ROUND: usize = 300;
    let stack = crate::support::stack(version)
        .separate_lattice()
        .start()
        .await?;
    stack.create_bucket("orders", history(1)).await?;
    let caller = linked(&stack, "default", "300ms").await?;
    let patient = linked(&stack, "patient", "30s").await?;
    everything_works(&patient).await?;
    let idle = subscriptions(&stack.nats).await?;

    let keys: Vec<_> = (0..50).map(|key| format!("key-{key}")).collect();
    let mut memory = Vec::new();
    for _ in 0..3 {
        stack.nats.pause().await?;
        let outcome = async {
            assert_everything_is_unavailable(&caller, LIMIT).await?;
            stream::iter(0..ROUND)
                .map(|_| async {
                    let answer = caller.get_many("default", &keys).await?;
                    assert_unavailable(answer.err().as_ref(), "get-many");
                    Ok::<_, anyhow::Error>(())
                })
                .buffer_unordered(50)
                .try_collect::<()>()
                .await
        }
        .await;
        stack.nats.resume()?;
        outcome?;
        everything_works(&patient).await?;
        memory.push(stack.provider.rss_kib()?);
    }

    eventually("the subscriptions are back to what they were", async || {
        let now = subscriptions(&stack.nats).await?;
        ensure!(now <= idle, "{now} subscriptions, {idle} when idle");
        Ok(())
    })
    .await?;
    // Several rounds, so that a few KiB that each call leaves behind add up.
    let growth = memory[2].saturating_sub(memory[1]);
    assert!(growth < 6 * 1024, "resident memory grew: {memory:?} KiB");
    Ok(())
}

/// More bytes than the sockets and the client's queue hold.
async fn a_paused_server_with_full_buffers_delays_no_answer(version: &str) -> Result<()> {
    const LIMIT: Duration = Duration::from_secs(1);
    const CALLS: usize = 24;
    let stack = crate::support::stack(version)
        .separate_lattice()
        .start()
        .await?;
    stack.create_bucket("orders", history(1)).await?;
    stack
        .provider
        .put_link(
            &stack
                .link(COMPONENT, "orders")
                .config("timeout", "1s")
                .config("max_concurrency", "4096"),
        )
        .await?;
    let caller = stack.caller(COMPONENT).with_timeout(LONG_TIMEOUT);
    let patient = linked(&stack, "patient", "30s").await?;
    everything_works(&patient).await?;
    let before = caller.get_many("default", &["stays"]).await??;
    assert_eq!(before, [value("stays")]);
    let idle = subscriptions(&stack.nats).await?;

    let text = "x".repeat(32 * 1024);
    let keys: Vec<_> = (0..200).map(|key| format!("key-{key}")).collect();
    let pairs: Vec<_> = keys.iter().map(|key| (key, &text)).collect();
    stack.nats.pause().await?;
    let outcome = async {
        // The last calls find the buffers full from the start.
        let calls = (0..CALLS).map(|_| async {
            let started = Instant::now();
            let answer = caller.set_many("default", &pairs).await?;
            assert_unavailable(answer.err().as_ref(), "set-many");
            Ok::<_, anyhow::Error>(started.elapsed())
        });
        let times = try_join_all(calls).await?;
        let longest = times.into_iter().max().unwrap_or_default();
        // 150 MB go over the lattice meanwhile, which takes its time before the call begins.
        ensure!(
            longest < LIMIT + GRACE + Duration::from_secs(8),
            "a write took {longest:?}"
        );
        assert_everything_is_unavailable(&caller, LIMIT).await
    };
    let outcome = timeout(LONG_TIMEOUT, outcome).await;
    stack.nats.resume()?;
    outcome.context("calls hang while the server is paused")??;
    everything_works(&patient).await?;
    eventually("the subscriptions are back to what they were", async || {
        let now = subscriptions(&stack.nats).await?;
        ensure!(now <= idle, "{now} subscriptions, {idle} when idle");
        Ok(())
    })
    .await
}

async fn a_bucket_that_was_deleted_works_when_it_is_created_again(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    let jetstream = stack.nats.jetstream().await?;
    // In memory: the server removes a stream's files after it has answered. While it is at that
    // for one deletion, the next of the same name leaves its files, and what is created then finds
    // the old messages in them.
    let in_memory = |history| StreamConfig {
        storage: jetstream::stream::StorageType::Memory,
        ..bucket_stream("orders", history)
    };
    jetstream.create_stream(in_memory(5)).await?;
    let caller = linked(&stack, "default", "10s").await?;
    everything_works(&caller).await?;

    jetstream.delete_key_value("orders").await?;
    assert_everywhere(&caller, "no-such-bucket", "orders").await?;
    jetstream.create_stream(in_memory(1)).await?;
    assert_eq!(caller.keys("default").await??, Vec::<String>::new());
    everything_works(&caller).await?;

    // Deleted and created again between two calls, so that the provider has not seen it gone; and
    // with other settings: no direct gets, a smaller limit, another history.
    for (round, operation) in ["get-many", "keys", "set-many", "delete-many"]
        .into_iter()
        .enumerate()
    {
        jetstream.delete_key_value("orders").await?;
        jetstream
            .create_stream(StreamConfig {
                allow_direct: round % 2 == 1,
                max_message_size: 2000,
                ..in_memory(3)
            })
            .await?;
        match operation {
            "get-many" => {
                let values = caller.get_many("default", &["stays", "b"]).await??;
                assert_eq!(values, [None, None]);
            }
            "keys" => assert_eq!(caller.keys("default").await??, Vec::<String>::new()),
            "set-many" => caller.set_many("default", &[("a", "1")]).await??,
            _ => caller.delete_many("default", &["a"]).await??,
        }
        everything_works(&caller)
            .await
            .with_context(|| format!("after {operation}"))?;
    }
    Ok(())
}

async fn a_bucket_whose_settings_were_changed_is_used_as_it_is_now(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    let jetstream = stack.nats.jetstream().await?;
    let as_created = bucket_stream("orders", 5);
    jetstream.create_stream(as_created.clone()).await?;
    let caller = linked(&stack, "default", "10s").await?;
    everything_works(&caller).await?;

    for allow_direct in [false, true, false] {
        let config = StreamConfig {
            allow_direct,
            ..as_created.clone()
        };
        jetstream.update_stream(config).await?;
        everything_works(&caller)
            .await
            .with_context(|| format!("with allow_direct = {allow_direct}"))?;
    }

    for max in [300, 200, 1000] {
        let config = StreamConfig {
            max_message_size: i32::try_from(max)?,
            ..as_created.clone()
        };
        jetstream.update_stream(config).await?;
        let over = "x".repeat(max + 1);
        let answer = caller
            .set_many("default", &[("fits", "1"), ("too-long", over.as_str())])
            .await?;
        let error = answer
            .err()
            .context("a value over the bucket's limit was taken")?;
        assert_eq!(error.case(), "invalid-argument", "{error:?}");
        assert!(error.text().contains("too-long"), "{error:?}");
        let exact = "x".repeat(max);
        caller
            .set_many("default", &[("exact", exact.as_str())])
            .await?
            .with_context(|| format!("a value of exactly {max} bytes"))?;
        let found = caller.get_many("default", &["exact"]).await??;
        assert_eq!(found, [value(&exact)]);
    }

    let config = StreamConfig {
        max_messages_per_subject: 1,
        ..as_created
    };
    jetstream.update_stream(config).await?;
    everything_works(&caller).await
}

async fn a_bucket_without_direct_gets_does_everything(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    let config = StreamConfig {
        allow_direct: false,
        ..bucket_stream("orders", 5)
    };
    stack.nats.jetstream().await?.create_stream(config).await?;
    let caller = linked(&stack, "default", "20s").await?;
    everything_works(&caller).await?;

    let all: Vec<_> = (0..700).map(|key| format!("many.{key}")).collect();
    let pairs: Vec<_> = all.iter().map(|key| (key, key)).collect();
    caller.set_many("default", &pairs).await??;
    caller.delete_many("default", &all[..100]).await??;
    let mut asked: Vec<_> = all.iter().map(String::as_str).rev().collect();
    asked.extend(["never", "many.650"]);
    let found = caller.get_many("default", &asked).await??;
    let deleted = |key: &str| all[..100].iter().any(|gone| gone == key) || key == "never";
    for (key, found) in asked.iter().zip(found) {
        let expected = if deleted(key) { None } else { value(key) };
        assert_eq!(found, expected, "{key}");
    }
    let listed = caller.keys("default").await??;
    assert_eq!(listed.len(), 600 + KEPT_BY_EVERYTHING);
    Ok(())
}

async fn a_stream_that_is_no_bucket_is_refused_until_it_is_one(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    let jetstream = stack.nats.jetstream().await?;
    for unlimited in [-1, 0] {
        let config = StreamConfig {
            max_messages_per_subject: unlimited,
            ..bucket_stream("orders", 1)
        };
        jetstream.create_stream(config).await?;
        let caller = linked(&stack, "default", "10s").await?;
        assert_everywhere(&caller, "no-such-bucket", "not a key-value bucket").await?;
        let messages = jetstream
            .get_stream("KV_orders")
            .await?
            .cached_info()
            .state
            .messages;
        assert_eq!(messages, 0, "nothing is written to such a stream");

        jetstream.update_stream(bucket_stream("orders", 1)).await?;
        everything_works(&caller).await?;
        jetstream.delete_stream("KV_orders").await?;
    }
    Ok(())
}

async fn a_server_without_jetstream_is_an_error_in_time(version: &str) -> Result<()> {
    let mut stack = crate::support::stack(version)
        .separate_lattice()
        .nats(|nats| nats.config("jetstream: disabled"))
        .start()
        .await?;
    let caller = linked(&stack, "default", "1s").await?;
    assert_everything_is_unavailable(&caller, Duration::from_secs(1)).await?;

    // Once it has JetStream, the same link works.
    stack.nats.stop().await?;
    stack.nats.set_config("");
    stack.nats.start().await?;
    stack.create_bucket("orders", history(1)).await?;
    let patient = linked(&stack, "patient", "30s").await?;
    everything_works(&patient).await?;
    everything_works(&caller).await?;

    Ok(())
}

async fn an_account_without_jetstream_gets_the_servers_message(version: &str) -> Result<()> {
    const ACCOUNTS: &str = "accounts {
        plain { users: [{ user: u, password: p }] }
        other { jetstream: enabled }
    }
    no_auth_user: u";
    let stack = crate::support::stack(version)
        .separate_lattice()
        .nats(|nats| nats.config(ACCOUNTS))
        .start()
        .await?;
    let caller = linked(&stack, "default", "5s").await?;
    assert_everywhere(&caller, "other", "JetStream not enabled").await
}

async fn a_mirror_is_read_here_and_written_at_its_origin(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    let origin = stack.create_bucket("origin", history(3)).await?;
    origin.put("old", "1".into()).await?;
    let mirror = kv::Config {
        history: 3,
        mirror: Some(Source {
            name: "origin".to_owned(),
            ..Source::default()
        }),
        ..kv::Config::default()
    };
    stack.create_bucket("copy", mirror).await?;
    stack
        .provider
        .put_link(&stack.link(COMPONENT, "copy").config("timeout", "10s"))
        .await?;
    let caller = stack.caller(COMPONENT).with_timeout(LONG_TIMEOUT);

    caller.open_bucket("default").await??;
    caller
        .set_many("default", &[("new", "2"), ("empty", ""), ("gone", "3")])
        .await??;
    caller.delete_many("default", &["gone"]).await??;
    assert_eq!(origin.get("new").await?.as_deref(), Some(&b"2"[..]));
    assert_eq!(origin.get("gone").await?, None);

    eventually("the mirror has what its origin has", async || {
        let asked = ["empty", "never", "gone", "new", "old", "new"];
        let found = caller.get_many("default", &asked).await??;
        let expected = [value(""), None, None, value("2"), value("1"), value("2")];
        ensure!(found == expected, "{found:?}");
        let single = caller.get_many("copy", &["old"]).await??;
        ensure!(single == [value("1")], "{single:?}");
        let mut keys = caller.keys("default").await??;
        keys.sort_unstable();
        ensure!(keys == ["empty", "new", "old"], "{keys:?}");
        Ok(())
    })
    .await?;

    // It is the mirror's own stream that is read, not the origin's.
    stack
        .nats
        .jetstream()
        .await?
        .delete_key_value("origin")
        .await?;
    let found = caller.get_many("default", &["new", "old"]).await??;
    assert_eq!(found, [value("2"), value("1")]);
    let answer = caller.batch().get_many("copy", &["new"]).await??;
    assert_eq!(answer, [Some(("new".to_owned(), "2".into()))]);
    Ok(())
}

/// A link of its own to the bucket `orders`, with this name and `timeout`.
async fn linked(stack: &Stack, name: &str, timeout: &str) -> Result<LatticeCaller> {
    let link = stack
        .link(COMPONENT, "orders")
        .name(name)
        .config("timeout", timeout);
    stack.provider.put_link(&link).await?;
    let caller = stack.caller(COMPONENT).with_link(name);
    Ok(caller.with_timeout(LONG_TIMEOUT))
}

fn history(history: i64) -> kv::Config {
    kv::Config {
        history,
        ..kv::Config::default()
    }
}

/// The stream of a bucket (ADR-8), for the settings that a client's own call does not offer.
fn bucket_stream(bucket: &str, history: i64) -> StreamConfig {
    StreamConfig {
        name: format!("KV_{bucket}"),
        subjects: vec![format!("$KV.{bucket}.>")],
        max_messages_per_subject: history,
        allow_direct: true,
        allow_rollup: true,
        deny_delete: true,
        discard: jetstream::stream::DiscardPolicy::New,
        ..StreamConfig::default()
    }
}

/// How many keys [`everything_works`] leaves in the bucket.
const KEPT_BY_EVERYTHING: usize = 2;

/// One round through all operations of both interfaces.
async fn everything_works(caller: &LatticeCaller) -> Result<()> {
    caller.open_bucket("default").await??;
    caller
        .set_many(
            "default",
            &[
                ("stays", b"stays".as_slice()),
                ("goes", b"\xff"),
                ("empty", b""),
            ],
        )
        .await??;
    let asked = ["empty", "never", "stays", "goes", "stays"];
    let found = caller.get_many("default", &asked).await??;
    let expected = [
        value(""),
        None,
        value("stays"),
        Some(b"\xff".to_vec()),
        value("stays"),
    ];
    ensure!(found == expected, "{found:?}");
    caller.delete_many("default", &["goes", "never"]).await??;
    ensure!(caller.get_many("default", &["goes"]).await?? == [None]);
    let keys = caller.keys("default").await??;
    ensure!(keys.iter().any(|key| key == "stays"), "{keys:?}");
    ensure!(!keys.iter().any(|key| key == "goes"), "{keys:?}");

    let batch = caller.batch();
    batch.set_many("default", &[("batch", "1")]).await??;
    let found = batch.get_many("default", &["batch", "goes"]).await??;
    ensure!(
        found == [Some(("batch".to_owned(), "1".into())), None],
        "{found:?}"
    );
    batch.delete_many("default", &["batch"]).await??;
    ensure!(batch.get_many("default", &["batch"]).await?? == [None]);
    Ok(())
}

/// Every operation answers `unavailable`, and not later than `limit` and a little.
async fn assert_everything_is_unavailable(caller: &LatticeCaller, limit: Duration) -> Result<()> {
    let started = Instant::now();
    for_each_operation(caller, |operation, error| {
        assert_unavailable(error, operation);
    })
    .await?;
    let took = started.elapsed();
    assert!(took < limit + GRACE, "answered after {took:?}");
    Ok(())
}

fn assert_unavailable(error: Option<&EventualBatchError>, operation: &str) {
    assert!(
        matches!(error, Some(EventualBatchError::Unavailable(_))),
        "{operation}: {error:?}"
    );
}

/// Every operation answers an error of this case, whose text has these words. So does open-bucket once
/// another operation has found out.
async fn assert_everywhere(caller: &LatticeCaller, case: &str, words: &str) -> Result<()> {
    let check = |operation: &str, error: Option<&EventualBatchError>| {
        let error = error.unwrap_or_else(|| panic!("{operation} answered ok"));
        assert_eq!(error.case(), case, "{operation}: {error:?}");
        assert!(error.text().contains(words), "{operation}: {error:?}");
    };
    for_each_operation(caller, check).await?;
    let opened = caller.open_bucket("default").await?;
    check("open-bucket", opened.err().as_ref());
    let answer = caller.batch().get_many("default", &["a"]).await?;
    match (case, answer) {
        ("no-such-bucket", Err(BatchError::NoSuchStore)) | ("other", Err(BatchError::Other(_))) => {
            Ok(())
        }
        (_, answer) => bail!("the other interface answers {answer:?}"),
    }
}

/// The outcome of every operation, all called at once; not of open-bucket, which does not ask about a
/// bucket that was there a moment ago.
async fn for_each_operation(
    caller: &LatticeCaller,
    check: impl Fn(&str, Option<&EventualBatchError>),
) -> Result<()> {
    let (one, many, keys, set, deleted) = tokio::try_join!(
        Box::pin(caller.get_many("default", &["kept"])),
        Box::pin(caller.get_many("default", &["kept", "a", "b"])),
        Box::pin(caller.keys("default")),
        Box::pin(caller.set_many("default", &[("late", "1"), ("kept", "late")])),
        Box::pin(caller.delete_many("default", &["kept"])),
    )?;
    check("get-many of one", one.err().as_ref());
    check("get-many", many.err().as_ref());
    check("keys", keys.err().as_ref());
    check("set-many", set.err().as_ref());
    check("delete-many", deleted.err().as_ref());
    Ok(())
}

/// What get-many answers for a key with this value.
#[allow(clippy::unnecessary_wraps)]
fn value(text: &str) -> Option<Vec<u8>> {
    Some(text.as_bytes().to_vec())
}

fn counts<const N: usize>(counts: [(&str, usize); N]) -> HashMap<String, usize> {
    counts.map(|(key, count)| (key.to_owned(), count)).into()
}

/// How many messages the bucket holds of each key.
async fn revisions(stack: &Stack, bucket: &str) -> Result<HashMap<String, usize>> {
    let stream = stack.nats.jetstream().await?;
    let stream = stream.get_stream(format!("KV_{bucket}")).await?;
    let prefix = format!("$KV.{bucket}.");
    let mut subjects = stream.info_with_subjects(format!("{prefix}>")).await?;
    let mut revisions = HashMap::new();
    while let Some((subject, count)) = subjects.try_next().await? {
        let key = subject.strip_prefix(&prefix).context("a strange subject")?;
        revisions.insert(key.to_owned(), count);
    }
    Ok(revisions)
}

/// The subscriptions of the provider's connection to the buckets' server.
async fn subscriptions(nats: &NatsServer) -> Result<u64> {
    let connection = nats.connection_named(env!("CARGO_PKG_NAME")).await?;
    Ok(connection.subscriptions)
}

/// Waits until `check` succeeds.
async fn eventually<F: Future<Output = Result<()>>>(
    what: &str,
    check: impl Fn() -> F,
) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match check().await {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() >= deadline => {
                return Err(error.context(format!("not so after 60 s: {what}")));
            }
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}
