//! `cargo xtask demo`: a component written to `wasi:keyvalue/eventual-batch`, composed with the
//! adapter, on a real wasmCloud host, linked to the provider, used over HTTP.

use std::time::Instant;

use anyhow::{Result, bail, ensure};
use e2e::{HostLink, PROVIDER_ID, Service, TestLattice, eventually};
use reqwest::Method;
use serde_json::{Map, Value as Json, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, stdin};
use tracing::level_filters::LevelFilter;

const COMPONENT: &str = "shop";

/// The most of an answer that is printed, in characters.
const SHOWN: usize = 200;

#[tokio::main]
async fn main() -> Result<()> {
    // What the host warns of is no news here: it waits for the provider, and so on.
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::ERROR)
        .with_writer(std::io::stderr)
        .init();
    let keep = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--keep") => true,
        Some(other) => bail!("unknown argument {other:?}; the only one is --keep"),
    };
    let lattice = TestLattice::start().await?;
    println!("A nats-server runs at {}.", lattice.nats().url());
    println!("A wasmCloud host started the provider `{PROVIDER_ID}` from its archive.");
    lattice.create_bucket("orders").await?;
    lattice.create_bucket("orders-archive").await?;
    let shop = lattice
        .serve(COMPONENT, "http-batch", &HostLink::to("orders"))
        .await?;
    let archive = shop.bucket("archive");
    lattice
        .put_link(COMPONENT, &HostLink::to("orders-archive").named("archive"))
        .await?;
    eventually(|| async { archive.keys().await.map(drop) }).await?;
    println!("It also runs the component `{COMPONENT}`, with two links to the provider:");
    println!("`default` to the bucket `orders`, `archive` to the bucket `orders-archive`.");

    round_trip(&shop).await?;
    many(&shop).await?;
    two_links(&shop, &archive).await?;
    errors(&shop).await?;

    if keep {
        wait(&lattice, &shop).await?;
    }
    lattice.stop().await?;
    println!("\nThe component, the provider, the host and the server are stopped.");
    Ok(())
}

async fn round_trip(shop: &Service) -> Result<()> {
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
    show(shop, Method::GET, "/keys", &[], None).await?;
    Ok(())
}

async fn many(shop: &Service) -> Result<()> {
    title("A thousand keys, each batch one call over the lattice");
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

async fn two_links(shop: &Service, archive: &Service) -> Result<()> {
    title("Two links, two buckets");
    let values = json!({ "order.0": "a bucket of its own" });
    show(archive, Method::PUT, "/", &[], Some(&values)).await?;
    show(shop, Method::GET, "/", &["order.0"], None).await?;
    show(archive, Method::GET, "/", &["order.0"], None).await
}

async fn errors(shop: &Service) -> Result<()> {
    title("What it may not have, and what is no key: errors, and the component lives on");
    show(&shop.bucket("payroll"), Method::GET, "/keys", &[], None).await?;
    show(shop, Method::GET, "/", &[">"], None).await?;
    show(shop, Method::GET, "/keys", &[], None).await
}

async fn wait(lattice: &TestLattice, shop: &Service) -> Result<()> {
    let url = shop.url();
    title("Still running. Try");
    println!("  curl -X PUT {url}/ -d '{{\"a\": \"text\", \"b\": {{\"base64\": \"/w==\"}}}}'");
    println!("  curl '{url}/?key=b&key=a&key=c'");
    println!("  curl '{url}/keys?bucket=archive'");
    println!("  curl -X DELETE '{url}/?key=a&key=b'");
    let port = lattice.nats().port();
    println!(
        "  wash get inventory --ctl-port {port} --lattice {}",
        e2e::LATTICE
    );
    println!("\nPress Enter, or Ctrl-C, to stop it.");
    let (mut lines, mut line) = (BufReader::new(stdin()), String::new());
    let enter = async {
        if lines.read_line(&mut line).await? == 0 {
            // There is no keyboard.
            std::future::pending::<()>().await;
        }
        anyhow::Ok(())
    };
    tokio::select! {
        read = enter => read,
        stop = tokio::signal::ctrl_c() => Ok(stop?),
    }
}

/// Sends a request and prints it beside its answer.
async fn show(
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

fn title(text: &str) {
    println!("\n{text}");
}

fn since(begun: Instant) -> String {
    format!("{:.1} ms", begun.elapsed().as_secs_f64() * 1000.0)
}
