//! Components written to `wasi:keyvalue/eventual-batch`, on a real host, over HTTP.

use anyhow::{Result, ensure};
use e2e::{HostLink, Service, TestLattice, eventually};
use reqwest::{Method, StatusCode};
use serde_json::json;

async fn lattice() -> Result<TestLattice> {
    testkit::init_tracing();
    TestLattice::start().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_make_the_round_trip() -> Result<()> {
    let lattice = lattice().await?;
    values_make_the_round_trip_of(&lattice, "http-batch").await?;
    lattice.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_make_the_round_trip_in_python() -> Result<()> {
    let lattice = lattice().await?;
    values_make_the_round_trip_of(&lattice, "python-batch").await?;
    lattice.stop().await
}

async fn values_make_the_round_trip_of(lattice: &TestLattice, component: &str) -> Result<()> {
    let bucket = lattice.create_bucket("orders").await?;
    let service = lattice
        .serve("shop", component, &HostLink::to("orders"))
        .await?;
    assert_eq!(service.keys().await?, [""; 0]);

    let bytes = json!({ "base64": "AP+A" });
    service
        .put(&json!({ "text": "one \u{1f980}", "empty": "", "bytes": bytes, "n": "1" }))
        .await?;
    let stored = bucket.get("bytes").await?;
    assert_eq!(stored.as_deref(), Some(b"\x00\xff\x80".as_slice()));
    let stored = bucket.get("text").await?;
    assert_eq!(stored.as_deref(), Some("one \u{1f980}".as_bytes()));

    let asked = ["n", "bytes", "never", "empty", "text", "bytes"];
    let expected = [
        json!("1"),
        bytes.clone(),
        json!(null),
        json!(""),
        json!("one \u{1f980}"),
        bytes,
    ];
    assert_eq!(service.get(&asked).await?, expected);

    service.put(&json!({ "n": "2" })).await?;
    service.delete(&["bytes", "never"]).await?;
    assert_eq!(service.keys().await?, ["empty", "n", "text"]);
    let found = service.get(&["bytes", "n"]).await?;
    assert_eq!(found, [json!(null), json!("2")]);
    assert_eq!(service.get(&[]).await?, [json!(null); 0]);

    let (status, answer) = service.request(Method::GET, "/nothing", &[], None).await?;
    assert_eq!(status, StatusCode::NOT_FOUND, "{answer}");
    let (status, answer) = service
        .request(Method::PUT, "/", &[], Some(&json!([1])))
        .await?;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_by_another_name_reaches_its_own_bucket() -> Result<()> {
    let lattice = lattice().await?;
    let orders = lattice.create_bucket("orders").await?;
    let old_orders = lattice.create_bucket("orders-2024").await?;
    lattice.create_bucket("payroll").await?;
    let shop = lattice
        .serve("shop", "http-batch", &HostLink::to("orders"))
        .await?;
    let archive = shop.bucket("archive");
    ensure!(archive.error().await?.contains("archive"), "not linked yet");
    lattice
        .put_link("shop", &HostLink::to("orders-2024").named("archive"))
        .await?;
    eventually(|| async { archive.keys().await.map(drop) }).await?;

    shop.put(&json!({ "which": "the new one" })).await?;
    archive.put(&json!({ "which": "the old one" })).await?;
    assert_eq!(shop.get(&["which"]).await?, [json!("the new one")]);
    assert_eq!(archive.get(&["which"]).await?, [json!("the old one")]);
    let stored = orders.get("which").await?;
    assert_eq!(stored.as_deref(), Some(b"the new one".as_slice()));
    let stored = old_orders.get("which").await?;
    assert_eq!(stored.as_deref(), Some(b"the old one".as_slice()));

    // What no link of the component grants, whether it exists or not.
    for name in ["payroll", "orders-2024", "nothing"] {
        let error = shop.bucket(name).error().await?;
        ensure!(error.contains(name) && error.contains("link"), "{error}");
    }
    lattice.stop().await
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
async fn errors_reach_the_component_which_lives_on() -> Result<()> {
    let lattice = lattice().await?;
    lattice.create_bucket("orders").await?;
    let link = HostLink::to("orders")
        .with("max_batch_keys", "10")
        .with("max_batch_bytes", "100000");
    let shop = lattice.serve("shop", "http-batch", &link).await?;
    let many: serde_json::Map<_, _> = (0..11).map(|n| (n.to_string(), json!("x"))).collect();
    for (values, expected) in [
        (json!({ "fine": "1", "not a key": "2" }), "not a key"),
        (json!({ ">": "everything" }), ">"),
        (json!(many), "max_batch_keys"),
        (json!({ "long": "x".repeat(100_001) }), "max_batch_bytes"),
    ] {
        let (status, answer) = shop.request(Method::PUT, "/", &[], Some(&values)).await?;
        assert_eq!(status, StatusCode::BAD_GATEWAY, "{answer}");
        let error = answer["error"].as_str().unwrap_or_default();
        ensure!(error.contains(expected), "{expected}: {answer}");
        // The same component, with the same link.
        shop.put(&json!({ "after": expected })).await?;
        assert_eq!(shop.get(&["after"]).await?, [json!(expected)]);
    }
    lattice.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_requests_at_once_are_answered_each_with_its_own() -> Result<()> {
    let lattice = lattice().await?;
    lattice.create_bucket("orders").await?;
    let shop = lattice
        .serve("shop", "http-batch", &HostLink::to("orders"))
        .await?;
    let mut requests = tokio::task::JoinSet::new();
    for n in 0..50 {
        requests.spawn(one_of_many(shop.clone(), n));
    }
    while let Some(done) = requests.join_next().await {
        done??;
    }
    assert_eq!(shop.keys().await?.len(), 100);
    lattice.stop().await
}

async fn one_of_many(shop: Service, n: u32) -> Result<()> {
    let (text, bytes) = (format!("{n}.text"), format!("{n}.bytes"));
    let value = json!({ "base64": "/wA=" });
    shop.put(&json!({ &text: format!("value {n}"), &bytes: value }))
        .await?;
    let found = shop.get(&[&bytes, &text]).await?;
    ensure!(
        found == [value, json!(format!("value {n}"))],
        "{n}: {found:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_of_the_draft_interface_is_served_too() -> Result<()> {
    let lattice = lattice().await?;
    let bucket = lattice.create_bucket("orders").await?;
    let wasm = e2e::component("draft-batch")?;
    let shop = lattice.start_component("shop", &wasm).await?;
    lattice
        .put_link("shop", &HostLink::to("orders").of_draft())
        .await?;
    eventually(|| async { shop.get(&["any"]).await.map(drop) }).await?;

    let bytes = json!({ "base64": "AP+A" });
    shop.put(&json!({ "text": "one", "empty": "", "bytes": bytes }))
        .await?;
    let stored = bucket.get("bytes").await?;
    assert_eq!(stored.as_deref(), Some(b"\x00\xff\x80".as_slice()));
    let found = shop
        .get(&["bytes", "never", "empty", "text", "bytes"])
        .await?;
    let expected = [bytes.clone(), json!(null), json!(""), json!("one"), bytes];
    assert_eq!(found, expected);
    shop.delete(&["bytes", "never"]).await?;
    assert_eq!(shop.get(&["bytes"]).await?, [json!(null)]);
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
