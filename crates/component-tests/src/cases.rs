//! The tests. Each starts a host of its own and stops it.

mod single_keys;

pub use single_keys::{single_keys_and_counters, single_keys_and_counters_of_the_older_shape};

use anyhow::{Result, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Map, json};

use crate::host::{BucketLink, ComponentHost};
use crate::service::Service;

/// Makes a test of each case, on this host.
#[macro_export]
macro_rules! run_on {
    ($host:ty: $($case:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() -> anyhow::Result<()> {
                testkit::init_tracing();
                $crate::cases::$case::<$host>().await
            }
        )+
    };
}

/// Makes a test of each case whose component is built by cargo, on this host.
#[macro_export]
macro_rules! run_all_on {
    ($host:ty) => {
        $crate::run_on!($host:
            values_make_the_round_trip,
            a_link_by_another_name_reaches_its_own_bucket,
            errors_reach_the_component_which_lives_on,
            fifty_requests_at_once_are_answered_each_with_its_own,
            nats_may_stop_and_start,
            a_component_of_the_draft_interface_is_served_too,
            single_keys_and_counters,
            single_keys_and_counters_of_the_older_shape,
        );
    };
}

/// Text, bytes, nothing: in the order asked, and as any other client of the bucket sees it.
pub async fn values_make_the_round_trip<H: ComponentHost>() -> Result<()> {
    round_trip::<H>("http-batch").await
}

/// The same by a component that is written in Python.
pub async fn values_make_the_round_trip_in_python<H: ComponentHost>() -> Result<()> {
    round_trip::<H>("python-batch").await
}

async fn round_trip<H: ComponentHost>(component: &str) -> Result<()> {
    let mut host = H::start().await?;
    let bucket = host.create_bucket("orders").await?;
    let shop = host.serve(component, &[BucketLink::to("orders")]).await?;
    assert_eq!(shop.keys().await?, [""; 0]);

    let bytes = json!({ "base64": "AP+A" });
    shop.put(&json!({ "text": "one \u{1f980}", "empty": "", "bytes": bytes, "n": "1" }))
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
    assert_eq!(shop.get(&asked).await?, expected);

    shop.put(&json!({ "n": "2" })).await?;
    shop.delete(&["bytes", "never"]).await?;
    assert_eq!(shop.keys().await?, ["empty", "n", "text"]);
    let found = shop.get(&["bytes", "n"]).await?;
    assert_eq!(found, [json!(null), json!("2")]);
    assert_eq!(shop.get(&[]).await?, [json!(null); 0]);

    let (status, answer) = shop.request(Method::GET, "/nothing", &[], None).await?;
    assert_eq!(status, StatusCode::NOT_FOUND, "{answer}");
    let no_object = json!([1]);
    let (status, answer) = shop
        .request(Method::PUT, "/", &[], Some(&no_object))
        .await?;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    host.stop().await
}

/// A component reaches the buckets of its own links by their names, and no others.
pub async fn a_link_by_another_name_reaches_its_own_bucket<H: ComponentHost>() -> Result<()> {
    let mut host = H::start().await?;
    let orders = host.create_bucket("orders").await?;
    let old_orders = host.create_bucket("orders-2024").await?;
    host.create_bucket("payroll").await?;
    let links = [
        BucketLink::to("orders"),
        BucketLink::to("orders-2024").named("archive"),
    ];
    let shop = host.serve("http-batch", &links).await?;
    let archive = shop.bucket("archive");
    archive.wait_for_bucket().await?;

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
    host.stop().await
}

/// After an error the same component goes on.
pub async fn errors_reach_the_component_which_lives_on<H: ComponentHost>() -> Result<()> {
    let mut host = H::start().await?;
    host.create_bucket("orders").await?;
    let link = BucketLink::to("orders")
        .with("max_batch_keys", "10")
        .with("max_batch_bytes", "100000");
    let shop = host.serve("http-batch", &[link]).await?;
    let many: Map<_, _> = (0..11).map(|n| (n.to_string(), json!("x"))).collect();
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
    host.stop().await
}

/// Requests at once do not get one another's values.
pub async fn fifty_requests_at_once_are_answered_each_with_its_own<H: ComponentHost>() -> Result<()>
{
    let mut host = H::start().await?;
    host.create_bucket("orders").await?;
    let shop = host
        .serve("http-batch", &[BucketLink::to("orders")])
        .await?;
    let mut requests = tokio::task::JoinSet::new();
    for n in 0..50 {
        requests.spawn(one_of_many(shop.clone(), n));
    }
    while let Some(done) = requests.join_next().await {
        done??;
    }
    assert_eq!(shop.keys().await?.len(), 100);
    host.stop().await
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

/// While NATS is down a request is answered with an error; once NATS is up, with the values.
pub async fn nats_may_stop_and_start<H: ComponentHost>() -> Result<()> {
    let mut host = H::start().await?;
    host.create_bucket("orders").await?;
    let link = BucketLink::to("orders").with("timeout", "1s");
    let shop = host.serve("http-batch", &[link]).await?;
    shop.put(&json!({ "kept": "yes" })).await?;

    host.nats().stop().await?;
    let error = shop.error().await?;
    ensure!(error.contains("NATS") && error.contains("again"), "{error}");

    host.nats().start().await?;
    shop.wait_for_bucket().await?;
    assert_eq!(shop.get(&["kept"]).await?, [json!("yes")]);
    host.stop().await
}

/// A component of `wasi:keyvalue/batch@0.2.0-draft`.
pub async fn a_component_of_the_draft_interface_is_served_too<H: ComponentHost>() -> Result<()> {
    let mut host = H::start().await?;
    let bucket = host.create_bucket("orders").await?;
    let shop = host
        .serve("draft-batch", &[BucketLink::to("orders")])
        .await?;

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
    host.stop().await
}
