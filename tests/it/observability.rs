//! What health and the log say. What they never say is in `secrets.rs`.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use crate::support::interface::BOTH;
use crate::support::waiting::{eventually, logged, open, unhealthy};
use anyhow::{Result, ensure};
use testkit::async_nats::jetstream::kv;
use testkit::{Level, NatsServer, Provider, Value};
use tokio::net::TcpListener;
use tokio::time::timeout;

on_oldest_and_newest!(health_follows_the_connections_of_the_links);
on_version!(
    newest_only,
    testkit::NEWEST,
    [
        a_server_that_is_down_is_logged_once_with_the_cause,
        keys_and_values_are_not_in_the_log_at_info,
        a_call_is_one_span_in_the_log_at_debug,
    ]
);

async fn health_follows_the_connections_of_the_links(version: &str) -> Result<()> {
    let mut stack = crate::support::stack(version)
        .separate_lattice()
        .start()
        .await?;
    stack.create_bucket("orders", kv::Config::default()).await?;
    let other = NatsServer::run(version).await?;
    assert!(stack.provider.health().await?.healthy);

    let first = stack.link("shop", "orders").name("first");
    let second = stack.link("other", "orders").name("second");
    let elsewhere = stack
        .link("shop", "orders")
        .name("elsewhere")
        .config("cluster_uri", other.url());
    for link in [&first, &second, &elsewhere] {
        stack.provider.put_link(link).await?;
    }
    let shop = stack.caller("shop").with_link("first");
    open(&shop).await?;
    let healthy = async |provider: &Provider| {
        eventually("the provider to be healthy", async || {
            Ok(Some(provider.health().await?).filter(|health| health.healthy))
        })
        .await
    };
    assert_eq!(healthy(&stack.provider).await?.message, None);

    stack.nats.stop().await?;
    let health = unhealthy(&stack.provider).await?;
    let message = health.message.unwrap_or_default();
    let server = stack.nats.url();
    for part in ["\"first\"", "\"shop\"", "\"second\"", "\"other\"", &server] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert!(!message.contains("elsewhere"), "{message}");
    assert!(!message.contains(&other.url()), "{message}");
    // Calls say the same.
    let error = shop.get_many("default", &["key"]).await?.unwrap_err();
    assert_eq!(error.case(), "unavailable");
    assert!(error.text().contains(&server), "{}", error.text());

    stack.nats.start().await?;
    assert_eq!(healthy(&stack.provider).await?.message, None);
    shop.get_many("default", &["key"]).await??;

    // A deleted link does not make the provider unhealthy.
    stack.nats.stop().await?;
    unhealthy(&stack.provider).await?;
    stack.provider.delete_link(&first).await?;
    stack.provider.delete_link(&second).await?;
    healthy(&stack.provider).await?;
    Ok(())
}

async fn keys_and_values_are_not_in_the_log_at_info(version: &str) -> Result<()> {
    const KEY: &str = "key-that-is-nobodys-business";
    const VALUE: &str = "value-that-is-nobodys-business";
    let mut stack = crate::support::stack(version)
        .separate_lattice()
        .provider(|provider, _| provider.log_level(Level::Info))
        .start()
        .await?;
    let config = kv::Config {
        max_value_size: 1000,
        ..kv::Config::default()
    };
    stack.create_bucket("orders", config).await?;
    let link = stack.link("shop", "orders").config("timeout", "300ms");
    stack.provider.put_link(&link).await?;
    let shop = stack.caller("shop");
    open(&shop).await?;
    let big = VALUE.repeat(1000);
    let bad_key = format!("{KEY} *");
    for interface in BOTH {
        let (shop, name) = (&shop, "default");
        interface.set_many(shop, name, &[(KEY, VALUE)]).await??;
        interface.get_many(shop, name, &[KEY]).await??;
        interface.delete_many(shop, name, &[KEY]).await??;
        for answer in [
            interface.set_many(shop, name, &[(KEY, &big)]).await?,
            interface.set_many(shop, name, &[(&bad_key, VALUE)]).await?,
            interface.delete_many(shop, name, &[&bad_key]).await?,
        ] {
            ensure!(answer.is_err());
        }
        ensure!(interface.get_many(shop, name, &[&bad_key]).await?.is_err());
    }
    shop.keys("default").await??;
    let not_base64 = [(KEY, Value::Base64(VALUE.to_owned()))];
    ensure!(shop.set_many_raw("default", &not_base64).await?.is_err());
    stack.nats.stop().await?;
    for interface in BOTH {
        let answer = interface.set_many(&shop, "default", &[(KEY, VALUE)]);
        ensure!(answer.await?.is_err());
        let answer = interface.get_many(&shop, "default", &[KEY]);
        ensure!(answer.await?.is_err());
    }
    // The log says what went wrong, without keys and values.
    logged(&stack.provider, &["set-many", "shop", "invalid-argument"]).await?;
    logged(
        &stack.provider,
        &["WARN", "set-many", "shop", "unavailable"],
    )
    .await?;
    logged(
        &stack.provider,
        &["WARN", "get-many", "shop", "unavailable"],
    )
    .await?;
    let logs = stack.provider.logs();
    assert!(!logs.contains("DEBUG"), "{logs}");
    for hidden in [KEY, VALUE] {
        assert!(!logs.contains(hidden), "{hidden}: {logs}");
    }
    Ok(())
}

async fn a_call_is_one_span_in_the_log_at_debug(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    stack.create_bucket("orders", kv::Config::default()).await?;
    let link = stack.link("shop", "orders").name("cart");
    stack.provider.put_link(&link).await?;
    let shop = stack.caller("shop").with_link("cart");
    shop.open_bucket("").await??;
    shop.set_many("", &[("a", "1"), ("b", "2")]).await??;
    shop.get_many("", &["a", "b", "c"]).await??;
    shop.batch().get_many("", &["a", "b", "c", "d"]).await??;
    shop.delete_many("", &["a"]).await??;
    shop.keys("").await??;
    ensure!(shop.get_many("not-granted", &["a"]).await?.is_err());
    ensure!(shop.get_many("", &["a", "*"]).await?.is_err());

    for (operation, bucket, keys, outcome) in [
        ("open-bucket", Some("orders"), None, "ok"),
        ("set-many", Some("orders"), Some(2), "ok"),
        ("get-many", Some("orders"), Some(3), "ok"),
        ("get-many", Some("orders"), Some(4), "ok"),
        ("delete-many", Some("orders"), None, "ok"),
        ("keys", Some("orders"), None, "ok"),
        ("get-many", None, None, "no-such-bucket"),
        ("get-many", Some("orders"), Some(2), "invalid-argument"),
    ] {
        let mut parts = vec![
            "answered".to_owned(),
            "source=\"shop\"".to_owned(),
            "link=\"cart\"".to_owned(),
            format!("db.operation.name=\"{operation}\""),
            format!("outcome=\"{outcome}\""),
        ];
        parts.extend(bucket.map(|bucket| format!("db.collection.name=\"{bucket}\"")));
        parts.extend(keys.map(|keys| format!("db.operation.batch.size={keys}")));
        let parts: Vec<_> = parts.iter().map(String::as_str).collect();
        let answered = logged(&stack.provider, &parts).await?;
        assert_eq!(answered.matches("call{").count(), 1, "{answered}");
    }
    let logs = stack.provider.logs();
    let of_shop = |line: &&str| line.contains("source=\"shop\"") && line.contains("answered");
    assert_eq!(logs.lines().filter(of_shop).count(), 8, "{logs}");
    Ok(())
}

/// A server that takes connections and ends them at once.
async fn a_server_that_is_down_is_logged_once_with_the_cause(version: &str) -> Result<()> {
    const ATTEMPTS: usize = 6;
    let stack = crate::support::stack(version).start().await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let link = stack.link("shop", "orders");
    let link = link.config("cluster_uri", format!("nats://{address}"));
    stack.provider.put_link(&link).await?;
    for _ in 0..ATTEMPTS {
        timeout(Duration::from_secs(30), listener.accept()).await??;
    }
    let logs = stack.provider.logs();
    let is_told = |line: &&str| {
        let told = line.contains("WARN") || line.contains("ERROR");
        told && line.contains(&address)
    };
    let told: Vec<_> = logs.lines().filter(is_told).collect();
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].contains("reason="), "{told:?}");
    Ok(())
}
