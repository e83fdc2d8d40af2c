//! Components written to `wasi:keyvalue/eventual-batch`, on a real host, over HTTP.

use anyhow::{Result, ensure};
use component_tests::{run_all_on, run_on};
use e2e::{HostLink, TestLattice, WasmCloud, eventually};
use reqwest::Method;
use serde_json::json;

run_all_on!(WasmCloud);
run_on!(WasmCloud: values_make_the_round_trip_in_python);

async fn lattice() -> Result<TestLattice> {
    testkit::init_tracing();
    TestLattice::start().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_can_be_deleted_and_put_again() -> Result<()> {
    let lattice = lattice().await?;
    lattice.create_bucket("orders").await?;
    lattice.create_bucket("other").await?;
    let link = HostLink::to("orders");
    let shop = lattice.serve("shop", "http-batch", &link).await?;
    shop.put(&json!({ "kept": "yes" })).await?;

    lattice.delete_link("shop", &link).await?;
    eventually(|| async {
        ensure!(shop.keys().await.is_err(), "the link still works");
        Ok(())
    })
    .await?;

    lattice.put_link("shop", &link).await?;
    eventually(|| async { shop.keys().await.map(drop) }).await?;
    assert_eq!(shop.get(&["kept"]).await?, [json!("yes")]);

    // Deleted, and put again with another bucket.
    lattice.delete_link("shop", &link).await?;
    lattice.put_link("shop", &HostLink::to("other")).await?;
    eventually(|| async {
        ensure!(shop.keys().await?.is_empty(), "still the first bucket");
        Ok(())
    })
    .await?;
    lattice.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_is_stopped_and_started_again_knows_its_links() -> Result<()> {
    let lattice = lattice().await?;
    lattice.create_bucket("orders").await?;
    let shop = lattice
        .serve("shop", "http-batch", &HostLink::to("orders"))
        .await?;
    shop.put(&json!({ "kept": "yes" })).await?;

    lattice.stop_provider().await?;
    ensure!(shop.keys().await.is_err(), "answered without a provider");

    lattice.start_provider().await?;
    eventually(|| async { shop.keys().await.map(drop) }).await?;
    assert_eq!(shop.get(&["kept"]).await?, [json!("yes")]);
    lattice.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_adapter_keeps_the_interface_to_its_edges() -> Result<()> {
    let lattice = lattice().await?;
    lattice.create_bucket("orders").await?;
    let wasm = e2e::component("edges")?;
    let edges = lattice.start_component("edges", &wasm).await?;
    lattice.put_link("edges", &HostLink::to("orders")).await?;
    let answer = eventually(|| async {
        let (_, answer) = edges.request(Method::GET, "/", &[], None).await?;
        // The host answers before the provider has taken the link.
        ensure!(answer.get("failed").is_none(), "{answer}");
        Ok(answer)
    })
    .await?;

    let said = |case: &str| answer[case].as_str().unwrap_or_default().to_owned();
    for (case, words) in [
        ("open another bucket", ["payroll", "link"]),
        (
            "set a value never written",
            ["\"b\"", "outgoing-value-write-body-sync"],
        ),
        (
            "write as a stream",
            ["stream", "outgoing-value-write-body-sync"],
        ),
        ("set a key that is none", ["\"a b\"", "key"]),
        (
            "read as a stream",
            ["stream", "incoming-value-consume-sync"],
        ),
    ] {
        let error = said(case);
        ensure!(error.starts_with("error: "), "{case}: {answer}");
        ensure!(
            words.iter().all(|word| error.contains(word)),
            "{case}: {error}"
        );
    }
    assert_eq!(said("keys after those"), "", "{answer}");
    let case = "one value for two keys, one key with two values";
    assert_eq!(answer[case], json!(["one", "two"]));
    assert_eq!(said("a value written again"), "written again");
    assert_eq!(answer["size"], json!(3));
    assert_eq!(answer["empty lists"], json!(0));
    assert_eq!(said("keys at the end"), "", "{answer}");
    lattice.stop().await
}
