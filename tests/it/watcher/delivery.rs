//! What a component is told, and in which order.

use std::time::Duration;

use super::setup::{
    BUCKET, COMPONENT, SHORT, acknowledged, assert_one_at_a_time, at_once, bucket, component,
    consumers, link, of_key, returned, stack, texts, watch,
};
use crate::support::raw;
use crate::support::waiting::logged;
use anyhow::Result;
use testkit::async_nats::jetstream::kv;
use testkit::{LinkDefinition, Reply, Told, ToldComponent};

on_oldest_and_newest!(
    a_component_is_told_of_sets_deletes_and_purges,
    changes_of_one_key_come_one_after_the_other,
    a_change_is_tried_again_and_holds_up_only_its_key,
    first_the_values_that_are_there,
);
on_version!(
    newest_only,
    testkit::NEWEST,
    [
        only_what_is_watched_is_told,
        a_change_is_given_up,
        changes_wait_for_a_component_that_is_not_there,
        a_component_that_hangs_holds_up_no_other_one,
        keys_may_be_stored_as_base64,
        values_that_expire_are_deletes,
        a_large_value_comes_whole,
        a_marker_that_removes_nothing_hides_no_value,
        what_the_client_cannot_parse_is_given_up,
    ]
);

async fn a_component_is_told_of_sets_deletes_and_purges(version: &str) -> Result<()> {
    let stack = stack(version).await?;
    let bucket = bucket(&stack, 1).await?;
    let component = component(&stack, at_once).await?;
    watch(&stack, &link(&stack, ">")).await?;

    bucket.put("a", "1".into()).await?;
    component.wait_for_text("a=1").await?;
    bucket.delete("a").await?;
    component.wait_for_text("a deleted").await?;
    bucket.put("b.c", "\u{e9}\0\r\n".into()).await?;
    component.wait_for_text("b.c=\u{e9}\0\r\n").await?;
    bucket.purge("b.c").await?;
    component.wait_for_text("b.c deleted").await?;
    bucket.put("a", "".into()).await?;
    let all = component.wait_for_text("a=").await?;
    let expected = ["a=1", "a deleted", "b.c=\u{e9}\0\r\n", "b.c deleted", "a="];
    assert_eq!(all, expected);

    // As a host wants it.
    for told in component.calls() {
        assert_eq!(told.bucket, "0");
        assert_eq!(told.source.as_deref(), Some(stack.provider.key()));
        assert_eq!(told.link.as_deref(), Some("default"));
    }
    // Values and keys stay out of the log, but for keys at the debug level.
    assert!(!stack.provider.logs().contains('\u{e9}'));
    Ok(())
}

async fn only_what_is_watched_is_told(version: &str) -> Result<()> {
    let stack = stack(version).await?;
    let bucket = bucket(&stack, 5).await?;
    let component = component(&stack, at_once).await?;
    let watched = "orders.>, SET@set, DEL@del, *.b, orders.1";
    watch(&stack, &link(&stack, watched)).await?;

    for key in [
        "other",
        "orders",
        "set",
        "del",
        "orders.1",
        "orders.1.x",
        "a.b",
        "a.c",
    ] {
        bucket.put(key, "v".into()).await?;
        bucket.delete(key).await?;
    }
    bucket.put("orders.end", "v".into()).await?;
    component.wait_for_text("orders.end=v").await?;
    let mut expected = ["a.b deleted", "a.b=v", "del deleted", "orders.1 deleted"].to_vec();
    expected.extend(["orders.1.x deleted", "orders.1.x=v", "orders.1=v"]);
    expected.extend(["orders.end=v", "set=v"]);
    // Keys are told of beside each other, so the last change is not the last that is told.
    let all = component.wait_for("all", |calls| calls.len() >= expected.len());
    let mut all: Vec<_> = all.await?.iter().map(Told::text).collect();
    all.sort_unstable();
    assert_eq!(all, expected);
    Ok(())
}

async fn changes_of_one_key_come_one_after_the_other(version: &str) -> Result<()> {
    const CHANGES: usize = 12;
    let keys = ["a", "b", "c", "d"];
    let stack = stack(version).await?;
    let bucket = bucket(&stack, 64).await?;
    let slow = |_: &Told| Reply::After(Duration::from_millis(50));
    let component = component(&stack, slow).await?;
    watch(&stack, &link(&stack, ">").config("watch_timeout", "20s")).await?;

    for change in 0..CHANGES {
        for key in keys {
            bucket.put(key, change.to_string().into()).await?;
        }
    }
    let all = |calls: &[Told]| calls.iter().filter(|told| told.returned.is_some()).count();
    let is_complete = |calls: &[Told]| all(calls) >= CHANGES * keys.len();
    let calls = component.wait_for("all changes", is_complete).await?;
    assert_one_at_a_time(&calls);
    for key in keys {
        let expected: Vec<String> = (0..CHANGES)
            .map(|change| format!("{key}={change}"))
            .collect();
        assert_eq!(of_key(&calls, key), expected);
    }
    // Those of several keys were under way at the same time.
    let beside = |one: &Told| {
        let is_beside = |other: &&Told| {
            other.key != one.key && other.at >= one.at && Some(other.at) < one.returned
        };
        calls.iter().any(|other| is_beside(&other))
    };
    assert!(calls.iter().any(beside), "{calls:?}");
    Ok(())
}

async fn a_change_is_tried_again_and_holds_up_only_its_key(version: &str) -> Result<()> {
    let stack = stack(version).await?;
    let bucket = bucket(&stack, 5).await?;
    let mut failures = 2;
    let component = component(&stack, move |told| {
        if told.text() == "a=1" && failures > 0 {
            failures -= 1;
            Reply::Never
        } else {
            Reply::NOW
        }
    })
    .await?;
    let link = link(&stack, ">");
    let link = link.config("watch_timeout", humantime(SHORT));
    watch(&stack, &link.config("watch_max_in_flight", "2")).await?;

    for (key, value) in [("a", "1"), ("a", "2"), ("b", "1"), ("b", "2"), ("a", "3")] {
        bucket.put(key, value.into()).await?;
    }
    let calls = returned(&component, "a=3").await?;
    assert_eq!(of_key(&calls, "a"), ["a=1", "a=1", "a=1", "a=2", "a=3"]);
    assert_eq!(of_key(&calls, "b"), ["b=1", "b=2"]);
    let place = |text: &str| texts(&calls).iter().position(|other| other == text);
    assert!(place("b=2") < place("a=2"), "{:?}", texts(&calls));
    Ok(())
}

async fn a_change_is_given_up(version: &str) -> Result<()> {
    let stack = stack(version).await?;
    let bucket = bucket(&stack, 5).await?;
    let component = component(&stack, |told| match told.text().as_str() {
        "secret.key=bad" => Reply::Never,
        _ => Reply::NOW,
    })
    .await?;
    let link = link(&stack, ">").config("watch_timeout", humantime(SHORT));
    watch(&stack, &link.config("watch_max_deliver", "3")).await?;

    bucket.put("secret.key", "bad".into()).await?;
    bucket.put("secret.key", "good".into()).await?;
    let calls = returned(&component, "secret.key=good").await?;
    let bad = "secret.key=bad";
    assert_eq!(texts(&calls), [bad, bad, bad, "secret.key=good"]);
    let warning = logged(&stack.provider, &["WARN", "given up"]).await?;
    assert!(
        warning.contains("tries=3") && warning.contains(BUCKET),
        "{warning}"
    );
    let logs = stack.provider.logs();
    let mut with_key = logs.lines().filter(|line| line.contains("secret.key"));
    assert!(with_key.all(|line| line.contains("DEBUG")), "{logs}");
    Ok(())
}

async fn changes_wait_for_a_component_that_is_not_there(version: &str) -> Result<()> {
    let stack = stack(version).await?;
    let bucket = bucket(&stack, 1).await?;
    let link = link(&stack, ">");
    watch(&stack, &link.config("watch_max_deliver", "1")).await?;
    bucket.put("a", "1".into()).await?;
    logged(&stack.provider, &["WARN", "no host runs the component"]).await?;
    let component = component(&stack, at_once).await?;
    component.wait_for_text("a=1").await?;
    logged(&stack.provider, &["INFO", "told of changes again"]).await?;
    Ok(())
}

async fn a_component_that_hangs_holds_up_no_other_one(version: &str) -> Result<()> {
    let stack = stack(version).await?;
    let bucket = bucket(&stack, 1).await?;
    let hanging = component(&stack, |_| Reply::Never).await?;
    let (url, lattice) = (stack.lattice().url(), stack.provider.lattice().to_owned());
    let other = ToldComponent::serve(&url, &lattice, "other", at_once).await?;
    let slow = link(&stack, ">").config("watch_timeout", "60s");
    watch(&stack, &slow.config("watch_max_in_flight", "1")).await?;
    let link = LinkDefinition::to_watcher("other")
        .config("cluster_uri", stack.nats.url())
        .config("bucket", BUCKET)
        .config("watch", ">");
    stack.provider.put_link(&link).await?;
    consumers(&stack, 2).await?;
    for change in 0..100 {
        bucket.put(format!("key.{change}"), "v".into()).await?;
    }
    other
        .wait_for("all changes", |calls| calls.len() == 100)
        .await?;
    assert_eq!(hanging.calls().len(), 1, "calls at once");
    Ok(())
}

async fn first_the_values_that_are_there(version: &str) -> Result<()> {
    let stack = stack(version).await?;
    let bucket = bucket(&stack, 5).await?;
    for (key, value) in [("a", "1"), ("a", "2"), ("b", "1"), ("c", "1"), ("x.y", "1")] {
        bucket.put(key, value.into()).await?;
    }
    bucket.delete("c").await?;
    let component = component(&stack, at_once).await?;
    watch(&stack, &link(&stack, "*").config("watch_from", "last")).await?;
    bucket.put("d", "1".into()).await?;
    bucket.delete("b").await?;
    let is_complete = |calls: &[Told]| calls.len() >= 4;
    let mut all = texts(&component.wait_for("all", is_complete).await?);
    all.sort_unstable();
    assert_eq!(all, ["a=2", "b deleted", "b=1", "d=1"]);
    Ok(())
}

async fn keys_may_be_stored_as_base64(version: &str) -> Result<()> {
    let stack = stack(version).await?;
    bucket(&stack, 1).await?;
    let component = component(&stack, at_once).await?;
    let encoded = |link: LinkDefinition| link.config("key_encoding", "base64");
    watch(&stack, &encoded(link(&stack, "any key, ключ"))).await?;
    let writer = encoded(stack.link(COMPONENT, BUCKET)).name("writer");
    stack.provider.put_link(&writer).await?;
    let writer = stack.caller(COMPONENT).with_link("writer");
    let pairs = [("any key", "1"), ("other", "2"), ("ключ", "3")];
    writer.set_many("default", &pairs).await??;
    writer.delete_many("default", &["any key"]).await??;
    component.wait_for_text("any key deleted").await?;
    component.wait_for_text("ключ=3").await?;
    assert_eq!(of_key(&component.calls(), "other"), [""; 0]);

    // All keys, one of which was written without the encoding.
    stack.provider.put_link(&encoded(link(&stack, ">"))).await?;
    let line = "changes of keys are not delivered that were written without";
    let plain = stack.nats.jetstream().await?.get_key_value(BUCKET).await?;
    plain.put("not.encoded", "v".into()).await?;
    logged(&stack.provider, &["WARN", line]).await?;
    writer.set_many("default", &[("other", "4")]).await??;
    component.wait_for_text("other=4").await?;
    Ok(())
}

async fn values_that_expire_are_deletes(version: &str) -> Result<()> {
    let stack = stack(version).await?;
    let config = kv::Config {
        limit_markers: Some(Duration::from_secs(60)),
        ..kv::Config::default()
    };
    let bucket = stack.create_bucket(BUCKET, config).await?;
    let component = component(&stack, at_once).await?;
    watch(&stack, &link(&stack, ">")).await?;
    let second = Duration::from_secs(1);
    bucket.create_with_ttl("a", "1".into(), second).await?;
    let all = component.wait_for_text("a deleted").await?;
    assert_eq!(all, ["a=1", "a deleted"]);
    Ok(())
}

async fn a_large_value_comes_whole(version: &str) -> Result<()> {
    let stack = stack(version).await?;
    let bucket = bucket(&stack, 1).await?;
    let component = component(&stack, at_once).await?;
    watch(&stack, &link(&stack, ">").config("watch_timeout", "20s")).await?;
    // With the headers of a call it is more than one message.
    let value = vec![7_u8; 1024 * 1024 - 100];
    bucket.put("a", value.clone().into()).await?;
    let calls = component
        .wait_for("the value", |calls| !calls.is_empty())
        .await?;
    assert_eq!(calls[0].value.as_deref(), Some(value.as_slice()));
    Ok(())
}

/// As this engine writes a delete where the bucket's markers have an end: without a rollup.
async fn a_marker_that_removes_nothing_hides_no_value(version: &str) -> Result<()> {
    let stack = stack(version).await?;
    let bucket = bucket(&stack, 5).await?;
    let slow = |_: &Told| Reply::After(Duration::from_secs(1));
    let component = component(&stack, slow).await?;
    watch(&stack, &link(&stack, ">").config("watch_timeout", "20s")).await?;
    bucket.put("a", "0".into()).await?;
    component.wait_for_text("a=0").await?;
    bucket.put("a", "1".into()).await?;
    let mut headers = testkit::async_nats::HeaderMap::new();
    headers.insert("KV-Operation", "PURGE");
    let jetstream = stack.nats.jetstream().await?;
    let marker = jetstream.publish_with_headers(format!("$KV.{BUCKET}.a"), headers, "".into());
    marker.await?.await?;
    let all = component.wait_for_text("a deleted").await?;
    assert_eq!(all, ["a=0", "a=1", "a deleted"]);
    Ok(())
}

/// It costs the connection twice, and then no more.
async fn what_the_client_cannot_parse_is_given_up(version: &str) -> Result<()> {
    const HEADERS: [&[u8]; 2] = [
        b"NATS/1.0\r\na name: 1\r\n\r\n",
        b"NATS/1.0\r\nX: carriage\rreturn\r\n\r\n",
    ];
    let stack = crate::support::stack(version).separate_lattice();
    let stack = stack.start().await?;
    let bucket = bucket(&stack, 1).await?;
    let component = component(&stack, at_once).await?;
    watch(&stack, &link(&stack, ">").config("watch_timeout", "300ms")).await?;
    for (key, headers) in ["x", "y"].into_iter().zip(HEADERS) {
        let subject = format!("$KV.{BUCKET}.{key}");
        let stored = raw::publish(&stack.nats, subject.as_bytes(), headers, b"value").await?;
        anyhow::ensure!(stored.is_some(), "{}", headers.escape_ascii());
    }
    bucket.put("a", "1".into()).await?;
    component.wait_for_text("a=1").await?;
    for revision in ["revision=1", "revision=2"] {
        let parts = ["WARN", "given up", "cannot parse", revision];
        let line = logged(&stack.provider, &parts).await?;
        assert!(!line.contains("value"), "{line}");
    }
    acknowledged(&bucket, 3).await?;
    bucket.put("x", "2".into()).await?;
    component.wait_for_text("x=2").await?;
    Ok(())
}

fn humantime(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}
