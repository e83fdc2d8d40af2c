//! Requests to the example component, printed beside their answers.

use std::time::Instant;

use anyhow::{Result, ensure};
use component_tests::Service;
use reqwest::Method;
use serde_json::{Map, Value as Json, json};

use crate::terminal::{since, title};

/// The most of an answer that is printed, in characters.
const SHOWN: usize = 200;

/// Text and bytes are stored, read and deleted.
///
/// # Errors
///
/// If the component does not answer.
pub async fn round_trip(shop: &Service) -> Result<()> {
    title("Text and bytes, in the order asked");
    let values = json!({
        "order.1": "two apples",
        "order.2": "",
        "picture": { "base64": "iVBORw0KGgr/" },
    });
    show(shop, Method::PUT, "/", &[], Some(&values)).await?;
    let keys = ["picture", "order.1", "order.nobody", "order.2"];
    show(shop, Method::GET, "/", &keys, None).await?;
    show(shop, Method::DELETE, "/", &["order.2"], None).await?;
    show(shop, Method::GET, "/keys", &[], None).await
}

/// Batches of a thousand keys. `each` says what one batch is.
///
/// # Errors
///
/// If the component does not answer, or with other values.
pub async fn thousand_keys(shop: &Service, each: &str) -> Result<()> {
    title(&format!("A thousand keys, {each}"));
    let values: Map<String, Json> = (0..1000)
        .map(|n| (format!("item.{n}"), json!(format!("{} pieces", n % 7))))
        .collect();
    let keys: Vec<&str> = values.keys().map(String::as_str).collect();
    let begun = Instant::now();
    shop.put(&Json::Object(values.clone())).await?;
    println!("  PUT    / with 1000 values: stored  ({})", since(begun));
    let begun = Instant::now();
    let found = shop.get(&keys).await?;
    ensure!(found.iter().eq(values.values()), "other values came back");
    println!("  GET    / of 1000 keys: all found   ({})", since(begun));
    let begun = Instant::now();
    shop.delete(&keys).await?;
    println!("  DELETE / of 1000 keys: deleted     ({})", since(begun));
    Ok(())
}

/// The same key in two buckets.
///
/// # Errors
///
/// If the component does not answer.
pub async fn two_buckets(shop: &Service, archive: &Service) -> Result<()> {
    title("Two links, two buckets");
    let values = json!({ "order.0": "a bucket of its own" });
    show(archive, Method::PUT, "/", &[], Some(&values)).await?;
    show(shop, Method::GET, "/", &["order.0"], None).await?;
    show(archive, Method::GET, "/", &["order.0"], None).await
}

/// Mistakes, and that the component goes on after them.
///
/// # Errors
///
/// If the component does not answer.
pub async fn errors(shop: &Service) -> Result<()> {
    title("What it may not have, and what is no key: errors, and the component lives on");
    show(&shop.bucket("payroll"), Method::GET, "/keys", &[], None).await?;
    show(shop, Method::GET, "/", &[">"], None).await?;
    show(shop, Method::GET, "/keys", &[], None).await
}

/// Prints lines that a person can type while it runs.
pub fn curl_lines(shop: &Service) {
    let url = shop.url();
    title("Still running. Try");
    println!("  curl -X PUT {url}/ -d '{{\"a\": \"text\", \"b\": {{\"base64\": \"/w==\"}}}}'");
    println!("  curl '{url}/?key=b&key=a&key=c'");
    println!("  curl '{url}/keys?bucket=archive'");
    println!("  curl -X DELETE '{url}/?key=a&key=b'");
}

/// Sends a request and prints it beside its answer.
///
/// # Errors
///
/// If there is no answer, or it is not JSON.
pub async fn show(
    service: &Service,
    method: Method,
    path: &str,
    keys: &[&str],
    body: Option<&Json>,
) -> Result<()> {
    let begun = Instant::now();
    let (status, answer) = service.request(method.clone(), path, keys, body).await?;
    let elapsed = since(begun);
    let body = body.map(|body| format!(" {body}")).unwrap_or_default();
    let address = service.path_and_query(path, keys);
    println!("  {method:<6} {address}{body}");
    println!(
        "         {} {}  ({elapsed})",
        status.as_u16(),
        shortened(&answer)
    );
    Ok(())
}

fn shortened(answer: &Json) -> String {
    let text = answer.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
