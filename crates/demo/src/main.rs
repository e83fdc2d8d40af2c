//! `cargo xtask demo`: one bucket, used in three ways.
//!
//! The provider runs as its own process on a lattice, as a wasmCloud host starts it. `eventual-batch
//! serve` runs the example component in its own process. A NATS client uses the bucket directly.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use component_tests::{BucketLink, Serve, Service};
use demo::{curl_lines, errors, round_trip, show, since, thousand_keys, title, two_buckets};
use reqwest::Method;
use serde_json::json;
use testkit::async_nats::jetstream::kv::Store;
use testkit::{LatticeCaller, LinkDefinition, NEWEST, NatsServer, Provider};

/// What the component is called on the lattice.
const COMPONENT: &str = "shop";

#[tokio::main]
async fn main() -> Result<()> {
    testkit::init_tracing();
    let keep = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--keep") => true,
        Some(other) => bail!("unknown argument {other:?}; the only one is --keep"),
    };
    let program = path("DEMO_EVENTUAL_BATCH")?;
    let component = path("DEMO_COMPONENT")?;

    let nats = NatsServer::run(NEWEST).await?;
    println!("A nats-server runs at {}.", nats.url());
    let provider = Provider::builder(nats.url()).binary(path("DEMO_PROVIDER")?);
    let mut provider = provider.start().await?;
    let link = LinkDefinition::new(COMPONENT)
        .config("cluster_uri", nats.url())
        .config("bucket", "orders")
        .config("enable_bucket_auto_create", "true");
    provider.put_link(&link).await?;
    println!("The provider runs as a process on a lattice, as a wasmCloud host starts it.");
    println!("The lattice's link from `{COMPONENT}` to the provider has the bucket `orders`.");
    let begun = Instant::now();
    let links = [
        BucketLink::to("orders"),
        BucketLink::to("orders-archive").named("archive"),
    ]
    .map(|link| link.with("enable_bucket_auto_create", "true"));
    let serve = Serve::start(&program, &component, &nats.url(), &links).await?;
    let shop = Service::new(serve.address());
    println!("`eventual-batch serve` runs a component in its own process: it compiled the");
    println!("component and answers HTTP after {}.", since(begun));

    one_store(&shop, &provider.caller(COMPONENT), &bucket(&nats).await?).await?;
    round_trip(&shop).await?;
    thousand_keys(&shop, "each batch in the component's own process").await?;
    two_buckets(&shop, &shop.bucket("archive")).await?;
    errors(&shop).await?;

    if keep {
        curl_lines(&shop);
        let server = nats.url();
        println!("  nats --server {server} kv watch orders   (if you have the `nats` tool)");
        demo::wait_for_enter().await?;
    }
    serve.stop().await?;
    provider.shutdown().await?;
    println!("\nThe component, the provider and the server are stopped.");
    what_next(keep, &program);
    Ok(())
}

/// One key is written and read in each of the three ways.
async fn one_store(shop: &Service, lattice: &LatticeCaller, nats: &Store) -> Result<()> {
    title("One store: what one of them writes, the others read");
    println!("  over HTTP, by the component in process:");
    let values = json!({ "greeting": "written by the component" });
    show(shop, Method::PUT, "/", &[], Some(&values)).await?;

    println!("  over the lattice, by the call that a wasmCloud host makes:");
    let begun = Instant::now();
    let found = lattice.get_many("default", &["greeting"]).await??;
    let text = found.first().and_then(Option::as_deref).map(lossy);
    println!("  get-many [\"greeting\"]: {text:?}  ({})", since(begun));
    let begun = Instant::now();
    let pairs = [("greeting", "written over the lattice")];
    lattice.set_many("default", &pairs).await??;
    println!("  set-many [\"greeting\"]: ok  ({})", since(begun));

    println!("  by a plain NATS client, of the bucket `orders`:");
    let begun = Instant::now();
    let entry = nats.get("greeting").await?;
    let text = entry.as_deref().map(lossy);
    println!("  kv get greeting: {text:?}  ({})", since(begun));
    nats.put("greeting", "written by a NATS client".into())
        .await?;
    println!("  kv put greeting: ok");

    println!("  and the component again:");
    show(shop, Method::GET, "/", &["greeting"], None).await
}

fn what_next(kept: bool, program: &std::path::Path) {
    title("Next");
    if !kept {
        println!("  cargo xtask demo --keep        the same, and stays up for you to try");
    }
    println!("  cargo xtask demo --wasmcloud   on a real wasmCloud 1.9 host (which takes ten");
    println!("                                 minutes or more to build)");
    println!("  Your own component, on a NATS server of yours:");
    println!(
        "  {} serve my.wasm --bucket carts --create",
        program.display()
    );
    println!("  docs/components.md shows the smallest component in Rust, Python and JavaScript.");
}

async fn bucket(nats: &NatsServer) -> Result<Store> {
    let jetstream = nats.jetstream().await?;
    let bucket = jetstream.get_key_value("orders").await;
    bucket.context("the bucket `orders` cannot be opened")
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The file that this variable names.
fn path(variable: &str) -> Result<PathBuf> {
    let path = std::env::var_os(variable).map(PathBuf::from);
    path.with_context(|| format!("{variable} is not set: run `cargo xtask demo`"))
}
