//! `eventual` and `atomic`, in either shape of `wasi:keyvalue@0.1.0`.

use anyhow::{Result, ensure};
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::host::{BucketLink, ComponentHost};

/// Single keys and counters.
pub async fn single_keys_and_counters<H: ComponentHost>() -> Result<()> {
    of::<H>("single-keys").await
}

/// The same by a component of the older shape.
pub async fn single_keys_and_counters_of_the_older_shape<H: ComponentHost>() -> Result<()> {
    of::<H>("single-keys-older").await
}

async fn of<H: ComponentHost>(component: &str) -> Result<()> {
    let mut host = H::start().await?;
    let bucket = host.create_bucket("orders").await?;
    let shop = host.serve(component, &[BucketLink::to("orders")]).await?;
    let ask =
        async |method: Method, path: &str, key: &str| shop.ok(method, path, &[key], None).await;

    let bytes = json!({ "base64": "AP+A" });
    shop.put(&json!({ "text": "one", "empty": "", "bytes": bytes }))
        .await?;
    let stored = bucket.get("bytes").await?;
    assert_eq!(stored.as_deref(), Some(b"\x00\xff\x80".as_slice()));
    let found = shop.get(&["bytes", "never", "empty", "text"]).await?;
    assert_eq!(found, [bytes, json!(null), json!(""), json!("one")]);
    assert_eq!(ask(Method::GET, "/exists", "empty").await?, json!(true));
    shop.delete(&["empty", "never"]).await?;
    assert_eq!(ask(Method::GET, "/exists", "empty").await?, json!(false));

    let add = "/increment?delta=40";
    assert_eq!(ask(Method::POST, add, "hits").await?, json!(40));
    assert_eq!(ask(Method::POST, add, "hits").await?, json!(80));
    let (early, right) = ("/swap?old=79&new=1", "/swap?old=80&new=1");
    assert_eq!(ask(Method::POST, early, "hits").await?, json!(false));
    assert_eq!(ask(Method::POST, right, "hits").await?, json!(true));
    assert_eq!(bucket.get("hits").await?.as_deref(), Some(&b"1"[..]));

    for (method, path, key, expected) in [
        (Method::POST, add, "text", "\"text\""),
        (Method::POST, add, "no key", "\"no key\""),
        (Method::GET, "/exists", ">", "\">\""),
    ] {
        let (status, answer) = shop.request(method, path, &[key], None).await?;
        assert_eq!(status, StatusCode::BAD_GATEWAY, "{answer}");
        let error = answer["error"].as_str().unwrap_or_default();
        ensure!(error.contains(expected), "{expected}: {answer}");
        ensure!(!error.contains("1 of 1"), "{answer}");
    }
    let error = shop.bucket("payroll").error().await?;
    ensure!(error.contains("payroll"), "{error}");
    assert_eq!(shop.get(&["text"]).await?, [json!("one")]);
    host.stop().await
}
