//! Batches that are stored as a whole or not at all (`atomic`).

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::interface::{BOTH, refused};
use crate::support::proxy::Proxy;
use crate::support::put_with_long_timeout as linked;
use crate::support::waiting::eventually;
use anyhow::{Context as _, Result, ensure};
use futures::StreamExt as _;
use futures::future::try_join_all;
use testkit::async_nats::jetstream::consumer::pull::OrderedConfig;
use testkit::async_nats::jetstream::stream::{Config, Source, Stream};
use testkit::async_nats::{ConnectOptions, HeaderMap, jetstream};
use testkit::{LatticeCaller, LinkDefinition, NatsServer, Stack};

on_all_versions!(a_server_or_a_bucket_that_cannot_says_so_until_it_can,);

/// Runs the tests on the oldest and the newest server here that have atomic batches.
macro_rules! on_servers_with_atomic_batches {
    ($($test:ident),* $(,)?) => {
        on_version!(third_atomic, testkit::NATS_VERSIONS[2], [$($test),*]);
        on_version!(newest_atomic, testkit::NEWEST, [$($test),*]);
    };
}

on_servers_with_atomic_batches!(
    a_batch_is_one,
    what_is_refused_stores_nothing,
    readers_see_all_of_a_batch_or_nothing,
    readers_see_all_of_a_batch_of_large_values_or_nothing,
    batches_that_are_given_up_hold_up_no_others,
    a_storage_limit_in_mid_batch_is_told,
    more_batches_than_a_server_takes_at_once_are_all_stored,
    a_lost_answer_to_the_commit_is_resolved,
    values_of_an_atomic_batch_end,
);

const COMPONENT: &str = "component";

/// The most keys of one batch.
const MOST: usize = 1000;

fn link(stack: &Stack, name: &str, bucket: &str) -> LinkDefinition {
    let link = stack.link(COMPONENT, bucket).name(name).wasi_keyvalue();
    link.config("timeout", "60s").config("atomic", "true")
}

fn bucket(name: &str) -> Config {
    Config {
        name: format!("KV_{name}"),
        subjects: vec![format!("$KV.{name}.>")],
        max_messages_per_subject: 1,
        allow_rollup: true,
        allow_direct: true,
        ..Config::default()
    }
}

fn atomic(name: &str) -> Config {
    Config {
        allow_atomic_publish: true,
        ..bucket(name)
    }
}

async fn with_orders(version: &str, config: Config) -> Result<(Stack, LatticeCaller)> {
    let stack = crate::support::stack(version).start().await?;
    stack.nats.jetstream().await?.create_stream(config).await?;
    let caller = linked(&stack, &link(&stack, "default", "orders")).await?;
    Ok((stack, caller))
}

/// The bucket `orders`, on a server where the user `some` may write all keys but this one. The user
/// `all` may do everything. The password of both is `p`.
async fn with_restricted_login(version: &str, denied_key: usize) -> Result<(Stack, Stream)> {
    let logins = format!(
        r#"authorization {{ users: [
        {{ user: some, password: "p", permissions: {{
            publish: {{ deny: [ "$KV.orders.key.{denied_key}" ] }} }} }}
        {{ user: all, password: "p" }}
    ] }}"#
    );
    let stack = crate::support::stack(version)
        .nats(|nats| nats.config(logins))
        .separate_lattice()
        .start()
        .await?;
    let all = ConnectOptions::with_user_and_password("all".into(), "p".into());
    let jetstream = jetstream::new(stack.nats.client_with(all).await?);
    let stream = jetstream.create_stream(atomic("orders")).await?;
    Ok((stack, stream))
}

async fn messages(nats: &NatsServer, bucket: &str) -> Result<u64> {
    let jetstream = nats.jetstream().await?;
    let stream = jetstream.get_stream(format!("KV_{bucket}")).await?;
    Ok(stream.cached_info().state.messages)
}

fn pairs(count: usize, value: &str) -> Vec<(String, String)> {
    (0..count)
        .map(|n| (format!("key.{n}"), value.to_owned()))
        .collect()
}

fn keys(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("key.{n}")).collect()
}

async fn a_server_or_a_bucket_that_cannot_says_so_until_it_can(version: &str) -> Result<()> {
    let (stack, caller) = with_orders(version, bucket("orders")).await?;
    let knows = ["2.12.", "2.15."].iter().any(|it| version.starts_with(it));
    let mut buckets = vec!["default"];
    if knows {
        // It may be that the origin could.
        let jetstream = stack.nats.jetstream().await?;
        jetstream.create_stream(atomic("origin")).await?;
        let mirror = Config {
            subjects: Vec::new(),
            allow_rollup: false,
            mirror: Some(Source {
                name: "KV_origin".to_owned(),
                ..Source::default()
            }),
            ..bucket("mirror")
        };
        jetstream.create_stream(mirror).await?;
        linked(&stack, &link(&stack, "mirror", "mirror")).await?;
        buckets.push("mirror");
    }
    for bucket in buckets {
        let words = match bucket {
            "mirror" => "is a mirror".to_owned(),
            _ if knows => "set `allow_atomic` of the stream `KV_orders`".to_owned(),
            _ => format!("needs nats-server 2.12.1 or newer, and this server has {version}"),
        };
        for interface in BOTH {
            for count in [1, 2, MOST] {
                let (pairs, keys) = (pairs(count, "1"), keys(count));
                let set = refused(interface.set_many(&caller, bucket, &pairs).await?)?;
                let deleted = interface.delete_many(&caller, bucket, &keys).await?;
                let deleted = refused(deleted)?;
                for error in [set, deleted] {
                    assert_eq!(error.case, "other", "{bucket}: {error}");
                    assert!(error.text.contains(&words), "{bucket}: {error}");
                    assert!(error.text.contains("with `atomic`"), "{bucket}: {error}");
                }
            }
            let over = pairs(MOST + 1, "1");
            let over = refused(interface.set_many(&caller, bucket, &over).await?)?;
            assert!(
                over.text.contains("1000 keys in one atomic batch"),
                "{over}"
            );
            // What is no batch works.
            assert_eq!(caller.keys(bucket).await??, Vec::<String>::new());
            let values = interface.get_many(&caller, bucket, &["a"]).await??;
            assert_eq!(values, [None]);
            let none: [(&str, &str); 0] = [];
            interface.set_many(&caller, bucket, &none).await??;
        }
    }
    assert_eq!(messages(&stack.nats, "orders").await?, 0);
    caller.store().set("default", "single", "1").await??;
    assert_eq!(caller.atomics().increment("default", "n", 2).await??, 2);
    if knows {
        assert_eq!(messages(&stack.nats, "origin").await?, 0);
        // The operator does what the error says.
        let jetstream = stack.nats.jetstream().await?;
        jetstream.update_stream(atomic("orders")).await?;
        caller.set_many("default", &pairs(3, "1")).await??;
        assert_eq!(caller.keys("default").await??.len(), 5);
        // And takes it back: what the link knows is out of date.
        jetstream.update_stream(bucket("orders")).await?;
        let error = refused(caller.set_many("default", &pairs(3, "2")).await?)?;
        assert!(error.text.contains("set `allow_atomic`"), "{error}");
        let values = caller.get_many("default", &keys(3)).await??;
        assert!(values.iter().flatten().all(|value| *value == *b"1"));
    }
    Ok(())
}

/// The batch ids of the bucket's messages, and the number and the highest sequence of each batch.
async fn batches(nats: &NatsServer, bucket: &str) -> Result<HashMap<String, (usize, usize)>> {
    let jetstream = nats.jetstream().await?;
    let stream = jetstream.get_stream(format!("KV_{bucket}")).await?;
    let mut left = stream.cached_info().state.messages;
    let consumer = stream.create_consumer(OrderedConfig::default()).await?;
    let mut found = HashMap::<String, (usize, usize)>::new();
    let mut messages = consumer.messages().await?;
    while left > 0 {
        let message = messages.next().await.context("no message")??;
        left -= 1;
        let header = |name: &str| {
            let headers = message.headers.as_ref()?;
            Some(headers.get(name)?.to_string())
        };
        let batch = found.entry(header("Nats-Batch-Id").unwrap_or_default());
        let (count, highest) = batch.or_default();
        *count += 1;
        let sequence = header("Nats-Batch-Sequence").unwrap_or_default();
        *highest = sequence.parse().unwrap_or(0).max(*highest);
    }
    Ok(found)
}

async fn a_batch_is_one(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    let created = link(&stack, "default", "orders").config("enable_bucket_auto_create", "true");
    let caller = linked(&stack, &created).await?;
    for count in [2, 3, 64, 65, 500, MOST] {
        let value = format!("value of {count}");
        caller.set_many("default", &pairs(count, &value)).await??;
        let values = caller.get_many("default", &keys(count)).await??;
        assert!(values.iter().flatten().all(|it| *it == value.as_bytes()));
        assert_eq!(values.iter().flatten().count(), count);
        let batches = batches(&stack.nats, "orders").await?;
        let sizes: Vec<_> = batches.values().collect();
        assert_eq!(sizes, [&(count, count)], "one batch of {count}");
    }
    // The last value of a key wins, and more values than keys may be over the server's limit.
    let mut twice = pairs(MOST, "first");
    twice.extend(pairs(MOST, "last"));
    caller.set_many("default", &twice).await??;
    let values = caller.get_many("default", &keys(MOST)).await??;
    assert!(values.iter().flatten().all(|it| *it == *b"last"));
    // Large values: more than may be in flight at a time.
    let large = pairs(40, &"x".repeat(500_000));
    caller.set_many("default", &large).await??;
    let values = caller.get_many("default", &keys(40)).await??;
    assert!(values.iter().flatten().all(|it| it.len() == 500_000));

    caller.delete_many("default", &keys(MOST)).await??;
    assert_eq!(caller.keys("default").await??, Vec::<String>::new());
    let batches = batches(&stack.nats, "orders").await?;
    assert_eq!(batches.into_values().collect::<Vec<_>>(), [(MOST, MOST)]);
    // A batch of one key needs no batch.
    caller.set_many("default", &[("one", "1")]).await??;
    assert_eq!(caller.keys("default").await??, ["one"]);
    Ok(())
}

async fn what_is_refused_stores_nothing(version: &str) -> Result<()> {
    let small = Config {
        max_bytes: 20_000,
        discard: testkit::async_nats::jetstream::stream::DiscardPolicy::New,
        max_message_size: 5000,
        ..atomic("orders")
    };
    let (stack, caller) = with_orders(version, small).await?;
    caller.set_many("default", &pairs(3, "before")).await??;
    let whole = "x".repeat(4000);
    let mut too_many = pairs(10, &whole);
    let error = refused(caller.set_many("default", &too_many).await?)?;
    for words in ["none of the 10 keys is set", "maximum bytes exceeded"] {
        assert!(error.text.contains(words), "{error}");
    }
    too_many.truncate(3);
    too_many[1].1 = "x".repeat(4999);
    let error = refused(caller.set_many("default", &too_many).await?)?;
    assert_eq!(error.case, "invalid-argument", "{error}");
    assert!(error.text.contains("\"key.1\""), "{error}");
    assert!(
        error.text.contains("less the headers of an atomic batch"),
        "{error}"
    );
    too_many[1] = ("a b".to_owned(), whole);
    let error = refused(caller.set_many("default", &too_many).await?)?;
    assert_eq!(error.case, "invalid-argument", "{error}");

    // A login that may write only some of the keys.
    let values = caller.get_many("default", &keys(10)).await??;
    assert_eq!(values.iter().flatten().count(), 3);
    assert!(values.iter().flatten().all(|value| *value == *b"before"));
    assert_eq!(messages(&stack.nats, "orders").await?, 3);

    let (separate, mut stream) = with_restricted_login(version, 5).await?;
    let link = link(&separate, "default", "orders").config("username", "some");
    let caller = linked(&separate, &link.config("password", "p")).await?;
    let error = refused(caller.set_many("default", &pairs(10, "1")).await?)?;
    assert_eq!(error.case, "access-denied", "{error}");
    for words in ["none of the 10 keys is set", "$KV.orders.key.5"] {
        assert!(error.text.contains(words), "{error}");
    }
    assert_eq!(stream.info().await?.state.messages, 0);
    caller.set_many("default", &pairs(5, "1")).await??;
    assert_eq!(stream.info().await?.state.messages, 5);
    Ok(())
}

async fn readers_see_all_of_a_batch_or_nothing(version: &str) -> Result<()> {
    readers_see_whole_batches(version, 500, 0).await
}

/// The server takes more of them into one answer than the provider expects after small values.
async fn readers_see_all_of_a_batch_of_large_values_or_nothing(version: &str) -> Result<()> {
    readers_see_whole_batches(version, 150, 10_000).await
}

/// Reads 128 keys again and again while batches of more keys are written. The values have `padding`
/// bytes more than they need.
async fn readers_see_whole_batches(version: &str, batch: usize, padding: usize) -> Result<()> {
    const ROUNDS: usize = 60;
    /// As many as one request reads.
    const READ: usize = 128;
    let (_stack, caller) = with_orders(version, atomic("orders")).await?;
    let padding = "x".repeat(padding);
    let small = [("small.1", "1"), ("small.2", "2")];
    caller.set_many("default", &small).await??;
    // A key that was never written is read by itself, and so at another time than the others.
    caller
        .set_many("default", &pairs(batch, "before"))
        .await??;
    let written = AtomicBool::new(false);
    let write = async {
        for round in 0..ROUNDS {
            let values = pairs(batch, &format!("round {round} {padding}"));
            caller.set_many("default", &values).await??;
            if round % 10 == 9 {
                caller.delete_many("default", &keys(batch)).await??;
            }
        }
        written.store(true, Ordering::SeqCst);
        anyhow::Ok(())
    };
    let read = async {
        let mut seen = HashSet::new();
        let mut start = 0;
        while !written.load(Ordering::SeqCst) {
            let values = caller
                .get_many("default", &["small.1", "small.2"])
                .await??;
            ensure!(values.iter().all(Option::is_some));
            start = (start + 37) % batch;
            // From one end of the batch to the other.
            let asked: Vec<_> = (0..READ)
                .map(|n| format!("key.{}", (start + n) % batch))
                .collect();
            let values = caller.get_many("default", &asked).await??;
            let first = values[0].clone();
            let other = values.iter().position(|value| *value != first);
            ensure!(other.is_none(), "value {other:?} is of another batch");
            seen.insert(first);
        }
        Ok(seen)
    };
    let ((), seen) = tokio::try_join!(write, read)?;
    ensure!(seen.len() > 5, "reads and batches met: {}", seen.len());
    Ok(())
}

/// A server takes 50 batches of a stream at once, and waits ten seconds for the rest of each.
async fn batches_that_are_given_up_hold_up_no_others(version: &str) -> Result<()> {
    const GIVEN_UP: usize = 60;
    let (stack, _) = with_restricted_login(version, 1).await?;
    let of = |name: &str, user: &str| {
        let link = link(&stack, name, "orders").config("username", user);
        link.config("password", "p").config("timeout", "2s")
    };
    let caller = linked(&stack, &of("default", "all")).await?;
    let some = linked(&stack, &of("some", "some")).await?.with_link("some");
    for n in 0..GIVEN_UP {
        let error = refused(some.set_many("default", &pairs(2, "1")).await?)?;
        assert_eq!(error.case, "access-denied", "batch {n}: {error}");
    }
    caller.set_many("default", &pairs(2, "2")).await??;
    Ok(())
}

/// A bucket with one replica: the server looks at the limit again for each message of a batch.
async fn a_storage_limit_in_mid_batch_is_told(version: &str) -> Result<()> {
    const BATCH: usize = 100;
    let stack = crate::support::stack(version)
        .nats(|nats| nats.jetstream_config("max_file_store: 300K"))
        .start()
        .await?;
    stack
        .nats
        .jetstream()
        .await?
        .create_stream(atomic("orders"))
        .await?;
    let caller = linked(
        &stack,
        &link(&stack, "default", "orders").config("timeout", "10s"),
    )
    .await?;
    let batch = pairs(BATCH, &"x".repeat(4000));
    let error = refused(caller.set_many("default", &batch).await?)?;
    let values = caller.get_many("default", &keys(BATCH)).await??;
    let set = values.iter().flatten().count();
    assert!(set < BATCH, "the limit is too high for this test");
    let says_none = error.text.contains("none of the 100 keys is set");
    let says_some = error.text.contains("only some keys");
    assert!(
        if set == 0 { says_none } else { says_some },
        "{set} keys are set: {error}"
    );
    Ok(())
}

async fn more_batches_than_a_server_takes_at_once_are_all_stored(version: &str) -> Result<()> {
    const CALLS: usize = 120;
    const KEYS: usize = 20;
    let (stack, caller) = with_orders(version, atomic("orders")).await?;
    // Another client has begun 48 batches, and ends none: the server takes 50 of a stream.
    let client = stack.nats.client().await?;
    let begin = (0..48).map(|n| {
        let client = client.clone();
        async move {
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Batch-Id", format!("other-{n}"));
            headers.insert("Nats-Batch-Sequence", "1");
            let subject = format!("$KV.orders.other.{n}");
            client
                .request_with_headers(subject, headers, "".into())
                .await
        }
    });
    for answer in try_join_all(begin).await? {
        ensure!(answer.payload.is_empty(), "{answer:?}");
    }
    let calls = (0..CALLS).map(|call| {
        let caller = &caller;
        async move {
            let keys = (0..KEYS).map(|key| format!("{call}.{key}"));
            let pairs: Vec<_> = keys.map(|key| (key, call.to_string())).collect();
            let set = caller.set_many("default", &pairs).await?;
            set.with_context(|| format!("call {call}"))
        }
    });
    try_join_all(calls).await?;
    let batches = batches(&stack.nats, "orders").await?;
    assert_eq!(batches.len(), CALLS);
    assert!(batches.values().all(|&batch| batch == (KEYS, KEYS)));
    Ok(())
}

async fn a_lost_answer_to_the_commit_is_resolved(version: &str) -> Result<()> {
    let stack = crate::support::stack(version)
        .separate_lattice()
        .start()
        .await?;
    let proxy = Proxy::start(stack.nats.port()).await?;
    let jetstream = stack.nats.jetstream().await?;
    let through_proxy = |name: &str, timeout: &str| {
        let link = stack.link(COMPONENT, name).name(name);
        link.config("atomic", "true")
            .config("cluster_uri", &proxy.url)
            .config("timeout", timeout)
    };
    // A batch that may be sent again, and one that may not: its id would be forgotten too soon.
    for (name, window) in [("again", 120_000), ("found", 100)] {
        let config = Config {
            duplicate_window: Duration::from_millis(window),
            max_messages_per_subject: 10,
            ..atomic(name)
        };
        jetstream.create_stream(config).await?;
        let caller = linked(&stack, &through_proxy(name, "30s")).await?;
        caller.set_many("default", &pairs(50, "before")).await??;
        proxy.lose(1);
        caller.set_many("default", &pairs(50, "after")).await??;
        assert_eq!(proxy.left(), 0, "the answer was lost");
        let values = caller.get_many("default", &keys(50)).await??;
        assert!(values.iter().flatten().all(|value| *value == *b"after"));
        assert_eq!(messages(&stack.nats, name).await?, 100, "stored once");
    }
    // No answer ever comes.
    jetstream.create_stream(atomic("unclear")).await?;
    let caller = linked(&stack, &through_proxy("unclear", "3s")).await?;
    caller.set_many("default", &pairs(50, "before")).await??;
    proxy.lose(usize::MAX);
    let error = refused(caller.set_many("default", &pairs(50, "after")).await?)?;
    proxy.lose(0);
    assert_eq!(error.case, "unavailable", "{error}");
    for words in [
        "either all of the 50 keys are set or none is",
        "not known which",
    ] {
        assert!(error.text.contains(words), "{error}");
    }
    // It was stored, and once only: each attempt had the same ids.
    eventually("the batch", async || {
        let values = caller.get_many("default", &keys(50)).await??;
        Ok(values
            .iter()
            .flatten()
            .all(|value| *value == *b"after")
            .then_some(()))
    })
    .await?;
    let last = jetstream.get_stream("KV_unclear").await?;
    assert_eq!(last.cached_info().state.last_sequence, 100);
    Ok(())
}

async fn values_of_an_atomic_batch_end(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    let link = link(&stack, "default", "orders")
        .config("enable_bucket_auto_create", "true")
        .config("bucket_marker_ttl", "1s")
        .config("value_ttl", "2s");
    let caller = linked(&stack, &link).await?;
    caller.set_many("default", &pairs(100, "brief")).await??;
    caller.delete_many("default", &keys(50)).await??;
    eventually("all values and markers to end", async || {
        Ok((messages(&stack.nats, "orders").await? == 0).then_some(()))
    })
    .await?;
    assert_eq!(caller.keys("default").await??, Vec::<String>::new());
    Ok(())
}
