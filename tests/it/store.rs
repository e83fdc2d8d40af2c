//! Single keys and pages of keys, as a component without batches uses a bucket.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::interface::refused;
use crate::support::waiting::eventually;
use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use testkit::async_nats::jetstream::kv;
use testkit::async_nats::jetstream::stream::Source;
use testkit::{BatchError, Cluster, LatticeCaller, LinkDefinition, NatsServer, Provider, Stack};

const COMPONENT: &str = "component";

on_oldest_and_newest!(
    every_operation_works,
    what_other_clients_wrote_is_read_and_the_other_way_round,
    errors_are_those_of_the_interface,
    one_key_that_cannot_be_written_is_told_by_its_cause,
    a_bucket_that_is_gone_is_no_such_store_until_it_is_there_again,
    a_link_by_another_name_is_another_bucket,
    with_base64_every_string_is_a_key,
    pages_hold_every_key_once,
    pages_keep_to_the_limits_of_the_link,
    pages_of_a_bucket_with_history_hold_what_has_a_value_now,
    pages_end_where_values_are_too_large_for_more,
    no_key_is_missed_while_all_are_overwritten,
    own_writes_are_read_beside_a_mirror,
    own_writes_are_read_from_three_replicas,
);

fn history(history: i64) -> kv::Config {
    kv::Config {
        history,
        ..kv::Config::default()
    }
}

/// A stack with a bucket `orders`, linked as a component for keyvalue-nats is.
async fn with_orders(
    version: &str,
    config: kv::Config,
) -> Result<(Stack, kv::Store, LatticeCaller)> {
    let stack = crate::support::stack(version).start().await?;
    let bucket = stack.create_bucket("orders", config).await?;
    let caller = linked(&stack, |link| link).await?;
    Ok((stack, bucket, caller))
}

async fn linked(
    stack: &Stack,
    set_up: impl FnOnce(LinkDefinition) -> LinkDefinition,
) -> Result<LatticeCaller> {
    let link = stack.link(COMPONENT, "orders").wasi_keyvalue();
    let link = set_up(link.config("timeout", "60s"));
    stack.provider.put_link(&link).await?;
    let caller = stack.caller(COMPONENT).with_link(link.link_name());
    Ok(caller.with_timeout(Duration::from_secs(60)))
}

/// All pages, to the last.
async fn pages(caller: &LatticeCaller) -> Result<Vec<Vec<String>>> {
    let mut pages = Vec::new();
    let mut cursor = None;
    loop {
        let page = caller.store().list_keys("default", cursor).await??;
        pages.push(page.keys);
        match page.cursor {
            None => return Ok(pages),
            next => {
                ensure!(next > cursor, "{next:?} after {cursor:?}");
                cursor = next;
            }
        }
    }
}

/// All keys, sorted.
async fn listed(caller: &LatticeCaller) -> Result<Vec<String>> {
    let mut keys = pages(caller).await?.concat();
    keys.sort_unstable();
    Ok(keys)
}

async fn every_operation_works(version: &str) -> Result<()> {
    let (_stack, bucket, caller) = with_orders(version, kv::Config::default()).await?;
    let store = caller.store();
    assert_eq!(listed(&caller).await?, Vec::<String>::new());
    assert_eq!(store.get("default", "a").await??, None);
    assert!(!store.exists("default", "a").await??);
    store.delete("default", "a").await??;
    assert!(!store.exists("default", "a").await??);

    for value in [&b"1"[..], b"", b"\xff\0", &vec![b'x'; 700_000]] {
        store.set("default", "a", value.to_vec()).await??;
        assert!(store.get("default", "a").await??.as_deref() == Some(value));
        assert!(store.exists("default", "a").await??);
        assert!(bucket.get("a").await?.as_deref() == Some(value));
    }
    store.set("default", "b", "2").await??;
    assert_eq!(listed(&caller).await?, ["a", "b"]);
    store.delete("default", "a").await??;
    assert_eq!(store.get("default", "a").await??, None);
    assert!(!store.exists("default", "a").await??);
    assert_eq!(listed(&caller).await?, ["b"]);
    // Every name of the bucket, and the other interfaces on the same link.
    assert_eq!(store.get("orders", "b").await??, Some("2".into()));
    assert_eq!(store.get("", "b").await??, Some("2".into()));
    let batch = caller.batch().get_many("default", &["a", "b"]).await??;
    assert_eq!(batch, [None, Some(("b".to_owned(), "2".into()))]);
    Ok(())
}

async fn what_other_clients_wrote_is_read_and_the_other_way_round(version: &str) -> Result<()> {
    let (_stack, bucket, caller) = with_orders(version, history(5)).await?;
    let store = caller.store();
    for value in ["old", "new"] {
        bucket.put("set", value.into()).await?;
    }
    bucket.put("deleted", "x".into()).await?;
    bucket.delete("deleted").await?;
    bucket.put("purged", "x".into()).await?;
    bucket.purge("purged").await?;
    bucket.put("again", "x".into()).await?;
    bucket.purge("again").await?;
    bucket.put("again", "y".into()).await?;
    assert_eq!(store.get("default", "set").await??, Some("new".into()));
    assert_eq!(store.get("default", "again").await??, Some("y".into()));
    for gone in ["deleted", "purged", "never"] {
        assert_eq!(store.get("default", gone).await??, None, "{gone}");
        assert!(!store.exists("default", gone).await??, "{gone}");
    }
    assert_eq!(listed(&caller).await?, ["again", "set"]);

    store.set("default", "ours", "1").await??;
    store.delete("default", "set").await??;
    assert_eq!(bucket.get("ours").await?, Some("1".into()));
    assert_eq!(bucket.get("set").await?, None);
    Ok(())
}

async fn errors_are_those_of_the_interface(version: &str) -> Result<()> {
    let (stack, bucket, caller) = with_orders(version, kv::Config::default()).await?;
    bucket.put("kept", "1".into()).await?;
    for (bucket, key, case, words) in [
        ("elsewhere", "kept", "no-such-store", ""),
        ("default", "*", "other", "\"*\""),
        ("default", ">", "other", "\">\""),
        ("default", "", "other", "is empty"),
        ("default", "a..b", "other", "two dots"),
    ] {
        assert_refused(&caller, bucket, key, case, words).await?;
    }
    assert_refused(
        &stack.caller("stranger"),
        "default",
        "kept",
        "access-denied",
        "",
    )
    .await?;

    let large = vec![b'x'; 2 * 1024 * 1024];
    let error = refused(caller.store().set("default", "kept", large).await?)?;
    assert_eq!(error.case, "other");
    assert!(error.text.contains("max_payload"), "{error}");
    assert_eq!(bucket.get("kept").await?, Some("1".into()));
    let error = caller.store().list_keys("elsewhere", None).await?;
    assert_eq!(error, Err(BatchError::NoSuchStore));
    Ok(())
}

async fn one_key_that_cannot_be_written_is_told_by_its_cause(version: &str) -> Result<()> {
    let config = kv::Config {
        max_bytes: 2000,
        ..kv::Config::default()
    };
    let (_stack, _, caller) = with_orders(version, config).await?;
    let store = caller.store();
    let value = vec![b'x'; 1000];
    store.set("default", "one", value.clone()).await??;
    let set = refused(store.set("default", "two", value.clone()).await?)?;
    // Until there is no room for a marker either.
    let mut fill = 0;
    while store.set("default", &fill.to_string(), "x").await?.is_ok() {
        fill += 1;
    }
    let deleted = refused(store.delete("default", "three").await?)?;
    for error in [set, deleted] {
        assert!(error.text.contains("maximum bytes exceeded"), "{error}");
        assert!(!error.text.contains("1 of 1"), "{error}");
    }
    Ok(())
}

async fn assert_refused(
    caller: &LatticeCaller,
    bucket: &str,
    key: &str,
    case: &str,
    words: &str,
) -> Result<()> {
    let store = caller.store();
    let answers = [
        ("get", refused(store.get(bucket, key).await?)),
        ("set", refused(store.set(bucket, key, "x").await?)),
        ("delete", refused(store.delete(bucket, key).await?)),
        ("exists", refused(store.exists(bucket, key).await?)),
        (
            "increment",
            refused(caller.atomics().increment(bucket, key, 1).await?),
        ),
    ];
    for (operation, answer) in answers {
        let error = answer.with_context(|| format!("{operation} of {key:?} in {bucket}"))?;
        assert_eq!(error.case, case, "{operation}: {error}");
        assert!(error.text.contains(words), "{operation}: {error}");
    }
    Ok(())
}

async fn a_bucket_that_is_gone_is_no_such_store_until_it_is_there_again(
    version: &str,
) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    let memory = || kv::Config {
        storage: testkit::async_nats::jetstream::stream::StorageType::Memory,
        ..kv::Config::default()
    };
    stack.create_bucket("orders", memory()).await?;
    let caller = linked(&stack, |link| link).await?;
    caller.store().set("default", "a", "1").await??;
    stack
        .nats
        .jetstream()
        .await?
        .delete_key_value("orders")
        .await?;
    assert_refused(&caller, "default", "a", "no-such-store", "").await?;
    let error = caller.store().list_keys("default", None).await?;
    assert_eq!(error, Err(BatchError::NoSuchStore));

    stack.create_bucket("orders", memory()).await?;
    assert_eq!(caller.store().get("default", "a").await??, None);
    assert_eq!(caller.atomics().increment("default", "a", 1).await??, 1);
    assert_eq!(listed(&caller).await?, ["a"]);
    Ok(())
}

async fn a_link_by_another_name_is_another_bucket(version: &str) -> Result<()> {
    let (stack, _, caller) = with_orders(version, kv::Config::default()).await?;
    stack.create_bucket("second", kv::Config::default()).await?;
    let second = linked(&stack, |link| link.name("other").config("bucket", "second")).await?;
    caller.store().set("default", "a", "of orders").await??;
    second.store().set("default", "a", "of second").await??;
    for (caller, name, value) in [
        (&caller, "default", "of orders"),
        (&caller, "other", "of second"),
        (&second, "other", "of second"),
        (&second, "second", "of second"),
    ] {
        let found = caller.store().get(name, "a").await??;
        assert_eq!(found, Some(value.into()), "{name}");
    }
    Ok(())
}

async fn with_base64_every_string_is_a_key(version: &str) -> Result<()> {
    let (stack, _, _) = with_orders(version, kv::Config::default()).await?;
    let caller = linked(&stack, |link| link.config("key_encoding", "base64")).await?;
    let mut keys = ["", " ", "*", ">", "a..b", "ключ"];
    keys.sort_unstable();
    for key in keys {
        caller.store().set("default", key, key.to_owned()).await??;
        let value = caller.store().get("default", key).await??;
        assert_eq!(value, Some(key.to_owned().into()));
        assert!(caller.store().exists("default", key).await??);
    }
    assert_eq!(listed(&caller).await?, keys);
    caller.store().delete("default", "*").await??;
    let left: Vec<_> = keys.into_iter().filter(|key| *key != "*").collect();
    assert_eq!(listed(&caller).await?, left);
    Ok(())
}

async fn pages_hold_every_key_once(version: &str) -> Result<()> {
    const KEYS: usize = 30_000;
    let (_stack, _, caller) = with_orders(version, kv::Config::default()).await?;
    let keys: Vec<_> = (0..KEYS).map(|n| format!("key-{n:05}")).collect();
    let pairs: Vec<_> = keys.iter().map(|key| (key, "x")).collect();
    caller.set_many("default", &pairs).await??;
    // Deleted at the beginning, here and there, and at the end.
    let is_deleted = |n: usize| n < 9_000 || n.is_multiple_of(7) || n > KEYS - 10;
    let (gone, kept): (Vec<_>, Vec<_>) = (0..KEYS).partition(|&n| is_deleted(n));
    let gone: Vec<_> = gone.into_iter().map(|n| &keys[n]).collect();
    caller.delete_many("default", &gone).await??;
    // And one at the beginning written again, so that it comes last.
    caller.set_many("default", &[(&keys[0], "again")]).await??;

    let pages = pages(&caller).await?;
    assert!(pages.len() > 3, "{} pages", pages.len());
    let largest = pages.iter().map(Vec::len).max();
    assert!(largest < Some(10_000), "{largest:?} keys in a page");
    let mut found = pages.concat();
    found.sort_unstable();
    let kept = kept.into_iter().map(|n| &keys[n]);
    assert!(found.iter().eq([&keys[0]].into_iter().chain(kept)));

    // A cursor from where there is nothing more, or never was.
    for cursor in [1_000_000, u64::MAX - 1, u64::MAX] {
        let page = caller.store().list_keys("default", Some(cursor)).await??;
        assert!(page.keys.is_empty() && page.cursor.is_none(), "{cursor}");
    }
    Ok(())
}

async fn pages_keep_to_the_limits_of_the_link(version: &str) -> Result<()> {
    let (stack, bucket, _) = with_orders(version, kv::Config::default()).await?;
    let mut keys: Vec<_> = (0..10).map(|n| format!("{n}").repeat(20)).collect();
    for key in &keys {
        bucket.put(key, "x".into()).await?;
    }
    keys.sort_unstable();
    for (limit, value, most) in [("max_batch_keys", "3", 3), ("max_batch_bytes", "50", 2)] {
        let caller = linked(&stack, |link| link.name(limit).config(limit, value)).await?;
        let pages = pages(&caller).await?;
        assert!(pages.iter().all(|page| page.len() <= most), "{pages:?}");
        let mut found = pages.concat();
        found.sort_unstable();
        assert_eq!(found, keys, "{limit}");
    }
    let caller = linked(&stack, |link| {
        link.name("tiny").config("max_batch_bytes", "10")
    })
    .await?;
    let error = refused(caller.store().list_keys("default", None).await?)?;
    assert!(error.text.contains("max_batch_bytes"), "{error}");
    let error = refused(caller.store().set("default", "key", "too large").await?)?;
    assert!(error.text.contains("max_batch_bytes"), "{error}");
    bucket.put("k", "too large a value".into()).await?;
    let error = refused(caller.store().get("default", "k").await?)?;
    assert!(error.text.contains("max_batch_bytes"), "{error}");
    assert!(caller.store().exists("default", "k").await??);
    Ok(())
}

async fn pages_of_a_bucket_with_history_hold_what_has_a_value_now(version: &str) -> Result<()> {
    const KEYS: usize = 6_000;
    let (_stack, bucket, caller) = with_orders(version, history(4)).await?;
    let keys: Vec<_> = (0..KEYS).map(|n| format!("key-{n:05}")).collect();
    // Three values of each key, which make more than one page, and then half of them deleted: their
    // old values come on pages before the markers.
    for round in ["1", "2", "3"] {
        let pairs: Vec<_> = keys.iter().map(|key| (key, round)).collect();
        caller.set_many("default", &pairs).await??;
    }
    let (gone, kept) = keys.split_at(KEYS / 2);
    caller.delete_many("default", gone).await??;
    bucket.purge(&kept[0]).await?;

    let pages = pages(&caller).await?;
    assert!(pages.len() > 1, "{} pages", pages.len());
    let mut found = pages.concat();
    found.sort_unstable();
    assert!(found == kept[1..], "{} keys", found.len());
    Ok(())
}

/// With history, values are read to list the keys.
async fn pages_end_where_values_are_too_large_for_more(version: &str) -> Result<()> {
    const KEYS: usize = 400;
    let (_stack, bucket, caller) = with_orders(version, history(2)).await?;
    let value = Bytes::from(vec![b'x'; 200_000]);
    let keys: Vec<_> = (0..KEYS).map(|n| format!("key-{n:05}")).collect();
    for key in &keys {
        bucket.put(key, value.clone()).await?;
    }
    // So that the page with those is not the last.
    let later: Vec<_> = (0..9_000).map(|n| (format!("later-{n:05}"), "")).collect();
    caller.set_many("default", &later).await??;

    let pages = pages(&caller).await?;
    let is_large = |page: &&Vec<String>| page.iter().any(|key| key.starts_with("key"));
    let large = pages.iter().filter(is_large).count();
    assert!(large > 2, "{large} pages for 80 MB of values");
    let mut found = pages.concat();
    found.sort_unstable();
    assert_eq!(found.len(), KEYS + later.len());
    assert_eq!(found[..KEYS], keys);
    Ok(())
}

async fn no_key_is_missed_while_all_are_overwritten(version: &str) -> Result<()> {
    const KEYS: usize = 500;
    let stack = crate::support::stack(version).start().await?;
    for kept in [1, 3] {
        let name = format!("history-{kept}");
        let bucket = stack.create_bucket(&name, history(kept)).await?;
        // Small pages, so that much is written between two of them.
        let caller = linked(&stack, |link| {
            let link = link.name(&name).config("bucket", &name);
            link.config("max_batch_keys", "40")
        })
        .await?;
        let keys: Vec<_> = (0..KEYS).map(|n| format!("key-{n:03}")).collect();
        for key in &keys {
            bucket.put(key, "0".into()).await?;
        }
        let done = Arc::<AtomicBool>::default();
        let (stop, written) = (Arc::clone(&done), keys.clone());
        let writer = tokio::spawn(async move {
            let mut writes = 0;
            // From the last to the first: against the order in which they are listed.
            for key in written.iter().rev().cycle() {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                bucket.put(key, "again".into()).await?;
                writes += 1;
                // Slower than the listing, or that would never come to an end.
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            anyhow::Ok(writes)
        });
        for _ in 0..3 {
            let found: HashSet<_> = pages(&caller).await?.concat().into_iter().collect();
            let missed: Vec<_> = keys.iter().filter(|key| !found.contains(*key)).collect();
            assert!(missed.is_empty(), "history {kept}: {missed:?}");
        }
        done.store(true, Ordering::SeqCst);
        assert!(writer.await?? > 10, "nothing was written meanwhile");
    }
    Ok(())
}

/// The server lets a mirror of a bucket answer direct gets of the bucket itself. This one has only
/// one key of it, as if it lagged for ever with the others.
async fn own_writes_are_read_beside_a_mirror(version: &str) -> Result<()> {
    let (stack, _, caller) = with_orders(version, kv::Config::default()).await?;
    let mirror = kv::Config {
        mirror: Some(Source {
            name: "orders".to_owned(),
            filter_subject: Some("$KV.orders.first".to_owned()),
            ..Source::default()
        }),
        ..kv::Config::default()
    };
    let mirror = stack.create_bucket("copy", mirror).await?;
    caller.store().set("default", "first", "x").await??;
    eventually("the mirror to follow", async || {
        let state = mirror.stream.get_info().await?.state;
        Ok((state.messages > 0).then_some(()))
    })
    .await?;
    assert_reads_its_writes(&[caller], 30).await
}

async fn own_writes_are_read_from_three_replicas(version: &str) -> Result<()> {
    let cluster = Cluster::start(version).await?;
    let [second, third] = [1, 2].map(|node| cluster.node(node));
    let config = kv::Config {
        bucket: "orders".to_owned(),
        ..kv::Config::default()
    };
    cluster.create_bucket(config).await?;
    // Two instances, each at another server, which share the calls of one component.
    let lattice = NatsServer::run(testkit::NEWEST).await?;
    let link = |server: &NatsServer| {
        LinkDefinition::new(COMPONENT)
            .wasi_keyvalue()
            .config("cluster_uri", server.url())
            .config("bucket", "orders")
            .config("timeout", "60s")
    };
    let provider = Provider::builder(lattice.url())
        .binary(crate::support::PROVIDER)
        .link(link(second))
        .start()
        .await?;
    let _other = Provider::builder(lattice.url())
        .binary(crate::support::PROVIDER)
        .instance_of(&provider)
        .link(link(third))
        .start()
        .await?;
    let caller = provider
        .caller(COMPONENT)
        .with_timeout(Duration::from_secs(60));
    let callers = [(); 4].map(|()| caller.clone());
    assert_reads_its_writes(&callers, 100).await
}

/// Each caller sets, reads and deletes a key of its own, time and again.
async fn assert_reads_its_writes(callers: &[LatticeCaller], rounds: usize) -> Result<()> {
    let mut tasks = Vec::new();
    for (number, caller) in callers.iter().cloned().enumerate() {
        tasks.push(tokio::spawn(async move {
            let mut stale = HashMap::<&str, usize>::new();
            let key = format!("own-{number}");
            for round in 0..rounds {
                let value = format!("{round}");
                let store = caller.store();
                store.set("default", &key, value.clone()).await??;
                if store.get("default", &key).await?? != Some(value.into()) {
                    *stale.entry("get after set").or_default() += 1;
                }
                store.delete("default", &key).await??;
                if store.exists("default", &key).await?? {
                    *stale.entry("exists after delete").or_default() += 1;
                }
                let counted = format!("count-{number}");
                caller.atomics().increment("default", &counted, 1).await??;
                let count = store.get("default", &counted).await??;
                if count != Some(format!("{}", round + 1).into()) {
                    *stale.entry("get after increment").or_default() += 1;
                }
                let page = listed(&caller).await?;
                if page.contains(&key) || !page.contains(&counted) {
                    *stale.entry("list").or_default() += 1;
                }
            }
            anyhow::Ok(stale)
        }));
    }
    for task in tasks {
        assert_eq!(task.await??, HashMap::new(), "stale reads");
    }
    Ok(())
}
