//! What no log, error or health message ever says: values and secrets.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::fmt::Write as _;

use crate::support::interface::BOTH;
use crate::support::jwt::Operator;
use crate::support::tls::Authority;
use crate::support::waiting::{eventually, open, unhealthy};
use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use nkeys::KeyPair;
use serde_json::json;
use testkit::async_nats::jetstream::kv;
use testkit::{LatticeCaller, Level, LinkDefinition, NatsServer, Stack, Value, free_port};

on_version!(
    newest_only,
    testkit::NEWEST,
    [
        no_value_is_in_any_log_or_error,
        no_secret_is_in_any_log_error_or_health_message,
        no_secret_is_shown_when_a_server_refuses_it,
    ]
);

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

/// Wrong logins and certificates, a server that is down, and one that changes its mind; with a
/// login of the lattice's own.
async fn no_secret_is_shown_when_a_server_refuses_it(version: &str) -> Result<()> {
    let secrets = Secrets::new()?;
    let of_lattice = Operator::new().user()?;
    let at_start = Secrets::new()?;
    let (jwt, seed) = (of_lattice.jwt.clone(), of_lattice.seed.clone());
    let password = at_start.value("password").to_owned();
    let mut stack = chatty(version)
        .nats(|nats| nats.config(users("ann", &password)))
        .provider(move |provider, nats| {
            let link = LinkDefinition::new("shop").name("at-start");
            let link = link
                .config("bucket", "orders")
                .config("cluster_uri", nats.url())
                .config("enable_bucket_auto_create", "true")
                .config("username", "ann")
                .secret("password", password);
            provider.lattice_login(jwt, seed).link(link)
        })
        .start()
        .await?;
    let mut said = String::new();

    let authority = Authority::new()?;
    let with_tls = NatsServer::builder(version);
    let with_tls = with_tls.config(authority.server_config("verify: true")?);
    let with_tls = with_tls.start().await?;
    let down = format!("nats://127.0.0.1:{}", free_port());
    for (server, url, case) in [
        ("refusing", stack.nats.url(), "access-denied"),
        ("tls", with_tls.url(), "unavailable"),
        ("down", down, "unavailable"),
    ] {
        for (key, value) in &secrets.pairs {
            let link = LinkDefinition::new("shop").name(format!("{key}-{server}"));
            let link = secrets.whole(link, key).secret(*key, value);
            let link = link
                .config("bucket", "orders")
                .config("cluster_uri", &url)
                .config("timeout", "250ms");
            // Not that of this server, which asks for another client too.
            let link = match server {
                "tls" => link.config("tls_ca", &authority.pem),
                _ => link,
            };
            stack.provider.put_link(&link).await?;
            let caller = stack.caller("shop").with_link(link.link_name());
            let before = said.len();
            let cases = refusals(&caller, &mut said).await?;
            // A certificate is no login, and this server has no TLS.
            let case = if *key == "tls_key" {
                "unavailable"
            } else {
                case
            };
            assert_eq!(cases, case, "{key} at {server}: {}", &said[before..]);
            let health = unhealthy(&stack.provider).await?;
            let message = health.message.unwrap_or_default();
            assert!(message.contains(link.link_name()), "{message}");
            said.push_str(&message);
            stack.provider.delete_link(&link).await?;
        }
    }

    // A login that was right, until it was not.
    let caller = stack.caller("shop").with_link("at-start");
    open(&caller).await?;
    caller.set_many("default", &[("key", "value")]).await??;
    stack.nats.set_config(users("ann", "another"));
    stack.nats.stop().await?;
    stack.nats.start().await?;
    eventually("the login to be refused", async || {
        let case = refusals(&caller, &mut said).await?;
        Ok((case == "access-denied").then_some(()))
    })
    .await?;
    said.push_str(
        &unhealthy(&stack.provider)
            .await?
            .message
            .unwrap_or_default(),
    );
    stack
        .provider
        .delete_link(&LinkDefinition::new("shop").name("at-start"))
        .await?;
    let status = stack.provider.shutdown().await?;
    assert!(status.success(), "{status}");

    said.push_str(&stack.provider.logs());
    for known in [
        "DEBUG call{",
        "at-start",
        "authorization violation",
        "tls_key-tls",
    ] {
        assert!(said.contains(known), "{known} is not in this: {said}");
    }
    for mark in secrets.marks.iter().chain(&at_start.marks) {
        assert_hidden(&said, mark);
    }
    for mark in [&of_lattice.seed, stack.provider.xkey_seed()] {
        assert_hidden(&said, mark);
    }
    Ok(())
}

/// A server's configuration with one user.
fn users(name: &str, password: &str) -> String {
    format!("authorization {{ users: [{{ user: {name}, password: \"{password}\" }}] }}")
}

/// The case with which calls are refused, and what they say.
async fn refusals(caller: &LatticeCaller, said: &mut String) -> Result<&'static str> {
    let pairs = [("key", "value")];
    let error = caller.set_many("default", &pairs).await?.unwrap_err();
    writeln!(said, "{}", error.text())?;
    let opened = caller.open_bucket("default").await?.unwrap_err();
    writeln!(said, "{}", opened.text())?;
    for interface in BOTH {
        let answer = interface.get_many(caller, "default", &["key"]).await?;
        writeln!(said, "{}", answer.unwrap_err())?;
    }
    Ok(error.case())
}

/// Links with each of the secrets: as it should be, as plain configuration, without its other half,
/// of the wrong form, beside another login, under a misspelt key, and in the server's URL.
fn links_with(stack: &Stack, secrets: &Secrets) -> Vec<LinkDefinition> {
    let mut links = Vec::new();
    for (key, value) in &secrets.pairs {
        let named = |name: &str| stack.link("shop", "orders").name(format!("{key}-{name}"));
        let whole = |link| secrets.whole(link, key);
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
        // For a bearer's there is no seed to prove it with.
        marks.push(user.jwt.clone());
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

impl Secrets {
    /// The link with the other half of what belongs to a secret.
    fn whole(&self, link: LinkDefinition, key: &str) -> LinkDefinition {
        match key {
            "client_seed" => link.config("client_jwt", &self.jwt),
            "password" => link.config("username", "ann"),
            "tls_key" => link.config("tls_cert", &self.certificate),
            _ => link,
        }
    }

    fn value(&self, key: &str) -> &str {
        let pair = self.pairs.iter().find(|(known, _)| *known == key);
        pair.map_or("", |(_, value)| value)
    }
}

/// A stack whose provider logs all that it can be made to log.
fn chatty(version: &str) -> testkit::StackBuilder {
    crate::support::stack(version)
        .separate_lattice()
        .provider(|provider, _| {
            provider
                .log_level(Level::Trace)
                .env("RUST_LOG", "trace,async_nats=trace,hyper=trace")
        })
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
