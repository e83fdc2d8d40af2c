//! Secrets of links, out of a secrets backend: what works, and what is seen when it does not.

use std::time::Duration;

use anyhow::{Result, ensure};
use component_tests::Service;
use e2e::{ManagedLattice, Manifest, SecretsBackend, eventually};
use serde_json::json;
use testkit::{NEWEST, NatsServer};
use tokio::time::timeout;

use crate::manifests::{TWO_BUCKETS, manifest};

/// The user that the manifest logs in as, in an account of its own.
pub(crate) const ARCHIVIST: &str = "archivist";

/// Where the manifest looks for the password in the backend.
pub(crate) const PASSWORD_KEY: &str = "archive-password";

pub(crate) const ARCHIVE_PASSWORD: &str = "first-password";

const APPLICATION: &str = "http-batch-two-buckets";

/// The component that has the links, as wadm names it.
const COMPONENT: &str = "http_batch_two_buckets-http_batch";

/// What a component is answered if the host has not handed over its link.
const NO_ARCHIVE: [&str; 2] = ["grants no bucket named \"archive\"", "see the host's log"];

/// What a component is answered if the server does not take the link's login.
const LOGIN_REFUSED: [&str; 1] = ["`username` and `password`"];

/// A server with two accounts: one for everybody without a login, one for the archivist.
pub(crate) async fn guarded_archive(password: &str) -> Result<NatsServer> {
    NatsServer::builder(NEWEST)
        .config(accounts(password))
        .start()
        .await
}

fn accounts(password: &str) -> String {
    format!(
        "accounts {{
            LATTICE {{ jetstream: enabled, users: [ {{ user: lattice, password: lattice }} ] }}
            ARCHIVE {{ jetstream: enabled, users: [ {{ user: {ARCHIVIST}, password: {password} }} ] }}
        }}
        no_auth_user: lattice"
    )
}

/// Deploys the manifest with the secret, and waits until its bucket without one answers.
async fn deploy(lattice: &ManagedLattice) -> Result<(Manifest, Service)> {
    // Alone, with a provider of its own.
    let text = manifest(TWO_BUCKETS)?;
    let shared =
        "application:\n          name: http-batch\n          component: eventual-batch-nats";
    ensure!(text.contains(shared), "{shared} is not in it");
    let image = "image: file://../../build/eventual-batch-nats-provider.par.gz";
    let manifest = lattice.manifest(&text.replace(shared, image))?;
    lattice.deploy(&manifest).await?;
    let shop = manifest.service();
    works(&shop).await?;
    Ok((manifest, shop))
}

/// How long a call is waited for. The host never answers some of the calls that it makes while no
/// provider is there, so one call does not show when it is.
const CALL_LIMIT: Duration = Duration::from_secs(5);

/// Lists a bucket's keys, if the host answers the call.
pub(crate) async fn keys(service: &Service) -> Result<Vec<String>> {
    timeout(CALL_LIMIT, service.keys()).await?
}

/// Waits until a bucket answers.
pub(crate) async fn works(service: &Service) -> Result<()> {
    eventually(|| async { keys(service).await.map(drop) }).await
}

/// Waits until each call over the archive's link is an error that has all of this text.
async fn fails(archive: &Service, parts: &[&str]) -> Result<()> {
    eventually(|| async {
        let text = timeout(CALL_LIMIT, archive.error()).await??;
        for part in parts {
            ensure!(text.contains(part), "{part:?} is not in {text:?}");
        }
        Ok(())
    })
    .await
}

/// Waits until the host has logged all of this. No other test makes it do so.
async fn host_logs(parts: &[&str]) -> Result<()> {
    eventually(|| async {
        let log = testkit::logged();
        for part in parts {
            ensure!(log.contains(part), "{part:?} is not in the log");
        }
        Ok(())
    })
    .await
}

/// wadm says that all is well, with and without the link. It would leave running what it has not yet
/// heard of.
async fn undeploy(lattice: ManagedLattice) -> Result<()> {
    lattice.deployed(APPLICATION).await?;
    lattice.undeploy(APPLICATION).await?;
    lattice.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wadm gives the host two seconds for each answer: run it by itself"]
async fn a_new_password_takes_effect_when_the_link_is_put_anew() -> Result<()> {
    const NEW_PASSWORD: &str = "second-password";
    testkit::init_tracing();
    let mut lattice = ManagedLattice::start(guarded_archive(ARCHIVE_PASSWORD).await?).await?;
    let backend = SecretsBackend::start(lattice.nats()).await?;
    backend.put(PASSWORD_KEY, ARCHIVE_PASSWORD).await?;
    backend.allow_provider(&[PASSWORD_KEY]).await?;
    let (manifest, shop) = deploy(&lattice).await?;
    let archive = shop.bucket("archive");
    works(&archive).await?;
    archive.put(&json!({ "pears": "7" })).await?;

    backend.put(PASSWORD_KEY, NEW_PASSWORD).await?;
    lattice.nats().set_config(accounts(NEW_PASSWORD));
    lattice.nats().reload()?;
    fails(&archive, &LOGIN_REFUSED).await?;
    // wadm puts the link again by itself, and the host fetches the secret for that.
    lattice.delete_link(COMPONENT, "archive").await?;
    works(&archive).await?;
    assert_eq!(archive.get(&["pears"]).await?, [json!("7")]);

    // By a new version of the manifest: a secret of a new name makes a new link of it.
    const THIRD_PASSWORD: &str = "third-password";
    const NEW_KEY: &str = "archive-password-3";
    backend.put(NEW_KEY, THIRD_PASSWORD).await?;
    backend.allow_provider(&[NEW_KEY]).await?;
    lattice.nats().set_config(accounts(THIRD_PASSWORD));
    lattice.nats().reload()?;
    fails(&archive, &LOGIN_REFUSED).await?;
    let changed = manifest
        .with("version: v0.1.0", "version: v0.2.0")?
        .with(PASSWORD_KEY, NEW_KEY)?
        .with("name: archive-bucket", "name: archive-bucket-3")?;
    lattice.deploy(&changed).await?;
    works(&archive).await?;
    assert_eq!(archive.get(&["pears"]).await?, [json!("7")]);
    undeploy(lattice).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wadm gives the host two seconds for each answer: run it by itself"]
async fn a_secret_that_the_host_cannot_fetch_leaves_the_component_without_the_link() -> Result<()> {
    testkit::init_tracing();
    let mut lattice = ManagedLattice::start(guarded_archive(ARCHIVE_PASSWORD).await?).await?;
    // Nobody answers for the backend.
    let (_, shop) = deploy(&lattice).await?;
    let archive = shop.bucket("archive");
    host_logs(&["failed to fetch server xkey", "no responders"]).await?;
    fails(&archive, &NO_ARCHIVE).await?;

    // The provider may not have the secret.
    let backend = SecretsBackend::start(lattice.nats()).await?;
    backend.put("another", "secret").await?;
    lattice.delete_link(COMPONENT, "archive").await?;
    host_logs(&["Error fetching secret: unauthorized"]).await?;
    fails(&archive, &NO_ARCHIVE).await?;

    // It may, and there is none.
    backend.allow_provider(&[PASSWORD_KEY]).await?;
    lattice.delete_link(COMPONENT, "archive").await?;
    host_logs(&["Secret not found"]).await?;
    fails(&archive, &NO_ARCHIVE).await?;

    backend.put(PASSWORD_KEY, ARCHIVE_PASSWORD).await?;
    lattice.delete_link(COMPONENT, "archive").await?;
    works(&archive).await?;
    shop.keys().await?;
    undeploy(lattice).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wadm gives the host two seconds for each answer: run it by itself"]
async fn a_host_without_a_secrets_topic_leaves_out_links_with_secrets() -> Result<()> {
    testkit::init_tracing();
    let nats = guarded_archive(ARCHIVE_PASSWORD).await?;
    let lattice = ManagedLattice::start_without_secrets(nats).await?;
    let (_, shop) = deploy(&lattice).await?;
    host_logs(&["secret store not configured"]).await?;
    fails(&shop.bucket("archive"), &NO_ARCHIVE).await?;
    shop.put(&json!({ "apples": "3" })).await?;
    undeploy(lattice).await
}
