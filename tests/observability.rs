//! What health and the log say, and what they never say.

#![allow(clippy::unwrap_used)]

#[macro_use]
mod support;

use std::collections::HashMap;
use std::fmt::Write as _;

use anyhow::{Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use nkeys::KeyPair;
use serde_json::json;
use support::interface::BOTH;
use support::jwt::Operator;
use support::tls::Authority;
use support::waiting::{eventually, logged, open};
use testkit::async_nats::jetstream::kv;
use testkit::{HealthCheckResponse, Level, Link, NatsServer, Provider, Stack, Value};

on_oldest_and_newest!(health_follows_the_connections_of_the_links);
on_version!(
    newest_only,
    testkit::NEWEST,
    [
        keys_and_values_are_not_in_the_log_at_info,
        a_call_is_one_span_in_the_log_at_debug,
        no_value_is_in_any_log_or_error,
        no_secret_is_in_any_log_error_or_health_message,
    ]
);

async fn health_follows_the_connections_of_the_links(version: &str) -> Result<()> {
    let mut stack = support::stack(version).separate_lattice().start().await?;
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

    // A link that is gone is nobody's trouble.
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
    let mut stack = support::stack(version)
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
    // What went wrong is there, without them.
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
    let stack = support::stack(version).start().await?;
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
        ("delete-many", Some("orders"), Some(1), "ok"),
        ("keys", Some("orders"), None, "ok"),
        ("get-many", None, Some(1), "no-such-bucket"),
        ("get-many", Some("orders"), Some(2), "invalid-argument"),
    ] {
        let mut parts = vec![
            "answered".to_owned(),
            "source=\"shop\"".to_owned(),
            "link=\"cart\"".to_owned(),
            format!("operation=\"{operation}\""),
            format!("outcome=\"{outcome}\""),
        ];
        parts.extend(bucket.map(|bucket| format!("bucket=\"{bucket}\"")));
        parts.extend(keys.map(|keys| format!("keys={keys}")));
        let parts: Vec<_> = parts.iter().map(String::as_str).collect();
        let answered = logged(&stack.provider, &parts).await?;
        assert_eq!(answered.matches("call{").count(), 1, "{answered}");
    }
    let logs = stack.provider.logs();
    let of_shop = |line: &&str| line.contains("source=\"shop\"") && line.contains("answered");
    assert_eq!(logs.lines().filter(of_shop).count(), 8, "{logs}");
    Ok(())
}

async fn no_value_is_in_any_log_or_error(version: &str) -> Result<()> {
    const MARK: &str = "MARKED-VALUE-5f3a";
    let mut stack = chatty(version).start().await?;
    let config = kv::Config {
        max_value_size: 1000,
        ..kv::Config::default()
    };
    stack.create_bucket("orders", config).await?;
    let link = stack
        .link("shop", "orders")
        .config("timeout", "500ms")
        .config("max_batch_bytes", "4000");
    stack.provider.put_link(&link).await?;
    let shop = stack.caller("shop");
    open(&shop).await?;

    let mut said = String::new();
    let text = MARK.as_bytes().to_vec();
    let bytes = [MARK.as_bytes(), b"\xff\xfe"].concat();
    let big = MARK.repeat(100).into_bytes();
    let huge = MARK.repeat(500).into_bytes();
    for interface in BOTH {
        let good = [("text", &text), ("bytes", &bytes)];
        interface.set_many(&shop, "default", &good).await??;
        let keys = ["text", "bytes", "missing"];
        let values = interface.get_many(&shop, "default", &keys).await??;
        assert_eq!(values, [Some(text.clone()), Some(bytes.clone()), None]);
        for pairs in [
            [("key", &big), ("text", &text)],
            [("key", &huge), ("text", &text)],
            [("bad key", &text), ("text", &bytes)],
            [("", &bytes), ("text", &text)],
        ] {
            for bucket in ["default", "not-granted"] {
                let answer = interface.set_many(&shop, bucket, &pairs).await?;
                writeln!(said, "{}", answer.unwrap_err())?;
            }
        }
        let stranger = stack.caller("stranger");
        let answer = interface.set_many(&stranger, "default", &good).await?;
        writeln!(said, "{}", answer.unwrap_err())?;
    }
    let not_base64 = [("key", Value::Base64(MARK.to_owned()))];
    let answer = shop.set_many_raw("default", &not_base64).await?;
    let error = answer.unwrap_err();
    assert_eq!(error.case(), "invalid-argument");
    writeln!(said, "{}", error.text())?;

    stack.nats.stop().await?;
    for interface in BOTH {
        let pairs = [("text", &text), ("bytes", &bytes)];
        let answer = interface.set_many(&shop, "default", &pairs).await?;
        writeln!(said, "{}", answer.unwrap_err())?;
    }
    stack.provider.delete_link(&link).await?;
    said.push_str(&stack.provider.logs());
    // Otherwise this proves nothing.
    assert!(
        said.contains("DEBUG") && said.contains("set-many"),
        "{said}"
    );
    assert_hidden(&said, MARK);
    Ok(())
}

async fn no_secret_is_in_any_log_error_or_health_message(version: &str) -> Result<()> {
    let secrets = Secrets::new()?;
    // Where the provider has more than one login, links need their own; all of it is read.
    let for_provider = Secrets::new()?;
    let pairs = for_provider.pairs.clone();
    let mut stack = chatty(version)
        .provider(move |provider, _| {
            pairs.into_iter().fold(provider, |provider, (key, value)| {
                provider
                    .config(key, format!("config-{value}"))
                    .secret(key, value)
            })
        })
        .start()
        .await?;
    stack.create_bucket("orders", kv::Config::default()).await?;

    let mut said = String::new();
    let mut links = links_with(&stack, &secrets);
    let mut worked = 0;
    for link in &mut links {
        // This server has no TLS, so those with a certificate wait in vain.
        let in_vain = link.link_name().starts_with("tls_");
        *link = link
            .clone()
            .config("timeout", if in_vain { "300ms" } else { "4s" })
            .config("tls_first", "false");
        stack.provider.put_link(link).await?;
        let caller = stack.caller("shop").with_link(link.link_name());
        match caller.set_many("default", &[("key", "value")]).await? {
            Ok(()) => worked += 1,
            Err(error) => writeln!(said, "{}", error.text())?,
        }
    }
    assert!(worked >= 8, "only {worked} links worked: {said}");
    said.push_str(&stack.provider.health().await?.message.unwrap_or_default());
    let update: HashMap<String, String> = for_provider
        .pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), format!("update-{value}")))
        .collect();
    stack.provider.update_config(&update).await?;
    stack.nats.stop().await?;
    said.push_str(
        &unhealthy(&stack.provider)
            .await?
            .message
            .unwrap_or_default(),
    );
    let caller = stack.caller("shop").with_link("token-secret");
    let error = caller.keys("default").await?.unwrap_err();
    writeln!(said, "{}", error.text())?;
    // A host may send a link's whole definition when it removes it.
    let definition = json!({
        "source_id": "shop",
        "target": stack.provider.key(),
        "name": "token-secret",
        "wit_namespace": "wrpc",
        "wit_package": "keyvalue",
        "interfaces": ["eventual-batch"],
        "target_config": { "bucket": "orders", "token": secrets.token },
    });
    let (lattice, key) = (stack.provider.lattice(), stack.provider.key());
    let subject = format!("wasmbus.rpc.{lattice}.{key}.linkdefs.del");
    let host = stack.lattice().client().await?;
    host.publish(subject, definition.to_string().into()).await?;
    eventually("the link to be gone", async || {
        let refused = caller.keys("default").await?.unwrap_err();
        Ok((refused.case() == "access-denied").then_some(()))
    })
    .await?;
    for link in &links {
        stack.provider.delete_link(link).await?;
    }
    said.push_str(&stack.provider.logs());
    assert!(said.contains("DEBUG call{"), "{said}");
    for marked in [&secrets, &for_provider] {
        for mark in &marked.marks {
            assert_hidden(&said, mark);
        }
    }
    Ok(())
}

/// Links with each of the secrets: as it should be, as plain configuration, without its other half,
/// of the wrong form, beside another login, under a misspelt key, and in the server's URL.
fn links_with(stack: &Stack, secrets: &Secrets) -> Vec<Link> {
    let mut links = Vec::new();
    for (key, value) in &secrets.pairs {
        let partner = match *key {
            "client_seed" => Some(("client_jwt", secrets.jwt.as_str())),
            "password" => Some(("username", "ann")),
            "tls_key" => Some(("tls_cert", secrets.certificate.as_str())),
            _ => None,
        };
        let named = |name: &str| stack.link("shop", "orders").name(format!("{key}-{name}"));
        let whole = |link: Link| match partner {
            Some((key, value)) => link.config(key, value),
            None => link,
        };
        links.push(whole(named("secret")).secret(*key, value));
        links.push(whole(named("config")).config(*key, value));
        links.push(named("alone").secret(*key, value));
        links.push(whole(named("bad")).secret(*key, format!("{value}-x")));
        links.push(whole(named("bad-config")).config(*key, format!("{value}-x")));
        links.push(
            whole(named("several"))
                .secret(*key, value)
                .config("token", &secrets.token),
        );
        links.push(named("misspelt").config(format!("{key}s"), value));
    }
    for (name, login) in [
        ("user", format!("ann:{}", secrets.token)),
        ("token", secrets.token.clone()),
    ] {
        let url = stack.nats.url().replace("//", &format!("//{login}@"));
        links.push(
            stack
                .link("shop", "orders")
                .name(format!("url-{name}"))
                .config("cluster_uri", url.clone()),
        );
        links.push(
            stack
                .link("shop", "orders")
                .name(format!("bad-url-{name}"))
                .config("cluster_uri", format!("{url}:x")),
        );
    }
    links
}

/// A value for every key that is a secret.
struct Secrets {
    pairs: Vec<(&'static str, String)>,
    /// What must not be seen of them.
    marks: Vec<String>,
    jwt: String,
    certificate: String,
    token: String,
}

impl Secrets {
    fn new() -> Result<Self> {
        let user = Operator::new().user()?;
        let client = Authority::new()?.client()?;
        let token = format!("MARKED-TOKEN-{}", KeyPair::new_user().public_key());
        let password = format!("MARKED-PASSWORD-{}", KeyPair::new_user().public_key());
        let nkey_seed = KeyPair::new_user().seed()?;
        let mut marks = vec![
            user.seed.clone(),
            token.clone(),
            password.clone(),
            nkey_seed.clone(),
        ];
        let lines = client.key.lines().filter(|line| !line.starts_with('-'));
        marks.extend(lines.map(str::to_owned));
        Ok(Self {
            marks,
            pairs: vec![
                ("client_seed", user.seed.clone()),
                ("credentials", user.credentials()),
                ("password", password),
                ("token", token.clone()),
                ("nkey_seed", nkey_seed),
                ("tls_key", client.key),
            ],
            jwt: user.jwt,
            certificate: client.certificate,
            token,
        })
    }
}

/// A stack whose provider logs all that it can be made to log.
fn chatty(version: &str) -> testkit::StackBuilder {
    support::stack(version)
        .separate_lattice()
        .provider(|provider, _| {
            provider
                .log_level(Level::Trace)
                .env("RUST_LOG", "trace,async_nats=trace,hyper=trace")
        })
}

async fn unhealthy(provider: &Provider) -> Result<HealthCheckResponse> {
    eventually("the provider to be unhealthy", async || {
        Ok(Some(provider.health().await?).filter(|health| !health.healthy))
    })
    .await
}

/// Neither the mark itself nor one of the forms in which bytes get into logs.
fn assert_hidden(said: &str, mark: &str) {
    let bytes = mark.as_bytes();
    let list = |byte: fn(&u8) -> String| bytes.iter().map(byte).collect::<Vec<_>>();
    let mut forms = vec![
        mark.to_owned(),
        list(|byte| format!("{byte:02x}")).concat(),
        list(|byte| format!("{byte:02X}")).concat(),
        list(|byte| format!("{byte:02x}")).join(", "),
        list(u8::to_string).join(", "),
    ];
    // Base64, wherever in its groups of three bytes the mark begins.
    for before in 0..3 {
        let padded = [vec![b' '; before], bytes.to_vec()].concat();
        let whole = STANDARD_NO_PAD.encode(&padded[..padded.len() / 3 * 3]);
        forms.push(whole[4 * before.min(1)..].to_owned());
    }
    for form in forms {
        let line = said.lines().find(|line| line.contains(&form));
        assert_eq!(line, None, "{mark} is shown as {form}");
    }
}
