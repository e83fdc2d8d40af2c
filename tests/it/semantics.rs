//! What each operation promises, through both interfaces.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::interface::{BOTH, BatchInterface, refused};
use anyhow::{Context as _, Result, ensure};
use testkit::async_nats::jetstream::{self, kv, stream};
use testkit::async_nats::{Client, ConnectOptions};
use testkit::{LatticeCaller, OLDEST, Stack};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

on_oldest_and_newest!(
    get_many_answers_each_place_in_the_order_asked,
    an_expired_key_has_no_value,
    set_many_overwrites_and_the_last_of_a_repeated_key_wins,
    delete_many_skips_what_is_not_there,
    an_empty_list_is_ok_without_a_message_to_nats,
    keys_lists_each_key_that_has_a_value_once,
    keys_is_right_while_another_client_writes,
    get_many_never_misses_a_key_that_is_always_there,
    a_full_bucket_fails_exactly_the_keys_that_the_error_counts,
    a_refused_subject_fails_only_its_own_keys,
    open_bucket_tells_what_can_be_opened,
);

/// Longer than any wait here takes, on a busy machine too.
const LONG_TIMEOUT: Duration = Duration::from_secs(30);

#[allow(clippy::unnecessary_wraps)] // As it stands in an answer.
fn some(text: &str) -> Option<Vec<u8>> {
    Some(text.as_bytes().to_vec())
}

async fn sorted_keys(caller: &LatticeCaller, bucket: &str) -> Result<Vec<String>> {
    let mut keys = caller.keys(bucket).await??;
    keys.sort_unstable();
    Ok(keys)
}

/// One bucket of each kind that is read or listed in its own way.
async fn buckets_of_all_kinds(stack: &Stack) -> Result<Vec<kv::Store>> {
    let memory = kv::Config {
        storage: stream::StorageType::Memory,
        ..kv::Config::default()
    };
    let history = kv::Config {
        history: 5,
        ..kv::Config::default()
    };
    Ok(vec![
        stack.create_bucket("plain", kv::Config::default()).await?,
        stack.create_bucket("memory", memory).await?,
        stack.create_bucket("history", history).await?,
        create_bucket_without_direct_gets(stack, "leader").await?,
    ])
}

/// A bucket as other tools and older clients create it.
async fn create_bucket_without_direct_gets(stack: &Stack, name: &str) -> Result<kv::Store> {
    let jetstream = stack.nats.jetstream().await?;
    let stream = jetstream
        .create_stream(stream::Config {
            name: format!("KV_{name}"),
            subjects: vec![format!("$KV.{name}.>")],
            max_messages_per_subject: 1,
            allow_rollup: true,
            deny_delete: true,
            discard: stream::DiscardPolicy::New,
            ..stream::Config::default()
        })
        .await?;
    ensure!(!stream.cached_info().config.allow_direct);
    Ok(jetstream.get_key_value(name).await?)
}

async fn get_many_answers_each_place_in_the_order_asked(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    for bucket in Box::pin(buckets_of_all_kinds(&stack)).await? {
        let caller =
            crate::support::linked_with_long_timeout(&stack, "component", &bucket.name).await?;
        for key in ["b", "a", "old", "deleted", "purged", "back", "c.d"] {
            bucket.put(key, format!("{key} first").into()).await?;
        }
        bucket.put("old", "new".into()).await?;
        bucket.put("empty", "".into()).await?;
        bucket.delete("deleted").await?;
        bucket.purge("purged").await?;
        bucket.delete("back").await?;
        bucket.put("back", "again".into()).await?;

        let asked = [
            "c.d", "empty", "missing", "a", "deleted", "old", "a", "purged", "missing", "back",
            "empty", "b", "a",
        ];
        let a = some("a first");
        let expected = [
            some("c.d first"),
            some(""),
            None,
            a.clone(),
            None,
            some("new"),
            a.clone(),
            None,
            None,
            some("again"),
            some(""),
            some("b first"),
            a,
        ];
        for interface in BOTH {
            let place = format!("{interface:?} {}", bucket.name);
            let values = interface.get_many(&caller, "default", &asked).await??;
            assert_eq!(values, expected, "{place}");
            // One key alone may take another way than many.
            for (key, value) in asked.iter().zip(&expected) {
                let alone = interface.get_many(&caller, "default", &[key]).await??;
                assert_eq!(alone, std::slice::from_ref(value), "{place} {key}");
            }
            let none = ["missing", "deleted", "purged"];
            let values = interface.get_many(&caller, "default", &none).await??;
            assert_eq!(values, [None, None, None], "{place}");
        }
    }
    Ok(())
}

async fn an_expired_key_has_no_value(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    let short_lived = kv::Config {
        max_age: Duration::from_secs(5),
        ..kv::Config::default()
    };
    stack.create_bucket("short-lived", short_lived).await?;
    let caller =
        crate::support::linked_with_long_timeout(&stack, "component", "short-lived").await?;
    caller
        .set_many("default", &[("a", "1"), ("b", "2")])
        .await??;
    let values = caller.get_many("default", &["a", "b"]).await??;
    assert_eq!(values, [some("1"), some("2")]);
    expire(&caller, "short-lived", &["a", "b"]).await?;
    assert_eq!(caller.keys("default").await??, Vec::<String>::new());

    if version == OLDEST {
        return Ok(());
    }
    // Since 2.11 a key can have a time of its own, and the server leaves a marker in its place.
    let with_markers = kv::Config {
        limit_markers: Some(Duration::from_secs(600)),
        ..kv::Config::default()
    };
    let bucket = stack.create_bucket("markers", with_markers).await?;
    let caller = crate::support::linked_with_long_timeout(&stack, "component", "markers").await?;
    let second = Duration::from_secs(1);
    for key in ["brief", "short"] {
        bucket.create_with_ttl(key, "1".into(), second).await?;
    }
    bucket.put("stays", "2".into()).await?;
    expire(&caller, "markers", &["brief", "short"]).await?;
    assert_eq!(bucket.stream.clone().info().await?.state.messages, 3);
    let marker = bucket
        .stream
        .get_last_raw_message_by_subject("$KV.markers.brief")
        .await?;
    assert!(marker.headers.get("Nats-Marker-Reason").is_some());
    for interface in BOTH {
        let asked = ["brief", "stays", "short"];
        let values = interface.get_many(&caller, "default", &asked).await??;
        assert_eq!(values, [None, some("2"), None], "{interface:?}");
    }
    assert_eq!(sorted_keys(&caller, "default").await?, ["stays"]);

    caller.set_many("default", &[("brief", "back")]).await??;
    let values = caller.get_many("default", &["brief", "short"]).await??;
    assert_eq!(values, [some("back"), None]);
    assert_eq!(sorted_keys(&caller, "default").await?, ["brief", "stays"]);
    Ok(())
}

/// Waits until both interfaces answer that none of the keys has a value.
async fn expire(caller: &LatticeCaller, bucket: &str, keys: &[&str]) -> Result<()> {
    let deadline = Instant::now() + LONG_TIMEOUT;
    for interface in BOTH {
        loop {
            let values = interface.get_many(caller, bucket, keys).await??;
            if values.iter().all(Option::is_none) {
                break;
            }
            ensure!(
                Instant::now() < deadline,
                "{keys:?} do not expire: {values:?}"
            );
            sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(())
}

async fn set_many_overwrites_and_the_last_of_a_repeated_key_wins(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    for bucket in Box::pin(buckets_of_all_kinds(&stack)).await? {
        let caller =
            crate::support::linked_with_long_timeout(&stack, "component", &bucket.name).await?;
        for interface in BOTH {
            let place = format!("{interface:?} {}", bucket.name);
            for round in ["first", "second"] {
                let pairs: Vec<_> = (0..300)
                    .map(|n| (format!("key-{}", n % 100), format!("{round} {n}")))
                    .chain([("emptied".to_owned(), round.to_owned())])
                    .chain([("emptied".to_owned(), String::new())])
                    .chain([("filled".to_owned(), String::new())])
                    .chain([("filled".to_owned(), round.to_owned())])
                    .collect();
                interface.set_many(&caller, "default", &pairs).await??;
                for n in [0, 57, 99] {
                    let stored = bucket.get(format!("key-{n}")).await?;
                    let last = format!("{round} {}", 200 + n);
                    assert_eq!(stored, Some(last.into()), "{place} {n}");
                }
                assert_eq!(bucket.get("emptied").await?, Some("".into()), "{place}");
                assert_eq!(bucket.get("filled").await?, Some(round.into()), "{place}");
            }
        }
        assert_eq!(caller.keys("default").await??.len(), 102);
    }
    Ok(())
}

async fn delete_many_skips_what_is_not_there(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    for bucket in Box::pin(buckets_of_all_kinds(&stack)).await? {
        let caller =
            crate::support::linked_with_long_timeout(&stack, "component", &bucket.name).await?;
        for interface in BOTH {
            let place = format!("{interface:?} {}", bucket.name);
            for key in ["a", "b", "c", "stays"] {
                bucket.put(key, "1".into()).await?;
            }
            let deleted = ["never", "a", "b", "a", "c"];
            for _twice in 0..2 {
                interface
                    .delete_many(&caller, "default", &deleted)
                    .await??;
                for key in deleted {
                    assert_eq!(bucket.get(key).await?, None, "{place} {key}");
                }
                let values = interface.get_many(&caller, "default", &deleted).await??;
                assert!(values.iter().all(Option::is_none), "{place} {values:?}");
            }
            interface
                .delete_many(&caller, "default", &["never"])
                .await??;
            assert_eq!(sorted_keys(&caller, "default").await?, ["stays"], "{place}");
            interface
                .set_many(&caller, "default", &[("a", "")])
                .await??;
            assert_eq!(
                sorted_keys(&caller, "default").await?,
                ["a", "stays"],
                "{place}"
            );
        }
    }
    Ok(())
}

async fn an_empty_list_is_ok_without_a_message_to_nats(version: &str) -> Result<()> {
    let stack = crate::support::stack(version)
        .separate_lattice()
        .start()
        .await?;
    stack.create_bucket("orders", kv::Config::default()).await?;
    let caller = crate::support::linked_with_long_timeout(&stack, "component", "orders").await?;
    stack
        .provider
        .put_link(&stack.link("component", "no-such-bucket").name("missing"))
        .await?;
    caller.open_bucket("default").await??;
    let before = messages_from_provider(&stack).await?;
    let no_keys: [&str; 0] = [];
    let no_pairs: [(&str, &str); 0] = [];
    for interface in BOTH {
        for bucket in ["default", "orders", "missing"] {
            let values = interface.get_many(&caller, bucket, &no_keys).await??;
            assert_eq!(values, [], "{interface:?} {bucket}");
            interface.set_many(&caller, bucket, &no_pairs).await??;
            interface.delete_many(&caller, bucket, &no_keys).await??;
        }
    }
    assert_eq!(messages_from_provider(&stack).await?, before);
    // The count does count, and the missing bucket is missing.
    let one = ["a"];
    assert_eq!(caller.get_many("default", &one).await??, [None]);
    assert!(messages_from_provider(&stack).await? > before);
    let error = refused(
        BatchInterface::EventualBatch
            .get_many(&caller, "missing", &one)
            .await?,
    )?;
    assert_eq!(error.case, "no-such-bucket");
    Ok(())
}

/// How many messages the server with the buckets has got from the provider.
async fn messages_from_provider(stack: &Stack) -> Result<u64> {
    let connection = stack.nats.connection_named(env!("CARGO_PKG_NAME")).await?;
    Ok(connection.in_msgs)
}

async fn keys_lists_each_key_that_has_a_value_once(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    for bucket in Box::pin(buckets_of_all_kinds(&stack)).await? {
        let name = &bucket.name;
        let caller = crate::support::linked_with_long_timeout(&stack, "component", name).await?;
        let nothing: [&str; 0] = [];
        assert_eq!(sorted_keys(&caller, "default").await?, nothing, "{name}");

        for round in 0..4 {
            for key in ["a", "b.c.d", "empty", "E=_/-1", "deleted", "purged", "back"] {
                let value = if key == "empty" { "" } else { "1" };
                bucket.put(key, value.into()).await?;
            }
            bucket.delete("deleted").await?;
            bucket.purge("purged").await?;
            bucket.purge("back").await?;
            if round % 2 == 0 {
                bucket.put("back", "".into()).await?;
            } else {
                caller.set_many("default", &[("back", "")]).await??;
            }
            let keys = sorted_keys(&caller, "default").await?;
            assert_eq!(keys, ["E=_/-1", "a", "b.c.d", "back", "empty"], "{name}");
        }

        let keys = sorted_keys(&caller, "default").await?;
        caller.delete_many("default", &keys).await??;
        assert_eq!(sorted_keys(&caller, "default").await?, nothing, "{name}");
    }
    Ok(())
}

async fn keys_is_right_while_another_client_writes(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    for history in [1, 3] {
        let config = kv::Config {
            history,
            ..kv::Config::default()
        };
        let bucket = stack
            .create_bucket(&format!("busy-{history}"), config)
            .await?;
        let caller =
            crate::support::linked_with_long_timeout(&stack, "component", &bucket.name).await?;
        let always: Vec<_> = (0..400).map(|n| format!("always-{n}")).collect();
        let gone: Vec<_> = (0..100).map(|n| format!("gone-{n}")).collect();
        let pairs: Vec<_> = always.iter().chain(&gone).map(|key| (key, "1")).collect();
        caller.set_many("default", &pairs).await??;
        caller.delete_many("default", &gone).await??;

        let always: BTreeSet<_> = always.into_iter().collect();
        let writer = overwrite(
            &bucket,
            always.iter().cloned(),
            &Pace::OneByOne,
            Some("flickers"),
        );
        let mut rounds = Rounds::new(5, Duration::from_millis(1500));
        while rounds.next()? {
            let listed = caller.keys("default").await??;
            let distinct: BTreeSet<_> = listed.iter().cloned().collect();
            assert_eq!(distinct.len(), listed.len(), "a key is listed twice");
            let missing: Vec<_> = always.difference(&distinct).collect();
            assert!(
                missing.is_empty(),
                "round {}: not listed: {missing:?}",
                rounds.begun
            );
            let surplus = distinct
                .difference(&always)
                .filter(|key| *key != "flickers");
            assert_eq!(surplus.count(), 0, "round {}: {distinct:?}", rounds.begun);
        }
        writer.stop().await?;
    }
    Ok(())
}

async fn get_many_never_misses_a_key_that_is_always_there(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    let memory = kv::Config {
        storage: stream::StorageType::Memory,
        ..kv::Config::default()
    };
    for config in [kv::Config::default(), memory] {
        let name = format!("busy-{:?}", config.storage).to_lowercase();
        let bucket = stack.create_bucket(&name, config).await?;
        let caller = crate::support::linked_with_long_timeout(&stack, "component", &name).await?;
        let keys: Vec<_> = (0..64).map(|n| format!("key-{n}")).collect();
        let pairs: Vec<_> = keys.iter().map(|key| (key, "1")).collect();
        caller.set_many("default", &pairs).await??;

        let flood = Pace::Flood(stack.nats.client().await?);
        let writer = overwrite(&bucket, keys.clone(), &flood, None);
        let mut rounds = Rounds::new(20, Duration::from_secs(3));
        while rounds.next()? {
            for interface in BOTH {
                let values = interface.get_many(&caller, "default", &keys).await??;
                let missing = values.iter().filter(|value| value.is_none()).count();
                assert_eq!(missing, 0, "{interface:?} {name} round {}", rounds.begun);
            }
        }
        writer.stop().await?;
        let state = bucket.stream.clone().info().await?.state.clone();
        let overwritten = state.last_sequence - pairs.len() as u64;
        ensure!(overwritten > 1000, "only {overwritten} writes meanwhile");
    }
    Ok(())
}

/// Goes on for this many rounds and this much time, whichever is more.
struct Rounds {
    begun: u32,
    at_least: u32,
    time: Duration,
    start: Instant,
}

impl Rounds {
    fn new(at_least: u32, time: Duration) -> Self {
        Self {
            begun: 0,
            at_least,
            time,
            start: Instant::now(),
        }
    }

    /// Whether there is another round.
    fn next(&mut self) -> Result<bool> {
        let elapsed = self.start.elapsed();
        ensure!(elapsed < 4 * LONG_TIMEOUT, "only {} rounds", self.begun);
        let wait_for_progress = self.begun < self.at_least || elapsed < self.time;
        self.begun += u32::from(wait_for_progress);
        Ok(wait_for_progress)
    }
}

/// Clients that write for as long as it lives.
struct Writers(JoinSet<Result<()>>);

impl Writers {
    /// Ends the writing; fails if a write failed before.
    async fn stop(mut self) -> Result<()> {
        while let Some(ended) = self.0.try_join_next() {
            ended?.context("a writer ended")?;
        }
        self.0.shutdown().await;
        Ok(())
    }
}

/// How the writers write.
#[derive(Clone)]
enum Pace {
    /// Each waits for the acknowledgement of one write before the next.
    OneByOne,
    /// As fast as the server takes it.
    Flood(Client),
}

/// Overwrites the keys over and over, many writes at a time; sets and deletes `flickering` by turns.
fn overwrite(
    bucket: &kv::Store,
    keys: impl IntoIterator<Item = String>,
    pace: &Pace,
    flickering: Option<&'static str>,
) -> Writers {
    const WRITERS: usize = 8;
    let keys: Vec<String> = keys.into_iter().collect();
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (bucket, pace) = (bucket.clone(), pace.clone());
        let keys: Vec<_> = keys.iter().skip(writer).step_by(WRITERS).cloned().collect();
        writers.spawn(async move {
            for round in 0_u64.. {
                for key in &keys {
                    let value = round.to_string().into();
                    match &pace {
                        Pace::OneByOne => drop(bucket.put(key, value).await?),
                        Pace::Flood(client) => {
                            let subject = format!("$KV.{}.{key}", bucket.name);
                            client.publish(subject, value).await?;
                        }
                    }
                }
                // A flood is let go on when the server has got to its end.
                if let (Pace::Flood(_), Some(key)) = (&pace, keys.first()) {
                    bucket.put(key, round.to_string().into()).await?;
                }
            }
            Ok(())
        });
    }
    if let Some(key) = flickering {
        let bucket = bucket.clone();
        writers.spawn(async move {
            loop {
                bucket.put(key, "1".into()).await?;
                bucket.delete(key).await?;
            }
        });
    }
    Writers(writers)
}

async fn a_full_bucket_fails_exactly_the_keys_that_the_error_counts(version: &str) -> Result<()> {
    const KEYS: usize = 20;
    let stack = crate::support::stack(version).start().await?;
    for (number, interface) in BOTH.into_iter().enumerate() {
        let config = kv::Config {
            max_bytes: 64 * 1024,
            ..kv::Config::default()
        };
        let bucket = stack
            .create_bucket(&format!("full-{number}"), config)
            .await?;
        let caller =
            crate::support::linked_with_long_timeout(&stack, "component", &bucket.name).await?;
        let value = vec![b'v'; 8 * 1024];
        let pairs: Vec<_> = (0..KEYS).map(|n| (format!("key-{n}"), &value)).collect();
        let error = refused(interface.set_many(&caller, "default", &pairs).await?)?;
        assert_eq!(error.case, "other", "{error}");
        assert!(error.text.contains("maximum bytes exceeded"), "{error}");

        let mut not_set = Vec::new();
        for (key, _) in &pairs {
            if bucket.get(key).await?.is_none() {
                not_set.push(key);
            }
        }
        assert!((1..KEYS).contains(&not_set.len()), "{not_set:?}");
        let counted = format!("{} of {KEYS} keys could not be set", not_set.len());
        assert!(
            error.text.contains(&counted),
            "{error}; not set: {not_set:?}"
        );
        let named: Vec<_> = pairs
            .iter()
            .map(|(key, _)| key)
            .filter(|key| error.text.contains(&format!("{key:?}")))
            .collect();
        assert!(!named.is_empty() && named.len() < 10, "{error}");
        assert!(named.iter().all(|key| not_set.contains(key)), "{error}");

        // What is there can be read, and fewer keys fit.
        let set: Vec<_> = (0..KEYS)
            .map(|n| format!("key-{n}"))
            .filter(|key| !not_set.contains(&key))
            .collect();
        let values = interface.get_many(&caller, "default", &set).await??;
        assert!(values.iter().flatten().all(|found| *found == value));
        assert_eq!(values.iter().flatten().count(), KEYS - not_set.len());
        interface
            .set_many(&caller, "default", &[(&set[0], "less")])
            .await??;
    }
    Ok(())
}

async fn a_refused_subject_fails_only_its_own_keys(version: &str) -> Result<()> {
    let users = r#"
        authorization {
            users = [
                { user: admin, password: secret }
                {
                    user: provider, password: secret
                    permissions: { publish: { deny: ["$KV.orders.closed.>"] } }
                }
            ]
        }"#;
    let stack = crate::support::stack(version)
        .nats(|nats| nats.config(users))
        .separate_lattice()
        .start()
        .await?;
    let admin = ConnectOptions::with_user_and_password("admin".to_owned(), "secret".to_owned());
    let jetstream = jetstream::new(stack.nats.client_with(admin).await?);
    let config = kv::Config {
        bucket: "orders".to_owned(),
        ..kv::Config::default()
    };
    let bucket = jetstream.create_key_value(config).await?;
    let link = stack
        .link("component", "orders")
        .config("username", "provider")
        .secret("password", "secret")
        .config("timeout", "3s");
    stack.provider.put_link(&link).await?;
    let caller = stack.caller("component");

    let closed: Vec<_> = (0..3).map(|n| format!("closed.{n}")).collect();
    let open: Vec<_> = (0..7).map(|n| format!("open.{n}")).collect();
    let all: Vec<_> = open.iter().chain(&closed).collect();
    for interface in BOTH {
        for key in &all {
            bucket.put(key, "before".into()).await?;
        }
        let pairs: Vec<_> = all.iter().map(|key| (key, "after")).collect();
        let error = refused(interface.set_many(&caller, "default", &pairs).await?)?;
        assert_eq!(error.case, "access-denied", "{error}");
        if interface == BatchInterface::EventualBatch {
            assert!(
                error.text.contains("3 of 10 keys could not be set"),
                "{error}"
            );
            assert!(closed.iter().all(|key| error.text.contains(key)), "{error}");
            assert!(!error.text.contains("open."), "{error}");
            assert!(error.text.contains("ermissions"), "{error}");
        }
        for key in &all {
            let expected = if closed.contains(key) {
                "before"
            } else {
                "after"
            };
            assert_eq!(bucket.get(*key).await?, Some(expected.into()), "{key}");
        }

        let error = refused(interface.delete_many(&caller, "default", &all).await?)?;
        assert_eq!(error.case, "access-denied", "{error}");
        if interface == BatchInterface::EventualBatch {
            assert!(
                error.text.contains("3 of 10 keys could not be deleted"),
                "{error}"
            );
        }
        for key in &all {
            let expected = closed.contains(key).then(|| "before".into());
            assert_eq!(bucket.get(*key).await?, expected, "{key}");
        }
        interface.delete_many(&caller, "default", &open).await??;
    }
    Ok(())
}

async fn open_bucket_tells_what_can_be_opened(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    stack.create_bucket("orders", kv::Config::default()).await?;
    stack.create_bucket("secret", kv::Config::default()).await?;
    let caller = crate::support::linked_with_long_timeout(&stack, "component", "orders").await?;
    let missing = stack.link("component", "no-such-bucket").name("missing");
    stack.provider.put_link(&missing).await?;

    for name in ["default", "", "orders"] {
        caller.open_bucket(name).await??;
    }
    // Not there, then there, then not there any more.
    let jetstream = stack.nats.jetstream().await?;
    for _twice in 0..2 {
        let error = refused(caller.open_bucket("missing").await?)?;
        assert_eq!(error.case, "no-such-bucket", "{error}");
        assert!(error.text.contains("no-such-bucket"), "{error}");
        stack
            .create_bucket("no-such-bucket", kv::Config::default())
            .await?;
        caller.open_bucket("missing").await??;
        jetstream.delete_key_value("no-such-bucket").await?;
        // A bucket that was there a moment ago is opened unasked; the next operation finds out.
        caller.open_bucket("missing").await??;
        let error = refused(caller.keys("missing").await?)?;
        assert_eq!(error.case, "no-such-bucket", "{error}");
    }
    // It exists, and this component's links do not grant it.
    for name in ["secret", "KV_orders", "ORDERS", "*", ">", "orders.>"] {
        let error = refused(caller.open_bucket(name).await?)?;
        assert_eq!(error.case, "no-such-bucket", "{name}: {error}");
        for interface in BOTH {
            let case = interface.case("no-such-bucket");
            let get = refused(interface.get_many(&caller, name, &["a"]).await?)?;
            let set = refused(interface.set_many(&caller, name, &[("a", "1")]).await?)?;
            let delete = refused(interface.delete_many(&caller, name, &["a"]).await?)?;
            assert_eq!([get.case, set.case, delete.case], [case; 3], "{name}");
        }
    }
    let stranger = stack.caller("stranger");
    let error = refused(stranger.open_bucket("orders").await?)?;
    assert_eq!(error.case, "access-denied", "{error}");
    for interface in BOTH {
        let get = refused(interface.get_many(&stranger, "orders", &["a"]).await?)?;
        assert_eq!(get.case, "access-denied");
    }
    Ok(())
}
