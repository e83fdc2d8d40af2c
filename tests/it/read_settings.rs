//! Settings of a link that say which node answers reads, and over how many connections.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use crate::support::waiting::{CONNECTION, connections, connections_now};
use anyhow::{Result, ensure};
use testkit::async_nats::jetstream::kv;
use testkit::{BatchError, Stack};

on_oldest_and_newest!(
    the_nearest_node_answers_single_reads_if_the_link_says_so,
    reads_go_over_as_many_connections_as_the_link_says,
);

/// A login that may use direct gets and nothing else that reads.
const DIRECT_ONLY: &str = r#"authorization { users: [
    { user: admin, password: secret }
    { user: reader, password: secret, permissions: { subscribe: "_INBOX.>", publish: { allow: [
        "$JS.API.STREAM.INFO.KV_orders", "$JS.API.DIRECT.GET.KV_orders.$KV.orders.>" ] } } }
] }"#;

async fn the_nearest_node_answers_single_reads_if_the_link_says_so(version: &str) -> Result<()> {
    let stack = crate::support::stack(version)
        .separate_lattice()
        .nats(|nats| nats.config(DIRECT_ONLY))
        .start()
        .await?;
    let admin = testkit::async_nats::ConnectOptions::with_user_and_password(
        "admin".to_owned(),
        "secret".to_owned(),
    );
    let admin = testkit::async_nats::jetstream::new(stack.nats.client_with(admin).await?);
    let orders = kv::Config {
        bucket: "orders".to_owned(),
        ..kv::Config::default()
    };
    let orders = admin.create_key_value(orders).await?;
    orders.put("a", "1".into()).await?;
    for name in ["leader", "nearest"] {
        let link = stack
            .link("shop", "orders")
            .name(name)
            .config("single_reads", name)
            .config("username", "reader")
            .secret("password", "secret")
            .config("timeout", "10s");
        stack.provider.put_link(&link).await?;
    }

    let nearest = stack.caller("shop").with_link("nearest");
    assert_eq!(
        nearest.store().get("default", "a").await??,
        Some("1".into())
    );
    assert_eq!(nearest.store().get("default", "b").await??, None);
    assert!(nearest.store().exists("default", "a").await??);
    assert!(!nearest.store().exists("default", "b").await??);

    let leader = stack.caller("shop").with_link("leader");
    let denied = leader.store().get("default", "a").await?;
    assert!(
        matches!(denied, Err(BatchError::AccessDenied)),
        "{denied:?}"
    );
    let denied = leader.store().exists("default", "a").await?;
    assert!(
        matches!(denied, Err(BatchError::AccessDenied)),
        "{denied:?}"
    );
    // This interface promises to read what was written before.
    let eventual = nearest.get("default", "a").await?.unwrap_err();
    ensure!(eventual.text().contains("STREAM.MSG.GET"), "{eventual:?}");
    Ok(())
}

async fn reads_go_over_as_many_connections_as_the_link_says(version: &str) -> Result<()> {
    let stack = crate::support::stack(version)
        .separate_lattice()
        .start()
        .await?;
    stack.create_bucket("orders", kv::Config::default()).await?;
    let before = connections_now(&stack).await?;
    let one = stack.link("shop", "orders").name("one");
    let three = stack
        .link("shop", "orders")
        .name("three")
        .config("connections", "3");
    stack.provider.put_link(&one).await?;
    stack.provider.put_link(&three).await?;
    connections(&stack, before + 3).await?;

    let caller = stack.caller("shop").with_link("three");
    let keys: Vec<_> = (0..2000).map(|key| format!("key-{key}")).collect();
    let pairs: Vec<_> = keys.iter().map(|key| (key, key)).collect();
    caller.set_many("default", &pairs).await??;
    let before_reads = messages(&stack).await?;
    // On an older server one batch uses one connection.
    for _ in 0..3 {
        let values = caller.get_many("default", &keys).await??;
        for (key, value) in keys.iter().zip(values) {
            assert_eq!(value.as_deref(), Some(key.as_bytes()));
        }
    }
    let after_reads = messages(&stack).await?;
    for (connection, after) in &after_reads {
        let before = before_reads.get(connection);
        ensure!(before < Some(after), "{before_reads:?}, {after_reads:?}");
    }
    assert_eq!(caller.keys("default").await??.len(), keys.len());
    assert_eq!(
        caller.store().get("default", "key-7").await??,
        Some("key-7".into())
    );

    stack.provider.delete_link(&three).await?;
    connections(&stack, before + 1).await
}

/// How many messages the server has got over each of the provider's connections.
async fn messages(stack: &Stack) -> Result<BTreeMap<u64, u64>> {
    let mut all = stack.nats.connections().await?;
    all.retain(|connection| connection.name == CONNECTION);
    Ok(all.iter().map(|it| (it.cid, it.in_msgs)).collect())
}
