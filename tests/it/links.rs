//! Links that are put, changed and deleted, and the connections that they share.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use crate::support::waiting::{connections, connections_now, eventually, logged, open};
use anyhow::{Context as _, Result};
use testkit::async_nats::ConnectOptions;
use testkit::async_nats::jetstream::{self, kv};
use testkit::{LatticeCaller, LinkDefinition, Stack};
use tokio::time::timeout;

on_oldest_and_newest!(
    a_link_put_while_nats_is_down_works_once_it_is_up,
    a_link_removed_while_its_call_is_under_way_lets_it_finish,
    links_with_other_credentials_have_other_connections,
);
on_version!(
    newest_only,
    testkit::NEWEST,
    [
        a_second_put_changes_the_link,
        links_go_one_by_one,
        links_given_at_the_start_work,
        links_with_the_same_settings_share_a_connection_until_the_last_goes,
        many_puts_and_deletes_leave_one_connection_at_most,
    ]
);

async fn a_second_put_changes_the_link(version: &str) -> Result<()> {
    let stack = with_buckets(version, &["one", "two", "three"]).await?;
    let caller = stack.linked("shop", "one").await?;
    assert_eq!(bucket_of(&caller).await?, "one");

    // Right after one another, and with another link of the same caller between.
    for bucket in ["two", "one", "three", "one", "two"] {
        stack.provider.put_link(&stack.link("shop", bucket)).await?;
        assert_eq!(bucket_of(&caller).await?, bucket);
    }
    let second = stack.link("shop", "three").name("second");
    stack.provider.put_link(&second).await?;
    stack.provider.put_link(&stack.link("shop", "one")).await?;
    assert_eq!(bucket_of(&caller).await?, "one");
    let over_second = caller.clone().with_link("second");
    assert_eq!(bucket_of(&over_second).await?, "three");

    // A link for the other interface is the same link.
    let batch = stack.link("shop", "two").wasi_batch();
    stack.provider.put_link(&batch).await?;
    assert_eq!(bucket_of(&caller).await?, "two");

    // Not only the bucket changes.
    let keys = ["a", "b"];
    caller.get_many("default", &keys).await??;
    let limited = stack.link("shop", "two").config("max_batch_keys", "1");
    stack.provider.put_link(&limited).await?;
    let refused = caller.get_many("default", &keys).await?;
    assert_eq!(refused.unwrap_err().case(), "too-large");

    // A put that is refused replaces the link too: it does not go on with the old configuration.
    let bad = stack.link("shop", "two").config("max_batch_keys", "none");
    stack.provider.put_link(&bad).await?;
    let refused = caller.get_many("default", &["a"]).await?;
    let text = refused.unwrap_err().text().to_owned();
    assert!(text.contains("max_batch_keys"), "{text}");
    stack.provider.put_link(&stack.link("shop", "two")).await?;
    assert_eq!(bucket_of(&caller).await?, "two");
    Ok(())
}

async fn links_go_one_by_one(version: &str) -> Result<()> {
    let stack = with_buckets(version, &["one", "two", "three"]).await?;
    let first = stack.link("shop", "one");
    let second = stack.link("shop", "two").name("second");
    let others = stack.link("other", "three");
    for link in [&first, &second, &others] {
        stack.provider.put_link(link).await?;
    }
    let shop = stack.caller("shop");
    let over_second = shop.clone().with_link("second");
    let other = stack.caller("other");
    assert_eq!(bucket_of(&shop).await?, "one");
    assert_eq!(bucket_of(&over_second).await?, "two");
    assert_eq!(bucket_of(&other).await?, "three");

    stack.provider.delete_link(&first).await?;
    assert_eq!(refusal(&shop).await?, "access-denied");
    assert_eq!(bucket_of(&over_second).await?, "two");
    assert_eq!(bucket_of(&other).await?, "three");

    // A link that never existed, and one that is deleted already.
    stack.provider.delete_link(&first).await?;
    stack
        .provider
        .delete_link(&stack.link("nobody", "one"))
        .await?;
    assert_eq!(bucket_of(&over_second).await?, "two");

    stack.provider.delete_link(&second).await?;
    assert_eq!(refusal(&over_second).await?, "access-denied");
    assert_eq!(bucket_of(&other).await?, "three");

    stack.provider.put_link(&first).await?;
    assert_eq!(bucket_of(&shop).await?, "one");
    assert_eq!(refusal(&over_second).await?, "access-denied");
    Ok(())
}

async fn a_link_put_while_nats_is_down_works_once_it_is_up(version: &str) -> Result<()> {
    let mut stack = crate::support::stack(version)
        .separate_lattice()
        .start()
        .await?;
    named(&stack, "one").await?;
    stack.nats.stop().await?;

    let link = stack.link("shop", "one").config("timeout", "300ms");
    stack.provider.put_link(&link).await?;
    let caller = stack.caller("shop");
    assert_eq!(refusal(&caller).await?, "unavailable");

    stack.nats.start().await?;
    open(&caller).await?;
    assert_eq!(bucket_of(&caller).await?, "one");

    // And it comes back by itself whenever NATS does.
    stack.nats.stop().await?;
    assert_eq!(refusal(&caller).await?, "unavailable");
    stack.nats.start().await?;
    open(&caller).await?;
    assert_eq!(bucket_of(&caller).await?, "one");
    Ok(())
}

async fn links_with_the_same_settings_share_a_connection_until_the_last_goes(
    version: &str,
) -> Result<()> {
    let stack = crate::support::stack(version)
        .separate_lattice()
        .start()
        .await?;
    for bucket in ["one", "two", "three"] {
        named(&stack, bucket).await?;
    }
    assert_eq!(connections_now(&stack).await?, 0);
    let links = [
        stack.link("shop", "one"),
        stack
            .link("shop", "two")
            .name("second")
            .config("timeout", "5s"),
        stack
            .link("other", "three")
            .config("buckets", "also=one")
            .config("max_concurrency", "3"),
    ];
    for link in &links {
        stack.provider.put_link(link).await?;
        let caller = stack.caller(link.source_id()).with_link(link.link_name());
        open(&caller).await?;
        assert_eq!(connections_now(&stack).await?, 1);
    }
    stack.provider.delete_link(&links[0]).await?;
    stack.provider.delete_link(&links[2]).await?;
    let second = stack.caller("shop").with_link("second");
    assert_eq!(bucket_of(&second).await?, "two");
    assert_eq!(connections_now(&stack).await?, 1);

    stack.provider.delete_link(&links[1]).await?;
    connections(&stack, 0).await?;

    stack.provider.put_link(&links[0]).await?;
    assert_eq!(bucket_of(&stack.caller("shop")).await?, "one");
    assert_eq!(connections_now(&stack).await?, 1);
    Ok(())
}

async fn links_with_other_credentials_have_other_connections(version: &str) -> Result<()> {
    const USERS: &str = "authorization { users: [ \
         { user: ann, password: pann }, { user: bob, password: pbob } ] }";
    let stack = crate::support::stack(version)
        .separate_lattice()
        .nats(|nats| nats.config(USERS))
        .start()
        .await?;
    let ann = ConnectOptions::with_user_and_password("ann".to_owned(), "pann".to_owned());
    let jetstream = jetstream::new(stack.nats.client_with(ann).await?);
    jetstream
        .create_key_value(kv::Config {
            bucket: "one".to_owned(),
            ..kv::Config::default()
        })
        .await?;

    let link = |component: &str, user: &str| {
        stack
            .link(component, "one")
            .config("username", user)
            .secret("password", format!("p{user}"))
    };
    for (component, user, expected) in [
        ("first", "ann", 1),
        ("second", "ann", 1),
        ("third", "bob", 2),
        ("fourth", "bob", 2),
    ] {
        stack.provider.put_link(&link(component, user)).await?;
        open(&stack.caller(component)).await?;
        assert_eq!(connections_now(&stack).await?, expected, "{component}");
    }
    // A link that changes its login moves over.
    stack.provider.put_link(&link("third", "ann")).await?;
    stack.provider.put_link(&link("fourth", "ann")).await?;
    open(&stack.caller("fourth")).await?;
    connections(&stack, 1).await?;
    Ok(())
}

async fn a_link_removed_while_its_call_is_under_way_lets_it_finish(version: &str) -> Result<()> {
    const KEYS: usize = 20_000;
    let stack = crate::support::stack(version)
        .separate_lattice()
        .start()
        .await?;
    let entries: Vec<_> = (0..KEYS).map(|n| (format!("key-{n}"), "value")).collect();
    // A call may be through before its link is gone; then it is tried with another bucket.
    for attempt in 0..5 {
        let bucket = format!("attempt-{attempt}");
        let store = named(&stack, &bucket).await?;
        let link = stack.link("shop", &bucket).config("timeout", "60s");
        stack.provider.put_link(&link).await?;
        let caller = stack.caller("shop").with_timeout(Duration::from_secs(90));
        open(&caller).await?;
        let call = tokio::spawn({
            let (caller, entries) = (caller.clone(), entries.clone());
            async move { caller.set_many("default", &entries).await }
        });
        eventually("the first keys", async || {
            Ok((messages(&store).await? > 1).then_some(()))
        })
        .await?;
        stack.provider.delete_link(&link).await?;
        assert_eq!(refusal(&caller).await?, "access-denied");
        let under_way = !call.is_finished();
        timeout(Duration::from_secs(90), call)
            .await
            .context("the call is not answered")????;
        let expected = u64::try_from(KEYS)? + 1;
        assert_eq!(messages(&store).await?, expected);
        connections(&stack, 0).await?;
        if under_way {
            return Ok(());
        }
    }
    anyhow::bail!("no call was still under way when its link was removed")
}

async fn links_given_at_the_start_work(version: &str) -> Result<()> {
    let stack = crate::support::stack(version)
        .provider(|provider, nats| {
            let link = |component: &str, bucket: &str| {
                LinkDefinition::new(component)
                    .config("cluster_uri", nats.url())
                    .config("bucket", bucket)
            };
            provider
                .link(link("shop", "one"))
                .link(link("shop", "two").name("second"))
                .link(link("bad", "one").config("timeout", "soon"))
                .link(link("other", "two"))
        })
        .start()
        .await?;
    named(&stack, "one").await?;
    named(&stack, "two").await?;
    let shop = stack.caller("shop");
    assert_eq!(bucket_of(&shop).await?, "one");
    assert_eq!(bucket_of(&shop.clone().with_link("second")).await?, "two");
    assert_eq!(bucket_of(&stack.caller("other")).await?, "two");
    assert_eq!(refusal(&stack.caller("bad")).await?, "access-denied");
    logged(&stack.provider, &["timeout", "soon"]).await?;

    // They can be changed and deleted like other links.
    stack.provider.put_link(&stack.link("shop", "two")).await?;
    assert_eq!(bucket_of(&shop).await?, "two");
    let second = stack.link("shop", "two").name("second");
    stack.provider.delete_link(&second).await?;
    assert_eq!(refusal(&shop.with_link("second")).await?, "access-denied");
    Ok(())
}

async fn many_puts_and_deletes_leave_one_connection_at_most(version: &str) -> Result<()> {
    let stack = crate::support::stack(version)
        .separate_lattice()
        .start()
        .await?;
    named(&stack, "one").await?;
    let caller = stack.caller("shop");
    for round in 0..30 {
        let link = stack.link("shop", "one");
        stack.provider.put_link(&link).await?;
        if round % 3 == 0 {
            assert_eq!(bucket_of(&caller).await?, "one");
        }
        if round % 2 == 0 {
            stack.provider.delete_link(&link).await?;
            assert_eq!(refusal(&caller).await?, "access-denied");
        }
    }
    let link = stack.link("shop", "one");
    stack.provider.put_link(&link).await?;
    assert_eq!(bucket_of(&caller).await?, "one");
    connections(&stack, 1).await?;
    stack.provider.delete_link(&link).await?;
    connections(&stack, 0).await
}

async fn with_buckets(version: &str, buckets: &[&str]) -> Result<Stack> {
    let stack = crate::support::stack(version).start().await?;
    for bucket in buckets {
        named(&stack, bucket).await?;
    }
    Ok(stack)
}

/// A bucket that says its name under `name`.
async fn named(stack: &Stack, bucket: &str) -> Result<kv::Store> {
    let store = stack.create_bucket(bucket, kv::Config::default()).await?;
    store.put("name", bucket.to_owned().into()).await?;
    Ok(store)
}

async fn messages(store: &kv::Store) -> Result<u64> {
    let mut stream = store.stream.clone();
    Ok(stream.info().await?.state.messages)
}

/// The name of the bucket that the caller's link reaches.
async fn bucket_of(caller: &LatticeCaller) -> Result<String> {
    let mut values = caller.get_many("default", &["name"]).await??;
    let value = values.pop().flatten().context("the bucket has no name")?;
    Ok(String::from_utf8(value)?)
}

/// The case of the error with which a call is answered.
async fn refusal(caller: &LatticeCaller) -> Result<&'static str> {
    match caller.get_many("default", &["name"]).await? {
        Ok(values) => anyhow::bail!("answered {values:?}"),
        Err(error) => Ok(error.case()),
    }
}
