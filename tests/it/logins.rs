//! Every way to log in to NATS, right and wrong, and TLS.

#![allow(clippy::unwrap_used)]

use crate::support::jwt::Operator;
use crate::support::tls::Authority;
use crate::support::waiting::{eventually, logged};
use anyhow::{Result, ensure};
use nkeys::KeyPair;
use testkit::{LinkDefinition, Stack, StackBuilder};

on_oldest_and_newest!(
    a_user_with_a_password_and_an_nkey_log_in,
    a_token_logs_in,
    signed_users_log_in,
    what_the_user_may_not_do_is_denied,
    tls_trusts_the_authority_that_is_given,
    mutual_tls_and_tls_first,
);
on_version!(
    newest_only,
    testkit::NEWEST,
    [
        secrets_go_before_configuration_which_is_warned_of,
        a_link_names_which_secret_it_means,
        the_providers_login_is_the_default_of_links_without_one,
    ]
);

const ANN: &str = "authorization { users: [ { user: ann, password: right-one } ] }";

async fn a_user_with_a_password_and_an_nkey_log_in(version: &str) -> Result<()> {
    let key = KeyPair::new_user();
    let stack = guarded(
        version,
        format!(
            "authorization {{ users: [ {{ user: ann, password: right-one }}, \
             {{ nkey: {} }} ] }}",
            key.public_key()
        ),
    )
    .start()
    .await?;
    let link = |component: &str| stack.link(component, "bucket");
    let password = |component: &str, password: &str| {
        link(component)
            .config("username", "ann")
            .secret("password", password)
    };
    works(&stack, password("password", "right-one")).await?;
    works(&stack, link("nkey").secret("nkey_seed", key.seed()?)).await?;
    let url = stack.nats.url().replace("//", "//ann:right-one@");
    works(&stack, link("url").config("cluster_uri", url)).await?;

    is_denied(&stack, password("wrong-password", "wrong-one")).await?;
    let stranger = KeyPair::new_user().seed()?;
    is_denied(&stack, link("wrong-nkey").secret("nkey_seed", stranger)).await?;
    is_denied(&stack, link("no-login")).await?;
    let url = stack.nats.url().replace("//", "//ann:wrong-one@");
    is_denied(&stack, link("wrong-url").config("cluster_uri", url)).await?;
    ensure!(!stack.provider.logs().contains("right-one"));
    ensure!(!stack.provider.logs().contains("wrong-one"));
    Ok(())
}

async fn a_token_logs_in(version: &str) -> Result<()> {
    let stack = guarded(version, "authorization { token: right-one }")
        .start()
        .await?;
    let link =
        |component: &str, token: &str| stack.link(component, "bucket").secret("token", token);
    works(&stack, link("token", "right-one")).await?;
    is_denied(&stack, link("wrong-token", "wrong-one")).await?;
    // A secret may be bytes.
    let bytes = stack
        .link("bytes", "bucket")
        .secret_bytes("token", "right-one");
    works(&stack, bytes).await
}

async fn signed_users_log_in(version: &str) -> Result<()> {
    let operator = Operator::new();
    let stack = guarded(version, operator.server_config()?).start().await?;
    let user = operator.user()?;
    let link = |component: &str| stack.link(component, "bucket");
    let jwt = |component: &str, jwt: &str, seed: &str| {
        link(component)
            .config("client_jwt", jwt)
            .secret("client_seed", seed)
    };
    works(&stack, jwt("jwt", &user.jwt, &user.seed)).await?;
    works(
        &stack,
        link("credentials").secret("credentials", user.credentials()),
    )
    .await?;

    let stranger = Operator::new().user()?;
    is_denied(&stack, jwt("wrong-seed", &user.jwt, &stranger.seed)).await?;
    is_denied(&stack, jwt("wrong-jwt", &stranger.jwt, &stranger.seed)).await?;
    is_denied(
        &stack,
        link("wrong-credentials").secret("credentials", stranger.credentials()),
    )
    .await
}

async fn what_the_user_may_not_do_is_denied(version: &str) -> Result<()> {
    let stack = guarded(
        version,
        "authorization { users: [ { user: ann, password: right-one }, \
         { user: reader, password: right-one, permissions: { publish: { deny: \"$KV.>\" } } } ] }",
    )
    .start()
    .await?;
    let link = |user: &str| {
        stack
            .link(user, "bucket")
            .config("username", user)
            .secret("password", "right-one")
    };
    works(&stack, link("ann")).await?;
    let reader = link("reader").config("timeout", "1s");
    stack.provider.put_link(&reader).await?;
    let reader = stack.caller("reader");
    reader.get_many("default", &["key"]).await??;
    let refused = reader.set_many("default", &[("key", "value")]).await?;
    let error = refused.unwrap_err();
    assert_eq!(error.case(), "access-denied", "{}", error.text());
    reader.get_many("default", &["key"]).await??;
    Ok(())
}

async fn secrets_go_before_configuration_which_is_warned_of(version: &str) -> Result<()> {
    let stack = guarded(version, ANN).start().await?;
    let link = |component: &str| stack.link(component, "bucket").config("username", "ann");
    let both = link("both")
        .config("password", "wrong-one")
        .secret("password", "right-one");
    works(&stack, both).await?;
    let reversed = link("reversed")
        .config("password", "right-one")
        .secret("password", "wrong-one");
    is_denied(&stack, reversed).await?;
    // A user's name and a key are no secrets, and may stand among them all the same.
    let among = stack
        .link("among", "bucket")
        .secret("username", "ann")
        .secret("password", "right-one");
    works(&stack, among).await?;
    let warning = ["WARN", "password", "secrets"];
    assert!(!any_line(&stack, &warning), "{}", stack.provider.logs());

    let plain = link("plain").config("password", "right-one");
    works(&stack, plain).await?;
    logged(&stack.provider, &warning).await?;
    ensure!(!stack.provider.logs().contains("right-one"));
    ensure!(!stack.provider.logs().contains("wrong-one"));
    Ok(())
}

async fn a_link_names_which_secret_it_means(version: &str) -> Result<()> {
    let stack = guarded(version, ANN)
        .provider(|provider, _| provider.secret("of-the-provider", "right-one"))
        .start()
        .await?;
    let link = |component: &str| {
        stack
            .link(component, "bucket")
            .config("username", "ann")
            .config("password_secret", "archive-password")
            .secret("orders-password", "wrong-one")
    };
    works(
        &stack,
        link("named").secret("archive-password", "right-one"),
    )
    .await?;
    // Among the secrets of its link, the one that is named does not look like a mistake.
    let warning = ["WARN", "archive-password"];
    assert!(!any_line(&stack, &warning), "{}", stack.provider.logs());
    let warning = ["WARN", "orders-password", "unknown secret"];
    logged(&stack.provider, &warning).await?;

    let refused = async |link: LinkDefinition, parts: &[&str]| {
        stack.provider.put_link(&link).await?;
        let caller = stack.caller(link.source_id());
        let error = caller.get_many("default", &["key"]).await?.unwrap_err();
        assert_eq!(error.case(), "access-denied", "{}", error.text());
        for part in parts {
            assert!(error.text().contains(part), "{part}: {}", error.text());
        }
        let warning = ["WARN", link.source_id(), "wash secrets put NAME"];
        logged(&stack.provider, &warning).await.map(drop)
    };
    let missing = [
        "`password_secret`",
        "\"archive-password\", which did not arrive; these did: \"orders-password\"",
        "wash secrets put NAME",
    ];
    refused(link("missing"), &missing).await?;
    let of_provider = stack
        .link("of-the-provider", "bucket")
        .config("username", "ann")
        .config("password_secret", "of-the-provider");
    refused(of_provider, &["and no other secret did"]).await?;
    let unnamed = stack
        .link("unnamed", "bucket")
        .config("username", "ann")
        .secret("archive-password", "right-one");
    let no_such_name = ["`username` needs `password`", "`password_secret`", "NAME"];
    refused(unnamed, &no_such_name).await?;

    ensure!(!stack.provider.logs().contains("right-one"));
    ensure!(!stack.provider.logs().contains("wrong-one"));
    Ok(())
}

async fn the_providers_login_is_the_default_of_links_without_one(version: &str) -> Result<()> {
    let key = KeyPair::new_user();
    let users = format!(
        "authorization {{ users: [ {{ user: ann, password: right-one }}, {{ nkey: {} }} ] }}",
        key.public_key()
    );
    let stack = guarded(version, users)
        .provider(|provider, nats| {
            provider
                .config("cluster_uri", nats.url())
                .config("username", "ann")
                .secret("password", "right-one")
        })
        .start()
        .await?;
    let link = |component: &str| LinkDefinition::new(component).config("bucket", "bucket");
    works(&stack, link("plain")).await?;
    // A link's own login takes the place of the provider's as a whole.
    works(&stack, link("nkey").secret("nkey_seed", key.seed()?)).await?;
    is_denied(&stack, link("token").secret("token", "right-one")).await?;
    works(&stack, link("plain again")).await
}

async fn tls_trusts_the_authority_that_is_given(version: &str) -> Result<()> {
    let authority = Authority::new()?;
    let stack = guarded(version, authority.server_config("")?)
        .start()
        .await?;
    let link = |component: &str| stack.link(component, "bucket");
    let file = authority.pem_file().display().to_string();
    works(&stack, link("ca").config("tls_ca", &authority.pem)).await?;
    works(&stack, link("ca-file").config("tls_ca_file", file)).await?;
    let tls_url = stack.nats.url().replace("nats://", "tls://");
    let by_url = link("url")
        .config("tls_ca", &authority.pem)
        .config("cluster_uri", tls_url);
    works(&stack, by_url).await?;

    // The system's roots, and another authority.
    is_down(&stack, link("no-ca")).await?;
    let other = Authority::new()?.pem;
    is_down(&stack, link("wrong-ca").config("tls_ca", other)).await?;

    // A link that asks for TLS does not do without.
    let plain = crate::support::stack(version)
        .separate_lattice()
        .start()
        .await?;
    let link = plain
        .link("shop", "bucket")
        .config("tls_ca", &authority.pem);
    is_down(&plain, link).await
}

async fn mutual_tls_and_tls_first(version: &str) -> Result<()> {
    let authority = Authority::new()?;
    let client = authority.client()?;
    let config = authority.server_config("verify: true")?;
    let stack = guarded(version, config).start().await?;
    let link = |component: &str| {
        stack
            .link(component, "bucket")
            .config("tls_ca", &authority.pem)
    };
    let certified = link("certified")
        .config("tls_cert", &client.certificate)
        .secret("tls_key", &client.key);
    works(&stack, certified).await?;
    is_down(&stack, link("uncertified")).await?;
    let other = Authority::new()?.client()?;
    let stranger = link("stranger")
        .config("tls_cert", other.certificate)
        .secret("tls_key", other.key);
    is_down(&stack, stranger).await?;
    let mixed = link("mixed")
        .config("tls_cert", &client.certificate)
        .secret("tls_key", Authority::new()?.client()?.key);
    stack.provider.put_link(&mixed).await?;
    let refused = stack.caller("mixed").open_bucket("default").await?;
    let error = refused.unwrap_err();
    assert_eq!(error.case(), "access-denied");
    assert!(error.text().contains("`tls_cert`"), "{}", error.text());
    let key_line = client.key.lines().nth(1).unwrap_or_default().to_owned();
    ensure!(!key_line.is_empty() && !stack.provider.logs().contains(&key_line));

    let config = authority.server_config("handshake_first: true")?;
    let stack = guarded(version, config).start().await?;
    let link = |component: &str| {
        stack
            .link(component, "bucket")
            .config("tls_ca", &authority.pem)
    };
    works(&stack, link("first").config("tls_first", "true")).await?;
    is_down(&stack, link("greeting")).await
}

/// A stack whose buckets' NATS has this configuration, and its lattice has none.
fn guarded(version: &str, config: impl Into<String>) -> StackBuilder {
    let config = config.into();
    crate::support::stack(version)
        .separate_lattice()
        .nats(|nats| nats.config(config))
}

/// The link reaches its bucket, which it creates if it is the first.
async fn works(stack: &Stack, link: LinkDefinition) -> Result<()> {
    let link = link
        .config("enable_bucket_auto_create", "true")
        .config("timeout", "20s");
    stack.provider.put_link(&link).await?;
    let caller = stack.caller(link.source_id());
    let component = link.source_id();
    caller.set_many("default", &[("key", component)]).await??;
    let values = caller.get_many("default", &["key"]).await??;
    assert_eq!(values, [Some(component.as_bytes().to_vec())]);
    let health = stack.provider.health().await?;
    ensure!(health.healthy, "{component}: {:?}", health.message);
    Ok(())
}

/// The server refuses the link's login: calls are denied, and health says so while the link is
/// there.
async fn is_denied(stack: &Stack, link: LinkDefinition) -> Result<()> {
    let link = link.config("timeout", "20s");
    assert_trouble(stack, &link, "access-denied", "").await
}

/// The link's connection cannot be made.
async fn is_down(stack: &Stack, link: LinkDefinition) -> Result<()> {
    let link = link.config("timeout", "500ms");
    assert_trouble(stack, &link, "unavailable", "not connected").await
}

async fn assert_trouble(
    stack: &Stack,
    link: &LinkDefinition,
    case: &str,
    reason: &str,
) -> Result<()> {
    let component = link.source_id();
    stack.provider.put_link(link).await?;
    let caller = stack
        .caller(component)
        .with_timeout(std::time::Duration::from_secs(40));
    let error = caller.get_many("default", &["key"]).await?.unwrap_err();
    let text = error.text();
    assert_eq!(error.case(), case, "{component}: {text}");
    let server = format!("127.0.0.1:{}", stack.nats.port());
    assert!(text.contains(&server), "{component}: {text}");
    assert!(text.to_lowercase().contains(reason), "{component}: {text}");
    let batch = caller.batch().get_many("default", &["key"]).await?;
    match batch.unwrap_err() {
        testkit::BatchError::AccessDenied => assert_eq!(case, "access-denied"),
        testkit::BatchError::Other(text) => {
            assert_eq!(case, "unavailable");
            assert!(text.contains(&server), "{component}: {text}");
        }
        testkit::BatchError::NoSuchStore => panic!("no-such-store"),
    }

    let health = stack.provider.health().await?;
    let message = health.message.unwrap_or_default();
    assert!(!health.healthy, "{component}");
    for part in ["\"default\"", component, &server, reason] {
        let known = message.to_lowercase();
        assert!(known.contains(&part.to_lowercase()), "{part}: {message}");
    }
    stack.provider.delete_link(link).await?;
    eventually("the provider to be healthy again", async || {
        Ok(stack.provider.health().await?.healthy.then_some(()))
    })
    .await
}

fn any_line(stack: &Stack, parts: &[&str]) -> bool {
    let logs = stack.provider.logs();
    let mut lines = logs.lines();
    lines.any(|line| parts.iter().all(|part| line.contains(part)))
}
