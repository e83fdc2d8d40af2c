//! Every configuration key, good and bad, as a user sees it. Logins and TLS are in `logins.rs`.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::net::TcpListener;
use std::time::Duration;

use crate::support::waiting::{eventually, logged};
use anyhow::{Context as _, Result};
use testkit::async_nats::jetstream::stream::StorageType;
use testkit::async_nats::jetstream::{self, kv};
use testkit::{LatticeCaller, LinkDefinition, NatsServer, Stack};
use tokio::time::{Instant, timeout};

on_oldest_and_newest!(
    bucket_settings_shape_a_bucket_that_is_created,
    without_auto_create_a_missing_bucket_stays_missing,
    an_existing_bucket_is_used_as_it_is_and_the_difference_logged,
    a_domain_is_reached_over_a_leaf_node,
);
on_version!(
    newest_only,
    testkit::NEWEST,
    [
        a_bad_value_refuses_the_link_and_says_why,
        an_unknown_key_is_warned_of_with_the_nearest,
        the_provider_gives_defaults_that_a_link_overrides,
        a_new_provider_configuration_reaches_the_links_that_are_there,
        a_link_that_cannot_be_read_stays_refused_whatever_the_provider_is_told,
        a_server_without_jetstream_is_told,
        a_link_for_an_interface_that_needs_the_adapter_is_warned_of,
        a_bucket_that_no_link_grants_is_told_with_three_ways_to_reach_it,
        a_server_url_of_another_scheme_is_named,
        limits_and_key_encoding_are_those_of_the_link,
        a_call_ends_before_the_hosts_rpc_timeout_unless_the_link_sets_one,
    ]
);

async fn bucket_settings_shape_a_bucket_that_is_created(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    let shaped = stack
        .link("shaped", "shaped")
        .config("enable_bucket_auto_create", "true")
        .config("bucket_replicas", "1")
        .config("bucket_storage", "memory")
        .config("bucket_history", "7")
        .config("bucket_ttl", "36h")
        .config("bucket_max_bytes", "5000000")
        .config("bucket_max_value_size", "2048");
    let plain = stack
        .link("plain", "plain")
        .config("buckets", "more=plain_more")
        .config("enable_bucket_auto_create", "TRUE");
    for link in [&shaped, &plain] {
        stack.provider.put_link(link).await?;
    }
    // A link alone creates nothing; any first call does, several at once too.
    let jetstream = stack.nats.jetstream().await?;
    assert!(jetstream.get_key_value("shaped").await.is_err());
    let caller = stack.caller("shaped");
    let none = [None::<Vec<u8>>];
    let (opened, values, keys) = tokio::join!(
        caller.open_bucket("default"),
        caller.get_many("default", &["a"]),
        caller.keys("default"),
    );
    opened??;
    assert_eq!(values??, none);
    assert!(keys??.is_empty());
    let config = stream_config(&stack, "shaped").await?;
    assert_eq!(config.num_replicas, 1);
    assert_eq!(config.storage, StorageType::Memory);
    assert_eq!(config.max_messages_per_subject, 7);
    assert_eq!(config.max_age, Duration::from_secs(36 * 3600));
    assert_eq!(config.max_bytes, 5_000_000);
    assert_eq!(config.max_message_size, 2048);

    let caller = stack.caller("plain");
    caller.set_many("default", &[("a", "1")]).await??;
    caller.set_many("more", &[("a", "2")]).await??;
    for bucket in ["plain", "plain_more"] {
        let config = stream_config(&stack, bucket).await?;
        assert_eq!(config.num_replicas, 1, "{bucket}");
        assert_eq!(config.storage, StorageType::File);
        assert_eq!(config.max_messages_per_subject, 1);
        assert_eq!(config.max_age, Duration::ZERO);
        assert_eq!(config.max_bytes, -1);
        assert_eq!(config.max_message_size, -1);
    }

    // What the server cannot do is its error, at once and in its words.
    let replicated = stack
        .link("replicated", "replicated")
        .config("enable_bucket_auto_create", "true")
        .config("bucket_replicas", "3");
    stack.provider.put_link(&replicated).await?;
    let refused = stack.caller("replicated").open_bucket("default").await?;
    let error = refused.unwrap_err();
    assert_eq!(error.case(), "other", "{}", error.text());
    assert!(error.text().contains("replicas"), "{}", error.text());
    Ok(())
}

async fn without_auto_create_a_missing_bucket_stays_missing(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    let off = stack
        .link("off", "absent")
        .config("enable_bucket_auto_create", "false")
        .config("bucket_history", "3");
    stack.provider.put_link(&off).await?;
    stack.linked("unset", "absent").await?;
    for component in ["off", "unset"] {
        let caller = stack.caller(component);
        let key = ["key"];
        let pair = [("key", "value")];
        let errors = [
            caller.open_bucket("default").await?.unwrap_err(),
            caller.get_many("default", &key).await?.unwrap_err(),
            caller.keys("default").await?.unwrap_err(),
            caller.set_many("default", &pair).await?.unwrap_err(),
            caller.delete_many("default", &key).await?.unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.case(), "no-such-bucket", "{}", error.text());
            for part in ["`absent`", "enable_bucket_auto_create"] {
                assert!(error.text().contains(part), "{}", error.text());
            }
        }
        let refused = caller.batch().set_many("default", &pair).await?;
        assert_eq!(refused.unwrap_err(), testkit::BatchError::NoSuchStore);
    }
    let jetstream = stack.nats.jetstream().await?;
    assert!(jetstream.get_key_value("absent").await.is_err());

    stack.create_bucket("absent", kv::Config::default()).await?;
    stack.caller("unset").open_bucket("default").await??;
    Ok(())
}

async fn an_existing_bucket_is_used_as_it_is_and_the_difference_logged(
    version: &str,
) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    let config = kv::Config {
        history: 2,
        max_age: Duration::from_secs(3600),
        ..kv::Config::default()
    };
    stack.create_bucket("here", config).await?;
    let before = stream_config(&stack, "here").await?;
    let same = stack
        .link("same", "here")
        .config("enable_bucket_auto_create", "true")
        .config("bucket_replicas", "1")
        .config("bucket_storage", "file")
        .config("bucket_history", "2")
        .config("bucket_ttl", "60m");
    stack.provider.put_link(&same).await?;
    stack.caller("same").open_bucket("default").await??;

    let different = stack
        .link("different", "here")
        .config("enable_bucket_auto_create", "true")
        .config("bucket_replicas", "3")
        .config("bucket_storage", "memory")
        .config("bucket_history", "9")
        .config("bucket_ttl", "5s")
        .config("bucket_max_bytes", "1000")
        .config("bucket_max_value_size", "10");
    stack.provider.put_link(&different).await?;
    let caller = stack.caller("different");
    let long = "x".repeat(2000);
    caller.set_many("default", &[("key", &long)]).await??;
    assert_eq!(stream_config(&stack, "here").await?, before);

    let line = logged(&stack.provider, &["WARN", "here", "replicas"]).await?;
    for part in [
        "replicas: 1, not 3",
        "storage: file, not memory",
        "history: 2, not 9",
        "ttl: 1h, not 5s",
        "max_bytes: -1, not 1000",
        "max_value_size: -1, not 10",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    // The link that names the settings which the bucket has is not worth a line.
    let logs = stack.provider.logs();
    assert_eq!(logs.matches("other settings").count(), 1, "{logs}");
    Ok(())
}

/// A bucket in the domain of a hub, reached by way of a leaf node that has a bucket of the same
/// name in a domain of its own.
async fn a_domain_is_reached_over_a_leaf_node(version: &str) -> Result<()> {
    let port = free_port()?;
    let hub = NatsServer::builder(version)
        .jetstream_config("domain: hub")
        .config(format!("leafnodes {{ listen: \"127.0.0.1:{port}\" }}"))
        .start()
        .await?;
    let stack = crate::support::stack(version)
        .nats(|nats| {
            nats.jetstream_config("domain: leaf").config(format!(
                "leafnodes {{ remotes: [ {{ url: \"nats-leaf://127.0.0.1:{port}\" }} ] }}"
            ))
        })
        .start()
        .await?;
    let at_hub = hub
        .jetstream()
        .await?
        .create_key_value(kv::Config {
            bucket: "orders".to_owned(),
            ..kv::Config::default()
        })
        .await?;
    let at_leaf = stack.create_bucket("orders", kv::Config::default()).await?;
    at_hub.put("where", "hub".into()).await?;
    at_leaf.put("where", "leaf".into()).await?;
    eventually("the leaf node to connect", async || {
        let leafs = hub.monitor("/varz").await?["leafnodes"].as_u64();
        Ok((leafs == Some(1)).then_some(()))
    })
    .await?;

    let local = stack.linked("local", "orders").await?;
    let remote = stack
        .link("remote", "orders")
        .config("js_domain", "hub")
        .config("timeout", "5s");
    stack.provider.put_link(&remote).await?;
    let remote = stack.caller("remote");
    let value = |text: &str| Some(text.as_bytes().to_vec());
    remote.open_bucket("default").await??;
    let read = remote.get_many("default", &["where", "missing"]).await??;
    assert_eq!(read, [value("hub"), None]);
    let read = local.get_many("default", &["where"]).await??;
    assert_eq!(read, [value("leaf")]);

    let many: Vec<_> = (0..300).map(|n| (format!("key-{n}"), "far")).collect();
    remote.set_many("default", &many).await??;
    assert_eq!(at_hub.get("key-7").await?.as_deref(), Some(&b"far"[..]));
    assert_eq!(at_leaf.get("key-7").await?, None);
    assert_eq!(remote.keys("default").await??.len(), 301);
    assert_eq!(local.keys("default").await??, ["where"]);
    let keys: Vec<_> = many.iter().map(|(key, _)| key).collect();
    let read = remote.get_many("default", &keys).await??;
    assert!(read.iter().all(|found| *found == value("far")));
    remote.delete_many("default", &keys).await??;
    assert_eq!(remote.keys("default").await??, ["where"]);
    assert_eq!(at_hub.get("key-7").await?, None);

    // A bucket is created in the domain too.
    let created = stack
        .link("created", "fresh")
        .config("js_domain", "hub")
        .config("enable_bucket_auto_create", "true");
    stack.provider.put_link(&created).await?;
    stack.caller("created").open_bucket("default").await??;
    hub.jetstream().await?.get_key_value("fresh").await?;
    assert!(stream_config(&stack, "fresh").await.is_err());

    let nowhere = stack
        .link("nowhere", "orders")
        .config("js_domain", "elsewhere")
        .config("timeout", "300ms");
    stack.provider.put_link(&nowhere).await?;
    let error = stack.caller("nowhere").open_bucket("default").await?;
    assert_eq!(error.unwrap_err().case(), "unavailable");
    Ok(())
}

const SECRET: &str = "hunter2-marked";

/// Key, value, and what the refusal says is accepted.
const BAD: &[(&str, &str, &str)] = &[
    ("bucket", "a.b", "letters, digits"),
    ("bucket", "", "leave the key out"),
    ("buckets", "x=a b", "letters, digits"),
    ("buckets", "x=", "alias=bucket"),
    ("buckets", "x=a,x=b", "each alias once"),
    ("buckets", "default=a", "no alias `default`"),
    ("js_domain", "a b", "letters, digits"),
    ("enable_bucket_auto_create", "yes", "`true` or `false`"),
    ("bucket_replicas", "0", "from 1 to 5"),
    ("bucket_replicas", "6", "from 1 to 5"),
    ("bucket_storage", "disk", "`file` or `memory`"),
    ("bucket_history", "0", "from 1 to 64"),
    ("bucket_history", "65", "from 1 to 64"),
    ("bucket_ttl", "tomorrow", "`24h`"),
    ("bucket_max_bytes", "1MB", "a whole number"),
    ("bucket_max_value_size", "-1", "a whole number"),
    ("timeout", "5", "`30s`"),
    ("timeout", "1ms", "from 50ms"),
    ("max_concurrency", "0", "from 1 to"),
    ("max_batch_keys", "many", "a whole number"),
    ("connections", "0", "from 1 to 8"),
    ("connections", "9", "from 1 to 8"),
    ("single_reads", "any", "`leader` or `nearest`"),
    ("max_batch_bytes", "1.5", "a whole number"),
    ("key_encoding", "hex", "`none` or `base64`"),
    ("tls_first", "1", "`true` or `false`"),
    (
        "tls_ca_file",
        "/no/such/file.pem",
        "a file that can be read",
    ),
];

/// Settings whose values are never shown, the last of them the bad one, and what the refusal says.
const UNSHOWN: &[(&[(&str, &str)], &str)] = &[
    (&[("cluster_uri", "http://hunter2-marked@host")], "nats"),
    (&[("cluster_uri", "nats://u:hunter2-marked@h:port")], "nats"),
    (&[("password", SECRET)], "`username`"),
    (&[("username", SECRET)], "`password`"),
    (&[("client_seed", SECRET)], "`client_jwt`"),
    (&[("client_jwt", SECRET)], "`client_seed`"),
    (&[("nkey_seed", SECRET)], "nkey"),
    (&[("credentials", SECRET)], ".creds"),
    (&[("client_jwt", "jwt"), ("client_seed", SECRET)], "nkey"),
    (&[("tls_key", SECRET)], "`tls_cert`"),
    (&[("tls_ca", SECRET)], "certificate"),
    (&[("token", "  ")], "empty"),
    (&[("token", SECRET), ("nkey_seed", SECRET)], "one way"),
];

async fn a_bad_value_refuses_the_link_and_says_why(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    stack.create_bucket("good", kv::Config::default()).await?;
    let good = stack.linked("good", "good").await?;

    let base = |name: usize| stack.link("bad", "good").name(format!("row-{name}"));
    let mut links = Vec::new();
    for (key, value, accepted) in BAD {
        let link = base(links.len()).config(*key, *value);
        let shown = if value.is_empty() { "\"\"" } else { *value };
        links.push((link, *key, vec![shown, *accepted]));
    }
    for (pairs, accepted) in UNSHOWN {
        for in_secrets in [false, true] {
            // An address and a certificate are not read from the secrets.
            if in_secrets && ["cluster_uri", "tls_ca"].contains(&pairs[0].0) {
                continue;
            }
            let set = |link: LinkDefinition, (key, value): &(&str, &str)| {
                if in_secrets {
                    link.secret(*key, *value)
                } else {
                    link.config(*key, *value)
                }
            };
            let link = pairs.iter().fold(base(links.len()), set);
            let key = pairs.last().map_or("", |(key, _)| *key);
            links.push((link, key, vec![*accepted]));
        }
    }
    let missing = LinkDefinition::new("bad").name("no-bucket");
    links.push((missing, "bucket", vec!["is missing"]));

    for (link, key, parts) in &links {
        stack.provider.put_link(link).await?;
        let caller = stack.caller("bad").with_link(link.link_name());
        let error = caller.get_many("default", &["key"]).await?.unwrap_err();
        assert_eq!(error.case(), "access-denied", "{key}");
        let refused = caller.batch().get_many("default", &["key"]).await?;
        assert_eq!(refused.unwrap_err(), testkit::BatchError::AccessDenied);
        let name = format!("{:?}", link.link_name());
        let mut expected = vec![name.as_str(), *key];
        expected.extend(parts);
        for part in &expected {
            assert!(
                error.text().contains(part),
                "{key}: {part}: {}",
                error.text()
            );
        }
        // The log escapes what it quotes.
        expected.retain(|part| !part.contains('"'));
        expected.extend(["WARN", link.link_name()]);
        logged(&stack.provider, &expected).await?;
    }
    assert!(!stack.provider.logs().contains(SECRET));

    // Another name of the same caller does not get around it, and nobody else is hurt.
    let first = stack.caller("bad").with_link("row-1");
    let error = first.get_many("row-0", &["key"]).await?.unwrap_err();
    assert_eq!(error.case(), "access-denied");
    good.get_many("default", &["key"]).await??;
    Ok(())
}

async fn an_unknown_key_is_warned_of_with_the_nearest(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    stack.create_bucket("good", kv::Config::default()).await?;
    let link = stack
        .link("shop", "good")
        .config("max_concurency", "secret-sounding-value")
        .config("BUCKET_TTL", "30s")
        .config("entirely_else", "x")
        .secret("pasword", "secret-sounding-value");
    stack.provider.put_link(&link).await?;
    stack.caller("shop").open_bucket("default").await??;
    for (key, nearest) in [
        ("max_concurency", "`max_concurrency`"),
        ("BUCKET_TTL", "`bucket_ttl`"),
        ("pasword", "`password`"),
    ] {
        logged(&stack.provider, &["WARN", "unknown", key, nearest]).await?;
    }
    let warning = logged(&stack.provider, &["WARN", "unknown", "entirely_else"]).await?;
    assert!(!warning.contains("did you mean"), "{warning}");
    assert!(!stack.provider.logs().contains("secret-sounding-value"));
    Ok(())
}

async fn the_provider_gives_defaults_that_a_link_overrides(version: &str) -> Result<()> {
    let stack = crate::support::stack(version)
        .provider(|provider, nats| {
            provider
                .config("cluster_uri", nats.url())
                .config("bucket", "common")
                .config("enable_bucket_auto_create", "true")
                .config("bucket_history", "4")
                .config("max_batch_keys", "2")
                .config("key_encoding", "base64")
        })
        .start()
        .await?;
    stack
        .provider
        .put_link(&LinkDefinition::new("plain"))
        .await?;
    let plain = stack.caller("plain");
    plain
        .set_many("common", &[("a key", "1"), ("b", "2")])
        .await??;
    assert_eq!(limit_hit(&plain, 3).await?, Some("max_batch_keys"));
    let config = stream_config(&stack, "common").await?;
    assert_eq!(config.max_messages_per_subject, 4);

    let own = LinkDefinition::new("own")
        .config("bucket", "own")
        .config("bucket_history", "2")
        .config("max_batch_keys", "3")
        .config("key_encoding", "none");
    stack.provider.put_link(&own).await?;
    let own = stack.caller("own");
    own.set_many("own", &[("b", "2")]).await??;
    assert_eq!(limit_hit(&own, 3).await?, None);
    assert_eq!(limit_hit(&own, 4).await?, Some("max_batch_keys"));
    let refused = own.set_many("own", &[("a key", "1")]).await?;
    assert_eq!(refused.unwrap_err().case(), "invalid-argument");
    let config = stream_config(&stack, "own").await?;
    assert_eq!(config.max_messages_per_subject, 2);

    let missing = LinkDefinition::new("missing")
        .config("bucket", "missing")
        .config("enable_bucket_auto_create", "false");
    stack.provider.put_link(&missing).await?;
    let refused = stack.caller("missing").open_bucket("default").await?;
    assert_eq!(refused.unwrap_err().case(), "no-such-bucket");
    Ok(())
}

async fn a_new_provider_configuration_reaches_the_links_that_are_there(
    version: &str,
) -> Result<()> {
    let stack = crate::support::stack(version)
        .provider(|provider, nats| {
            provider
                .config("cluster_uri", nats.url())
                .config("bucket", "one")
                .config("max_batch_keys", "2")
        })
        .start()
        .await?;
    for bucket in ["one", "two"] {
        let store = stack.create_bucket(bucket, kv::Config::default()).await?;
        store.put("name", bucket.to_owned().into()).await?;
    }
    let own_limit = LinkDefinition::new("own").config("max_batch_keys", "7");
    let bad_at_first = LinkDefinition::new("late").config("bucket", "");
    for link in [&LinkDefinition::new("plain"), &own_limit, &bad_at_first] {
        stack.provider.put_link(link).await?;
    }
    let plain = stack.caller("plain");
    let own = stack.caller("own");
    assert_eq!(limit_hit(&plain, 3).await?, Some("max_batch_keys"));
    assert_eq!(limit_hit(&own, 7).await?, None);
    assert_eq!(bucket_of(&plain).await?, "one");

    let update = |pairs: &[(&str, &str)]| -> HashMap<String, String> {
        let mut config = HashMap::from([("cluster_uri".to_owned(), stack.nats.url())]);
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        config.extend(pairs.iter().map(own));
        config
    };
    let config = update(&[("bucket", "two"), ("max_batch_keys", "4")]);
    stack.provider.update_config(&config).await?;
    assert_eq!(limit_hit(&plain, 4).await?, None);
    assert_eq!(limit_hit(&plain, 5).await?, Some("max_batch_keys"));
    assert_eq!(bucket_of(&plain).await?, "two");
    assert_eq!(limit_hit(&own, 7).await?, None);
    assert_eq!(limit_hit(&own, 8).await?, Some("max_batch_keys"));
    assert_eq!(bucket_of(&own).await?, "two");

    // One that cannot be used leaves the links that it would break as they were.
    let config = update(&[("bucket", "one"), ("max_batch_keys", "lots")]);
    stack.provider.update_config(&config).await?;
    logged(
        &stack.provider,
        &["ERROR", "plain", "max_batch_keys", "lots"],
    )
    .await?;
    assert_eq!(limit_hit(&plain, 4).await?, None);
    assert_eq!(limit_hit(&plain, 5).await?, Some("max_batch_keys"));
    assert_eq!(bucket_of(&plain).await?, "two");
    let refused = stack.caller("late").open_bucket("default").await?;
    assert_eq!(refused.unwrap_err().case(), "access-denied");

    // What is left out is the default again.
    stack
        .provider
        .update_config(&update(&[("bucket", "one")]))
        .await?;
    assert_eq!(limit_hit(&plain, 5).await?, None);
    assert_eq!(bucket_of(&plain).await?, "one");
    Ok(())
}

async fn a_link_that_cannot_be_read_stays_refused_whatever_the_provider_is_told(
    version: &str,
) -> Result<()> {
    let stack = crate::support::stack(version)
        .provider(|provider, nats| {
            provider
                .config("cluster_uri", nats.url())
                .config("bucket", "shared")
        })
        .start()
        .await?;
    stack.create_bucket("shared", kv::Config::default()).await?;
    let unreadable = LinkDefinition::new("shop")
        .config("max_batch_keys", "1")
        .secret_bytes("token", b"\xff");
    stack.provider.put_link(&unreadable).await?;
    let shop = stack.caller("shop");
    for limit in ["10", "20"] {
        let error = shop.open_bucket("default").await?.unwrap_err();
        assert_eq!(error.case(), "access-denied", "{}", error.text());
        assert!(error.text().contains("`token`"), "{}", error.text());
        let config = HashMap::from([
            ("cluster_uri".to_owned(), stack.nats.url()),
            ("bucket".to_owned(), "shared".to_owned()),
            ("max_batch_keys".to_owned(), limit.to_owned()),
        ]);
        stack.provider.update_config(&config).await?;
    }
    let error = shop.open_bucket("default").await?.unwrap_err();
    assert_eq!(error.case(), "access-denied", "{}", error.text());
    stack
        .provider
        .put_link(&LinkDefinition::new("shop"))
        .await?;
    shop.open_bucket("default").await??;
    Ok(())
}

async fn a_server_without_jetstream_is_told(version: &str) -> Result<()> {
    const ACCOUNTS: &str = r"
        accounts {
            WITH: { jetstream: enabled, users: [{ user: with, password: p }] }
            WITHOUT: { users: [{ user: without, password: p }] }
        }";
    let off = NatsServer::builder(version)
        .jetstream_config("enabled: false")
        .start()
        .await?;
    let accounts = NatsServer::builder(version)
        .config(ACCOUNTS)
        .start()
        .await?;
    let stack = crate::support::stack(version).start().await?;
    let of_server = stack
        .link("server", "orders")
        .config("cluster_uri", off.url());
    let of_account = stack
        .link("account", "orders")
        .config("cluster_uri", accounts.url())
        .config("username", "without")
        .secret("password", "p");
    for link in [of_server, of_account] {
        let link = link.config("timeout", "1s");
        stack.provider.put_link(&link).await?;
        let caller = stack.caller(link.source_id());
        let error = eventually("an answer about JetStream", async || {
            let error = caller.open_bucket("default").await?.unwrap_err();
            Ok(Some(error).filter(|error| error.text().contains("JetStream")))
        })
        .await?;
        println!("{}: {}", error.case(), error.text());
        let error = caller.get_many("default", &["key"]).await?.unwrap_err();
        assert!(error.text().contains("JetStream"), "{}", error.text());
    }
    Ok(())
}

async fn a_link_for_an_interface_that_needs_the_adapter_is_warned_of(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    stack.create_bucket("orders", kv::Config::default()).await?;
    let fine = [
        stack.link("composed", "orders"),
        stack.link("draft", "orders").wasi_keyvalue(),
    ];
    for link in &fine {
        stack.provider.put_link(link).await?;
    }
    let link = stack
        .link("uncomposed", "orders")
        .interface("wasi", "eventual-batch");
    stack.provider.put_link(&link).await?;
    let warning = logged(&stack.provider, &["WARN", "uncomposed", "adapter"]).await?;
    for part in ["wasi:keyvalue/eventual-batch", "wrpc keyvalue"] {
        assert!(warning.contains(part), "{warning}");
    }
    let logs = stack.provider.logs();
    assert_eq!(
        logs.matches("adapter").count(),
        warning.matches("adapter").count(),
        "{logs}"
    );
    Ok(())
}

async fn a_bucket_that_no_link_grants_is_told_with_three_ways_to_reach_it(
    version: &str,
) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    let caller = stack.linked("shop", "orders").await?;
    let error = caller.open_bucket("carts").await?.unwrap_err();
    assert_eq!(error.case(), "no-such-bucket");
    for part in [
        "`default`",
        "the link's `buckets`",
        "or put a link named \"carts\"",
    ] {
        assert!(error.text().contains(part), "{part}: {}", error.text());
    }
    Ok(())
}

async fn a_server_url_of_another_scheme_is_named(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    let link = stack
        .link("shop", "orders")
        .config("cluster_uri", "http://nats:4222");
    stack.provider.put_link(&link).await?;
    let error = stack.caller("shop").open_bucket("default").await?;
    let error = error.unwrap_err();
    for part in ["`cluster_uri`", "\"http://nats:4222\"", "`nats`"] {
        assert!(error.text().contains(part), "{part}: {}", error.text());
    }
    Ok(())
}

async fn limits_and_key_encoding_are_those_of_the_link(version: &str) -> Result<()> {
    let stack = crate::support::stack(version).start().await?;
    let store = stack.create_bucket("good", kv::Config::default()).await?;
    let link = stack
        .link("small", "good")
        .config("max_batch_keys", "3")
        .config("max_batch_bytes", "100")
        .config("max_concurrency", "1")
        .config("key_encoding", "base64");
    stack.provider.put_link(&link).await?;
    let small = stack.caller("small");

    let entries = [("a b", "1"), ("ключ?", "2"), ("", "3")];
    small.set_many("default", &entries).await??;
    let keys = ["", "ключ?", "a b"];
    let value = |text: &str| Some(text.as_bytes().to_vec());
    let read = small.get_many("default", &keys).await??;
    assert_eq!(read, [value("3"), value("2"), value("1")]);
    assert_eq!(store.get("YSBi").await?.as_deref(), Some(&b"1"[..]));
    small.delete_many("default", &keys).await??;

    assert_eq!(limit_hit(&small, 3).await?, None);
    assert_eq!(limit_hit(&small, 4).await?, Some("max_batch_keys"));
    let large = "x".repeat(99);
    small.set_many("default", &[("k", &large)]).await??;
    small.get_many("default", &["k"]).await??;
    let refused = small.set_many("default", &[("kk", &large)]).await?;
    let error = refused.unwrap_err();
    assert_eq!(error.case(), "too-large");
    for part in ["max_batch_bytes", "100"] {
        assert!(error.text().contains(part), "{}", error.text());
    }

    // Another link to the same bucket has its own.
    let roomy = stack.linked("roomy", "good").await?;
    assert_eq!(limit_hit(&roomy, 1000).await?, None);
    roomy
        .set_many("default", &[("key", &"x".repeat(1000))])
        .await??;
    Ok(())
}

async fn a_call_ends_before_the_hosts_rpc_timeout_unless_the_link_sets_one(
    version: &str,
) -> Result<()> {
    const RPC_TIMEOUT: Duration = Duration::from_secs(5);
    let stack = crate::support::stack(version)
        .separate_lattice()
        .provider(|provider, _| provider.rpc_timeout(RPC_TIMEOUT))
        .start()
        .await?;
    stack.create_bucket("good", kv::Config::default()).await?;
    for (component, own) in [
        ("plain", None),
        ("short", Some("500ms")),
        ("long", Some("60s")),
    ] {
        let mut link = stack.link(component, "good");
        if let Some(own) = own {
            link = link.config("timeout", own);
        }
        stack.provider.put_link(&link).await?;
        stack.caller(component).open_bucket("default").await??;
    }
    stack.nats.pause().await?;
    let started = Instant::now();
    let timed = |component: &str| {
        // As long as the host waits.
        let caller = stack.caller(component).with_timeout(RPC_TIMEOUT);
        async move {
            let error = caller.get_many("default", &["key"]).await?.unwrap_err();
            anyhow::Ok((error.case(), started.elapsed()))
        }
    };
    let long = tokio::spawn({
        let caller = stack.caller("long").with_timeout(Duration::from_secs(60));
        async move { caller.get_many("default", &["key"]).await }
    });
    let (short, plain) = tokio::join!(timed("short"), timed("plain"));
    let ((short, short_took), (plain, plain_took)) = (short?, plain?);
    assert_eq!((short, plain), ("unavailable", "unavailable"));
    assert!(short_took < Duration::from_secs(3), "{short_took:?}");
    assert!(plain_took > Duration::from_secs(3), "{plain_took:?}");

    assert!(!long.is_finished());
    stack.nats.resume()?;
    let answer = timeout(Duration::from_secs(30), long).await???;
    assert_eq!(answer.map_err(anyhow::Error::new)?, [None]);
    Ok(())
}

/// Which limit of the link a batch of so many keys is over, if any.
async fn limit_hit(caller: &LatticeCaller, keys: usize) -> Result<Option<&'static str>> {
    let keys: Vec<_> = (0..keys).map(|n| n.to_string()).collect();
    let Err(error) = caller.get_many("default", &keys).await? else {
        return Ok(None);
    };
    anyhow::ensure!(error.case() == "too-large", "{}", error.text());
    let limits = ["max_batch_keys", "max_batch_bytes"];
    let named = limits
        .into_iter()
        .find(|limit| error.text().contains(limit));
    Ok(Some(named.with_context(|| error.text().to_owned())?))
}

async fn bucket_of(caller: &LatticeCaller) -> Result<String> {
    let mut values = caller.get_many("default", &["name"]).await??;
    let value = values.pop().flatten().context("the bucket has no name")?;
    Ok(String::from_utf8(value)?)
}

async fn stream_config(stack: &Stack, bucket: &str) -> Result<jetstream::stream::Config> {
    let jetstream = stack.nats.jetstream().await?;
    let mut stream = jetstream.get_stream(format!("KV_{bucket}")).await?;
    Ok(stream.info().await?.config.clone())
}

/// A port that nobody listens on now.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    Ok(listener.local_addr()?.port())
}
