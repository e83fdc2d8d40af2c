//! The manifests of the documentation, deployed by wadm onto a real host, and used.

use anyhow::{Result, ensure};
use e2e::{ManagedLattice, SecretsBackend, eventually};
use serde_json::json;
use testkit::async_nats::ConnectOptions;
use testkit::async_nats::jetstream;

use crate::manifests::{ONE_BUCKET, TWO_BUCKETS, manifest};
use crate::secrets::{ARCHIVE_PASSWORD, ARCHIVIST, PASSWORD_KEY, guarded_archive, keys, works};

const ONE: &str = "http-batch";
const TWO: &str = "http-batch-two-buckets";
const OTHER_HTTP_SERVER: &str = "http_batch_two_buckets-http_server";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wadm gives the host two seconds for each answer: run it by itself"]
async fn both_manifests_are_deployed_changed_and_undeployed_on_one_host() -> Result<()> {
    testkit::init_tracing();
    let mut lattice = ManagedLattice::start(guarded_archive(ARCHIVE_PASSWORD).await?).await?;
    let backend = SecretsBackend::start(lattice.nats()).await?;
    backend.put(PASSWORD_KEY, ARCHIVE_PASSWORD).await?;
    backend.allow_provider(&[PASSWORD_KEY]).await?;

    let one = lattice.manifest(&manifest(ONE_BUCKET)?)?;
    let two = lattice.manifest(&manifest(TWO_BUCKETS)?)?;
    // The second one uses the provider of the first one.
    let early = two.with("version: v0.1.0", "version: v0.0.1")?;
    let early = lattice.deploy(&early).await;
    ensure!(early.is_err(), "deployed without a provider");
    lattice.deploy(&one).await?;
    lattice.deploy(&two).await?;
    let (shop, other) = (one.service(), two.service());
    let archive = other.bucket("archive");
    for service in [&shop, &other, &archive] {
        works(service).await?;
    }
    lattice.deployed(ONE).await?;
    lattice.deployed(TWO).await?;
    let providers = lattice.providers().await?;
    assert_eq!(
        providers,
        [
            "http_batch-eventual_batch_nats",
            "http_batch-http_server",
            OTHER_HTTP_SERVER
        ]
    );

    // Both have the bucket `orders`, and one has another bucket besides.
    shop.put(&json!({ "apples": "3" })).await?;
    assert_eq!(other.get(&["apples"]).await?, [json!("3")]);
    archive.put(&json!({ "pears": "7" })).await?;
    assert_eq!(archive.keys().await?, ["pears"]);
    assert_eq!(shop.keys().await?, ["apples"]);
    let login =
        ConnectOptions::with_user_and_password(ARCHIVIST.to_owned(), ARCHIVE_PASSWORD.to_owned());
    let archivist = jetstream::new(lattice.nats().client_with(login).await?);
    let stored = archivist.get_key_value("orders-archive").await?;
    ensure!(
        stored.get("pears").await?.is_some(),
        "not in the archivist's account"
    );

    // A new version has another bucket, in a configuration of another name.
    let changed = one
        .with("version: v0.1.0", "version: v0.2.0")?
        .with("name: orders-bucket", "name: carts-bucket")?
        .with("bucket: orders", "bucket: carts")?;
    lattice.deploy(&changed).await?;
    eventually(|| async {
        let keys = keys(&shop).await?;
        ensure!(keys.is_empty(), "still the first bucket: {keys:?}");
        Ok(())
    })
    .await?;
    shop.put(&json!({ "cart": "full" })).await?;
    assert_eq!(other.keys().await?, ["apples"]);
    let carts = lattice.nats().jetstream().await?;
    let carts = carts.get_key_value("carts").await?;
    ensure!(carts.get("cart").await?.is_some(), "not in the new bucket");

    // The provider goes with its application, whoever else uses it, and comes back with that.
    lattice.deployed(ONE).await?;
    lattice.undeploy(ONE).await?;
    eventually(|| async {
        let providers = lattice.providers().await?;
        ensure!(providers == [OTHER_HTTP_SERVER], "{providers:?}");
        Ok(())
    })
    .await?;
    lattice.deploy(&changed.with("v0.2.0", "v0.3.0")?).await?;
    for service in [&shop, &other, &archive] {
        works(service).await?;
    }
    assert_eq!(archive.get(&["pears"]).await?, [json!("7")]);

    lattice.deployed(TWO).await?;
    lattice.undeploy(TWO).await?;
    eventually(|| async {
        ensure!(keys(&archive).await.is_err(), "it still answers");
        Ok(())
    })
    .await?;
    assert_eq!(shop.keys().await?, ["cart"]);
    lattice.deployed(ONE).await?;
    lattice.undeploy(ONE).await?;
    lattice.stop().await
}
