//! Components written to `wasi:keyvalue@0.2.0-draft`, on a real host, linked as to wasmCloud's
//! keyvalue-nats.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use component_tests::Service;
use e2e::{HostLink, TestLattice, eventually};
use reqwest::{Method, StatusCode};
use serde_json::{Value as Json, json};
use testkit::async_nats::jetstream::Context;
use tokio::task::JoinSet;

/// A link with the keys that keyvalue-nats has for it, and no others; `cluster_uri` is added.
fn link(bucket: &str, interfaces: &'static [&'static str]) -> HostLink {
    HostLink::to(bucket)
        .with("enable_bucket_auto_create", "true")
        .of_drafts(interfaces)
}

async fn lattice() -> Result<TestLattice> {
    testkit::init_tracing();
    TestLattice::start().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_counter_counts() -> Result<()> {
    const INTERFACES: &[&str] = &["atomics", "store"];
    let lattice = lattice().await?;
    let wasm = e2e::component("counter")?;
    let counter = lattice.start_component("counter", &wasm).await?;
    lattice
        .put_link("counter", &link("hits", INTERFACES))
        .await?;
    eventually(|| counter.text("/first")).await?;

    for n in 1..=3 {
        assert_eq!(
            counter.text("/page").await?,
            format!("Counter /page: {n}\n")
        );
    }
    let bucket = lattice
        .nats()
        .jetstream()
        .await?
        .get_key_value("hits")
        .await?;
    assert_eq!(bucket.get("/page").await?.as_deref(), Some(&b"3"[..]));

    let mut requests = JoinSet::new();
    for _ in 0..100 {
        let counter = counter.clone();
        requests.spawn(async move { counter.text("/busy").await });
    }
    let mut answers = requests
        .join_all()
        .await
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    answers.sort_unstable();
    let mut expected: Vec<_> = (1..=100).map(|n| format!("Counter /busy: {n}\n")).collect();
    expected.sort_unstable();
    assert_eq!(answers, expected);

    // Over a link by another name it is another bucket.
    let second = link("hits-2", INTERFACES).named("second");
    lattice.put_link("counter", &second).await?;
    eventually(|| counter.text("/other?link_name=second")).await?;
    assert_eq!(
        counter.text("/page?link_name=second").await?,
        "Counter /page: 1\n"
    );

    // What is no number stays, and the component lives on.
    bucket.put("/page", "words".into()).await?;
    ensure!(counter.text("/page").await.is_err(), "words were counted");
    assert_eq!(bucket.get("/page").await?.as_deref(), Some(&b"words"[..]));
    assert_eq!(counter.text("/busy").await?, "Counter /busy: 101\n");
    lattice.stop().await
}

/// The component that uses all three interfaces, on its link.
async fn all_three(lattice: &TestLattice, bucket: &str) -> Result<Service> {
    let wasm = e2e::component("draft-all")?;
    let service = lattice.start_component("all", &wasm).await?;
    let link = link(bucket, &["atomics", "batch", "store"]);
    lattice.put_link("all", &link).await?;
    eventually(|| service.ok(Method::GET, "/", &["none"], None)).await?;
    Ok(service)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_uses_all_three_interfaces() -> Result<()> {
    let lattice = lattice().await?;
    let service = all_three(&lattice, "orders").await?;
    let bucket = lattice
        .nats()
        .jetstream()
        .await?
        .get_key_value("orders")
        .await?;
    let ask = async |method: &Method, path: &str, keys: &[&str]| {
        service.ok(method.clone(), path, keys, None).await
    };
    let (get, post, delete) = (Method::GET, Method::POST, Method::DELETE);

    // As keyvalue-nats writes them.
    bucket.put("theirs", "1".into()).await?;
    bucket.put("gone", "x".into()).await?;
    bucket.purge("gone").await?;
    bucket.put("count", "41".into()).await?;
    assert_eq!(ask(&get, "/", &["theirs"]).await?, json!("1"));
    assert_eq!(ask(&get, "/", &["gone"]).await?, json!(null));
    assert_eq!(ask(&get, "/exists", &["theirs"]).await?, json!(true));
    assert_eq!(ask(&get, "/exists", &["gone"]).await?, json!(false));
    assert_eq!(ask(&post, "/count", &["count"]).await?, json!(42));
    assert_eq!(bucket.get("count").await?.as_deref(), Some(&b"42"[..]));

    let values = json!({ "a": "1", "b": "" });
    service
        .ok(Method::PUT, "/batch", &[], Some(&values))
        .await?;
    service
        .ok(Method::PUT, "/", &["one"], Some(&json!("text")))
        .await?;
    assert_eq!(bucket.get("one").await?.as_deref(), Some(&br#""text""#[..]));
    let found = ask(&get, "/batch", &["b", "gone", "a", "count"]).await?;
    assert_eq!(found, json!(["", null, "1", "42"]));
    assert_eq!(
        listed(&service).await?,
        ["a", "b", "count", "one", "theirs"]
    );
    ask(&delete, "/", &["one"]).await?;
    ask(&delete, "/batch", &["a", "never"]).await?;
    assert_eq!(listed(&service).await?, ["b", "count", "theirs"]);
    assert_eq!(bucket.get("one").await?, None);

    // A host makes a trap of such an error; the component is there for the next request.
    let answer = service
        .request(Method::PUT, "/", &["not a key"], None)
        .await;
    let refused = answer.map_or(true, |(status, _)| status != StatusCode::OK);
    ensure!(refused, "stored under what is no key");
    assert_eq!(ask(&get, "/", &["theirs"]).await?, json!("1"));
    lattice.stop().await
}

async fn listed(service: &Service) -> Result<Vec<String>> {
    let pages = service.ok(Method::GET, "/keys", &[], None).await?;
    let pages: Vec<Vec<String>> = serde_json::from_value(pages)?;
    let mut keys = pages.concat();
    keys.sort_unstable();
    Ok(keys)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_thousand_keys_are_listed_page_by_page() -> Result<()> {
    const KEYS: usize = 200_000;
    let lattice = lattice().await?;
    let service = all_three(&lattice, "large").await?;
    fill(&lattice.nats().jetstream().await?, KEYS).await?;
    let begun = Instant::now();
    let pages = service.ok(Method::GET, "/keys", &[], None).await?;
    let pages = pages.as_array().context("no pages")?;
    println!(
        "{KEYS} keys on {} pages in {:?}",
        pages.len(),
        begun.elapsed()
    );
    ensure!(pages.len() > 10, "{} pages", pages.len());
    let mut keys: Vec<_> = pages.iter().filter_map(Json::as_array).flatten().collect();
    assert_eq!(keys.len(), KEYS);
    keys.sort_unstable_by_key(|key| key.as_str());
    keys.dedup();
    assert_eq!(keys.len(), KEYS, "some came twice");
    lattice.stop().await
}

async fn fill(jetstream: &Context, keys: usize) -> Result<()> {
    for chunk in (0..keys).collect::<Vec<_>>().chunks(2000) {
        let mut acknowledgements = Vec::with_capacity(chunk.len());
        for n in chunk {
            let subject = format!("$KV.large.key-{n}");
            acknowledgements.push(jetstream.publish(subject, "value".into()).await?);
        }
        for acknowledgement in acknowledgements {
            acknowledgement.await?;
        }
    }
    Ok(())
}
