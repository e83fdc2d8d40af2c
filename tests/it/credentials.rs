//! A login or a certificate that is not accepted: what the callers and the operator are told, how
//! often the provider connects again, and that calls work once the server accepts it.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use crate::support::jwt::{Operator, User};
use crate::support::tls::{Authority, Certified};
use crate::support::waiting::{eventually, open};
use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use nkeys::KeyPair;
use testkit::{EventualBatchError, LatticeCaller, LinkDefinition, NatsServer, Stack};
use tokio::time::{Instant, sleep_until};

on_oldest_and_newest! {
    a_refused_login_is_reported_retried_slowly_and_works_once_it_is_accepted,
    a_login_revoked_while_in_use_is_reported_and_may_work_again,
    a_jwt_that_expires_while_in_use_is_reported,
    reconnects_to_a_server_that_closes_connections_are_slowed_down,
}

/// How long the test counts the connections to a server that refuses a link. The test has to wait
/// for a time, because it counts what happens in that time.
const WATCHED: Duration = Duration::from_secs(8);

/// How often the provider may connect in that time. Its pauses are doubled from 20 ms to 2 s.
const ATTEMPTS: u64 = 14;

const DENIED: &str = "access-denied";
const DOWN: &str = "unavailable";

/// A server that refuses a link, and the configuration with which it accepts the link.
struct ExpectedRefusal {
    /// The component that is linked.
    name: &'static str,
    config: String,
    mended: String,
    link: Box<dyn Fn(LinkDefinition) -> LinkDefinition + Send + Sync>,
    case: &'static str,
    /// What the error says.
    words: Vec<&'static str>,
}

impl ExpectedRefusal {
    fn new(
        name: &'static str,
        [config, mended]: [impl Into<String>; 2],
        link: impl Fn(LinkDefinition) -> LinkDefinition + Send + Sync + 'static,
    ) -> Self {
        Self {
            name,
            config: config.into(),
            mended: mended.into(),
            link: Box::new(link),
            case: "",
            words: Vec::new(),
        }
    }

    fn says(self, case: &'static str, words: &[&'static str]) -> Self {
        Self {
            case,
            words: words.to_vec(),
            ..self
        }
    }
}

async fn a_refused_login_is_reported_retried_slowly_and_works_once_it_is_accepted(
    version: &str,
) -> Result<()> {
    let (right, other) = (Authority::new()?, Authority::new()?);
    let mut refusals = logins()?;
    refusals.extend(certificates(&right, &other)?);
    let stack = crate::support::stack(version)
        .separate_lattice()
        .start()
        .await?;
    let refusals = refusals.iter().map(|refusal| refused(&stack, refusal));
    // Kept alive, because the links need them.
    let _servers = try_join_all(refusals).await?;
    let health = stack.provider.health().await?;
    ensure!(health.healthy, "{:?}", health.message);
    Ok(())
}

async fn refused(stack: &Stack, refusal: &ExpectedRefusal) -> Result<NatsServer> {
    let ExpectedRefusal {
        name, case, words, ..
    } = refusal;
    let mut server = NatsServer::builder(stack.nats.version())
        .config(&refusal.config)
        .start()
        .await
        .with_context(|| format!("{name}: the server does not start"))?;
    let link = LinkDefinition::new(*name)
        .config("cluster_uri", server.url())
        .config("bucket", "bucket")
        .config("enable_bucket_auto_create", "true")
        .config("timeout", "1s");
    let put = Instant::now();
    stack.provider.put_link(&(refusal.link)(link)).await?;
    let caller = stack.caller(name);
    // Calls do not make the provider connect more often.
    while put.elapsed() < WATCHED {
        let answer = caller.get_many("default", &["key"]).await?;
        ensure!(answer.is_err(), "{name}: not refused");
        sleep_until(Instant::now() + WATCHED / 40).await;
    }
    let attempts = attempts(&server).await?;
    // A call may come while a connection is only being tried, and is then told of that.
    let said = eventually("the refusal to be told", async || {
        let error = caller.get_many("default", &["key"]).await?.unwrap_err();
        let told = error.case() == *case && words.iter().all(|word| error.text().contains(word));
        Ok(told.then(|| format!("{name}: {error:?}")))
    })
    .await
    .with_context(|| format!("{name}: {case}, {words:?}"))?;
    println!("{attempts} attempts: {said}");
    ensure!(
        (2..=ATTEMPTS).contains(&attempts),
        "{name}: {attempts} attempts"
    );
    // Health names the links that are down, as many as fit into a message.
    ensure!(!stack.provider.health().await?.healthy, "{name}");

    server.stop().await?;
    server.set_config(&refusal.mended);
    server.start().await?;
    open(&caller)
        .await
        .with_context(|| format!("{name}: mended in vain"))?;
    caller.set_many("default", &[("key", "value")]).await??;
    Ok(server)
}

async fn a_login_revoked_while_in_use_is_reported_and_may_work_again(version: &str) -> Result<()> {
    let users = |password: &str| {
        format!("authorization {{ users: [ {{ user: ann, password: {password} }} ] }}")
    };
    let mut stack = crate::support::stack(version)
        .separate_lattice()
        .nats(|nats| nats.config(users("right")))
        .start()
        .await?;
    let link = stack
        .link("shop", "bucket")
        .config("enable_bucket_auto_create", "true")
        .config("username", "ann")
        .secret("password", "right");
    stack.provider.put_link(&link).await?;
    let caller = stack.caller("shop");
    open(&caller).await?;
    stack.nats.set_config(users("other"));
    stack.nats.reload()?;
    denied(&caller, "`username` and `password`").await?;
    let health = stack.provider.health().await?;
    let message = health.message.unwrap_or_default();
    ensure!(
        !health.healthy && message.contains("`password`"),
        "{message}"
    );
    stack.nats.set_config(users("right"));
    stack.nats.reload()?;
    open(&caller).await?;
    caller.set_many("default", &[("key", "value")]).await??;
    ensure!(stack.provider.health().await?.healthy);
    Ok(())
}

async fn a_jwt_that_expires_while_in_use_is_reported(version: &str) -> Result<()> {
    let operator = Operator::new();
    let stack = crate::support::stack(version)
        .separate_lattice()
        .nats(|nats| nats.config(operator.server_config().unwrap()))
        .start()
        .await?;
    let link = stack
        .link("shop", "bucket")
        .config("enable_bucket_auto_create", "true");
    let with = |user: User| link.clone().secret("credentials", user.credentials());
    stack
        .provider
        .put_link(&with(operator.user_for(5)?))
        .await?;
    let caller = stack.caller("shop");
    open(&caller).await?;
    caller.set_many("default", &[("key", "value")]).await??;
    denied(&caller, "its JWT expired at 20").await?;

    stack.provider.put_link(&with(operator.user()?)).await?;
    open(&caller).await?;
    let values = caller.get_many("default", &["key"]).await??;
    assert_eq!(values, [Some(b"value".to_vec())]);
    Ok(())
}

/// The login is right, and what is sent then is not: a server closes the connection over a line
/// that is too long for it.
async fn reconnects_to_a_server_that_closes_connections_are_slowed_down(
    version: &str,
) -> Result<()> {
    let stack = crate::support::stack(version)
        .separate_lattice()
        .nats(|nats| nats.config("max_control_line: 600"))
        .start()
        .await?;
    let link = |component: &str| {
        stack
            .link(component, "bucket")
            .config("enable_bucket_auto_create", "true")
            .config("timeout", "1s")
    };
    stack.provider.put_link(&link("shop")).await?;
    let caller = stack.caller("shop");
    open(&caller).await?;
    let before = attempts(&stack.nats).await?;
    let begun = Instant::now();
    let long = "k".repeat(1000);
    while begun.elapsed() < WATCHED {
        let answer = caller.set_many("default", &[(&long, "value")]).await?;
        let error = answer.unwrap_err();
        assert_eq!(error.case(), DOWN, "{error:?}");
        let words = error.text().to_lowercase();
        ensure!(
            words.contains("not connected") || words.contains("maximum control line"),
            "{words}"
        );
    }
    let lost = attempts(&stack.nats).await? - before;
    println!("{lost} connections in {:?}", begun.elapsed());
    ensure!((1..=ATTEMPTS).contains(&lost), "{lost} connections");
    open(&caller).await?;
    caller.set_many("default", &[("short", "value")]).await??;
    Ok(())
}

/// Waits until the caller is denied, in these words.
async fn denied(caller: &LatticeCaller, words: &str) -> Result<()> {
    eventually(words, async || {
        let answer = caller.get_many("default", &["key"]).await?;
        let is_it =
            |error: &EventualBatchError| error.case() == DENIED && error.text().contains(words);
        Ok(answer.err().filter(is_it).map(drop))
    })
    .await
}

/// How many connections the server has seen.
async fn attempts(server: &NatsServer) -> Result<u64> {
    let varz = server.monitor("/varz").await?;
    varz["total_connections"].as_u64().context("no number")
}

/// Logins that the server does not take.
fn logins() -> Result<Vec<ExpectedRefusal>> {
    let users = |password: &str| {
        format!("authorization {{ users: [ {{ user: ann, password: {password} }} ] }}")
    };
    let token = |token: &str| format!("authorization {{ token: {token} }}");
    let nkey = |key: &KeyPair| {
        let key = key.public_key();
        format!("authorization {{ users: [ {{ nkey: {key} }} ] }}")
    };
    let key = KeyPair::new_user();
    let stranger = KeyPair::new_user();
    let seed = key.seed()?;
    let operator = Operator::new();
    let (with, without) = (
        operator.server_config()?,
        operator.server_config_without_account()?,
    );
    let (user, other) = (operator.user()?, operator.user()?);
    let expired = operator.user_for(-60)?;
    Ok(vec![
        ExpectedRefusal::new("password", [users("other"), users("right")], |link| {
            link.config("username", "ann").secret("password", "right")
        })
        .says(DENIED, &["`username` and `password`"]),
        ExpectedRefusal::new("no-login", [users("any"), String::new()], |link| link)
            .says(DENIED, &["has no login"]),
        ExpectedRefusal::new("token", [token("other"), token("right")], |link| {
            link.secret("token", "right")
        })
        .says(DENIED, &["`token`"]),
        ExpectedRefusal::new("nkey", [nkey(&stranger), nkey(&key)], move |link| {
            link.secret("nkey_seed", &seed)
        })
        .says(DENIED, &["`nkey_seed`"]),
        ExpectedRefusal::new("jwt", [without.clone(), with.clone()], move |link| {
            link.config("client_jwt", &user.jwt)
                .secret("client_seed", &user.seed)
        })
        .says(DENIED, &["`client_jwt` and `client_seed`"]),
        ExpectedRefusal::new("credentials", [without, with.clone()], move |link| {
            link.secret("credentials", other.credentials())
        })
        .says(DENIED, &["`credentials`"]),
        // What has expired cannot be mended there, unless the server asks nobody any more.
        ExpectedRefusal::new("expired", [with, String::new()], move |link| {
            link.secret("credentials", expired.credentials())
        })
        .says(DENIED, &["`credentials`", "expired at 20"]),
    ])
}

/// Certificates that either side does not take, and TLS that only one side wants.
fn certificates(right: &Authority, other: &Authority) -> Result<Vec<ExpectedRefusal>> {
    let pem = right.pem.clone();
    let trusting = move |link: LinkDefinition| link.config("tls_ca", &pem);
    let certified = |client: Certified| {
        let trusting = trusting.clone();
        move |link| {
            trusting(link)
                .config("tls_cert", &client.certificate)
                .secret("tls_key", &client.key)
        }
    };
    let first = {
        let trusting = trusting.clone();
        move |link| trusting(link).config("tls_first", "true")
    };
    let good = || right.server_config("");
    let mutual = || right.server_config("verify: true");
    let strict = || right.server_config_trusting(other);
    let begins = || right.server_config("handshake_first: true");
    let name = right.server_config_for("nats.example")?;
    let expired = right.expired_server_config()?;
    let untrusted = other.server_config("")?;
    Ok(vec![
        ExpectedRefusal::new("name", [name, good()?], trusting.clone())
            .says(DOWN, &["127.0.0.1", "nats.example", "`cluster_uri`"]),
        ExpectedRefusal::new("server-expired", [expired, good()?], trusting.clone())
            .says(DOWN, &["certificate expired", "renewed"]),
        ExpectedRefusal::new("authority", [untrusted, good()?], trusting.clone())
            .says(DOWN, &["invalid peer certificate", "`tls_ca`"]),
        ExpectedRefusal::new("system", [good()?, String::new()], |link| link)
            .says(DOWN, &["UnknownIssuer", "set `tls_ca`"]),
        ExpectedRefusal::new("client", [strict()?, mutual()?], certified(right.client()?))
            .says(DOWN, &["UnknownCA", "check `tls_cert`"]),
        ExpectedRefusal::new(
            "client-expired",
            [mutual()?, good()?],
            certified(right.expired_client()?),
        )
        .says(DOWN, &["CertificateExpired", "check `tls_cert`"]),
        ExpectedRefusal::new("no-client", [mutual()?, good()?], trusting.clone())
            .says(DOWN, &["set `tls_cert` and `tls_key`"]),
        ExpectedRefusal::new("no-tls", [String::new(), good()?], trusting.clone())
            .says(DOWN, &["the server has no TLS"]),
        ExpectedRefusal::new("first", [good()?, begins()?], first)
            .says(DOWN, &["check `tls_first`"]),
        ExpectedRefusal::new("greeting", [begins()?, good()?], trusting)
            .says(DOWN, &["needs `tls_first`"]),
    ])
}
