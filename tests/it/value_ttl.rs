//! Values and delete markers that end by themselves.

use std::time::Duration;

use crate::support::interface::{BOTH, ErrorAnswer, refused};
use crate::support::put_with_long_timeout as linked;
use crate::support::waiting::eventually;
use anyhow::{Context as _, Result, ensure};
use testkit::async_nats::jetstream::stream::{Config, Source, Stream};
use testkit::{LatticeCaller, LinkDefinition, OLDEST, Stack};

on_all_versions!(
    what_a_link_writes_ends_and_nothing_else,
    a_bucket_that_cannot_end_values_says_so_until_it_can,
    keys_that_come_and_go_leave_nothing_in_the_bucket,
    a_bucket_made_again_without_markers_takes_deletes,
);

const COMPONENT: &str = "component";

/// More than one page of subjects, and more than any window of writes.
const MANY: usize = 4000;

fn link(stack: &Stack, name: &str, bucket: &str) -> LinkDefinition {
    let link = stack.link(COMPONENT, bucket).name(name);
    link.wasi_keyvalue().config("timeout", "60s")
}

async fn stream(stack: &Stack, bucket: &str) -> Result<Stream> {
    let jetstream = stack.nats.jetstream().await?;
    Ok(jetstream.get_stream(format!("KV_{bucket}")).await?)
}

async fn messages(stack: &Stack, bucket: &str) -> Result<u64> {
    Ok(stream(stack, bucket).await?.info().await?.state.messages)
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

/// Every kind of write, each of a key of its own: the errors, or nothing.
async fn write_all(caller: &LatticeCaller) -> Result<Vec<(&'static str, Option<ErrorAnswer>)>> {
    let (store, atomic) = (caller.store(), caller.atomic());
    let pairs: Vec<_> = (0..40).map(|n| (format!("batch.{n}"), "value")).collect();
    let mut outcomes = Vec::new();
    for interface in BOTH {
        let set = interface.set_many(caller, "default", &pairs).await?;
        outcomes.push(("set-many", set.err()));
    }
    let set = store.set("default", "single", "value").await?;
    outcomes.push(("set", set.err().map(Into::into)));
    let sum = caller.atomics().increment("default", "counter", 2).await?;
    outcomes.push(("atomics", sum.err().map(Into::into)));
    let sum = atomic.increment("default", "number", 3).await?;
    outcomes.push(("increment", sum.err().map(Into::into)));
    let swap = atomic.compare_and_swap("default", "swapped", 0, 4).await?;
    outcomes.push(("swap", swap.err().map(Into::into)));
    Ok(outcomes)
}

/// How many keys [`write_all`] writes.
const WRITTEN: usize = 44;

async fn what_a_link_writes_ends_and_nothing_else(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    let brief = link(&stack, "brief", "orders")
        .config("enable_bucket_auto_create", "true")
        .config("value_ttl", "2s");
    let brief = linked(&stack, &brief).await?;
    let plain = linked(&stack, &link(&stack, "plain", "orders")).await?;

    assert_eq!(brief.keys("default").await??, Vec::<String>::new());
    let outcomes = write_all(&brief).await?;
    plain.set_many("default", &[("stays", "value")]).await??;
    if version == OLDEST {
        for (operation, error) in outcomes {
            let error = error.context(operation)?;
            assert_eq!(error.case, "other", "{operation}: {error}");
            for words in ["needs nats-server 2.11", OLDEST, "`value_ttl`", "`orders`"] {
                assert!(error.text.contains(words), "{operation}: {error}");
            }
        }
        assert_eq!(messages(&stack, "orders").await?, 1, "nothing was written");
        return Ok(());
    }
    for (operation, error) in outcomes {
        ensure!(error.is_none(), "{operation}: {error:?}");
    }
    // A read after the write of the last key may come after its end, if the machine is slow. What
    // is in the stream has its time to live for sure.
    for key in ["batch.7", "single", "counter", "number", "swapped"] {
        let subject = format!("$KV.orders.{key}");
        let stream = stream(&stack, "orders").await?;
        if let Ok(message) = stream.get_last_raw_message_by_subject(&subject).await {
            let ttl = message.headers.get("Nats-TTL").map(ToString::to_string);
            assert_eq!(ttl.as_deref(), Some("2s"), "{key}");
        }
    }
    eventually("all but one to end", async || {
        Ok((plain.keys("default").await?? == ["stays"]).then_some(()))
    })
    .await?;
    let page = brief.store().list_keys("default", None).await??;
    assert_eq!(page.keys, ["stays"]);
    let mut asked: Vec<_> = (0..40).map(|n| format!("batch.{n}")).collect();
    asked.push("stays".to_owned());
    for interface in BOTH {
        let values = interface.get_many(&brief, "default", &asked).await??;
        assert_eq!(values.iter().flatten().count(), 1, "{interface:?}");
    }
    assert_eq!(brief.store().get("default", "single").await??, None);
    // A number that has ended is no number that is known from before.
    assert_eq!(brief.atomic().increment("default", "number", 1).await??, 1);
    assert!(
        brief
            .atomic()
            .compare_and_swap("default", "swapped", 0, 1)
            .await??
    );
    Ok(())
}

async fn a_bucket_that_cannot_end_values_says_so_until_it_can(version: &str) -> Result<()> {
    if version == OLDEST {
        return Ok(());
    }
    let stack = crate::support::stack(version).start().await?;
    let jetstream = stack.nats.jetstream().await?;
    let allowed = |name: &str| Config {
        allow_message_ttl: true,
        ..bucket(name)
    };
    let history = Config {
        max_messages_per_subject: 5,
        ..allowed("history")
    };
    let mirror = Config {
        subjects: Vec::new(),
        mirror: Some(Source {
            name: "KV_origin".to_owned(),
            ..Source::default()
        }),
        allow_rollup: false,
        mirror_direct: true,
        ..bucket("mirror")
    };
    for config in [bucket("plain"), history, allowed("origin"), mirror] {
        let name = config.name.clone();
        jetstream.create_stream(config).await.context(name)?;
    }
    for (name, words) in [
        ("plain", "set `allow_msg_ttl` of the stream `KV_plain`"),
        ("history", "keeps 5 values of a key"),
        ("mirror", "is a mirror"),
    ] {
        let link = link(&stack, name, name).config("value_ttl", "1h");
        let caller = linked(&stack, &link).await?;
        assert_eq!(caller.keys("default").await??, Vec::<String>::new());
        for (operation, error) in write_all(&caller).await? {
            let error = error.with_context(|| format!("{name} {operation}"))?;
            assert!(error.text.contains(words), "{operation}: {error}");
            assert!(error.text.contains("`value_ttl`"), "{operation}: {error}");
        }
        caller.delete_many("default", &["a"]).await??;
        caller.set_many("default", &[("", ""); 0]).await??;
    }
    assert_eq!(
        messages(&stack, "plain").await?,
        1,
        "only the delete marker"
    );
    assert_eq!(
        messages(&stack, "origin").await?,
        1,
        "only the delete marker"
    );

    // The operator does what the error says.
    jetstream.update_stream(allowed("plain")).await?;
    let caller = stack.caller(COMPONENT).with_link("plain");
    let caller = caller.with_timeout(Duration::from_secs(60));
    for (operation, error) in write_all(&caller).await? {
        ensure!(error.is_none(), "{operation}: {error:?}");
    }
    assert_eq!(caller.keys("default").await??.len(), WRITTEN);

    // The bucket is made again, and cannot. The link knows the one before.
    jetstream.delete_stream("KV_plain").await?;
    jetstream.create_stream(bucket("plain")).await?;
    let error = refused(
        caller
            .set_many("default", &[("a", "1"), ("b", "2")])
            .await?,
    )?;
    assert!(error.text.contains("`allow_msg_ttl`"), "{error}");
    assert_eq!(messages(&stack, "plain").await?, 0);
    Ok(())
}

async fn keys_that_come_and_go_leave_nothing_in_the_bucket(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    let link = link(&stack, "default", "orders")
        .config("enable_bucket_auto_create", "true")
        .config("bucket_marker_ttl", "1s");
    let caller = linked(&stack, &link).await?;
    let pairs: Vec<_> = (0..MANY).map(|n| (format!("key.{n}"), "value")).collect();
    let keys: Vec<_> = pairs.iter().map(|(key, _)| key).collect();
    let set = caller.set_many("default", &pairs).await?;
    if version == OLDEST {
        let error = refused(set)?;
        for words in ["needs nats-server 2.11", OLDEST, "`bucket_marker_ttl`"] {
            assert!(error.text.contains(words), "{error}");
        }
        let jetstream = stack.nats.jetstream().await?;
        assert!(jetstream.get_stream("KV_orders").await.is_err(), "created");
        return Ok(());
    }
    set?;
    assert_eq!(messages(&stack, "orders").await?, MANY as u64);
    caller.delete_many("default", &keys).await??;
    caller.store().set("default", "single", "value").await??;
    caller.store().delete("default", "single").await??;
    assert_eq!(caller.keys("default").await??, Vec::<String>::new());
    let values = caller.get_many("default", &keys).await??;
    assert_eq!(values.iter().flatten().count(), 0);
    eventually("all markers to vanish", async || {
        Ok((messages(&stack, "orders").await? == 0).then_some(()))
    })
    .await?;
    // One marker for each deletion, and none of the server's for a marker that ended.
    let last = stream(&stack, "orders")
        .await?
        .info()
        .await?
        .state
        .last_sequence;
    assert_eq!(last, 2 * (MANY as u64 + 1));
    assert_eq!(caller.keys("default").await??, Vec::<String>::new());
    let page = caller.store().list_keys("default", None).await??;
    assert_eq!(page.keys, Vec::<String>::new());
    let values = caller.get_many("default", &keys).await??;
    assert_eq!(values.iter().flatten().count(), 0);
    Ok(())
}

async fn a_bucket_made_again_without_markers_takes_deletes(version: &str) -> Result<()> {
    if version == OLDEST {
        return Ok(());
    }
    let stack = crate::support::stack(version).start().await?;
    let jetstream = stack.nats.jetstream().await?;
    let with_markers = Config {
        allow_message_ttl: true,
        subject_delete_marker_ttl: Some(Duration::from_secs(3600)),
        ..bucket("orders")
    };
    jetstream.create_stream(with_markers).await?;
    let caller = linked(&stack, &link(&stack, "default", "orders")).await?;
    caller.delete_many("default", &["a", "b"]).await??;
    let marker = stream(&stack, "orders").await?;
    let marker = marker
        .get_last_raw_message_by_subject("$KV.orders.a")
        .await?;
    let header = |name: &str| marker.headers.get(name).map(ToString::to_string);
    assert_eq!(header("Nats-TTL").as_deref(), Some("3600s"));
    assert_eq!(header("KV-Operation").as_deref(), Some("PURGE"));

    jetstream.delete_stream("KV_orders").await?;
    jetstream.create_stream(bucket("orders")).await?;
    let keys: Vec<_> = (0..300).map(|n| format!("key.{n}")).collect();
    caller.delete_many("default", &keys).await??;
    assert_eq!(messages(&stack, "orders").await?, 300);
    Ok(())
}
