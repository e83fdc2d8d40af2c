//! `cargo xtask demo --wasmcloud`: a component written to `wasi:keyvalue/eventual-batch`, composed
//! with the adapter, on a real wasmCloud host, linked to the provider, used over HTTP.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use component_tests::Service;
use demo::{curl_lines, errors, round_trip, thousand_keys, title, two_buckets, wait_for_enter};
use e2e::{HostLink, PROVIDER_ID, TestLattice, eventually};
use tracing::level_filters::LevelFilter;

const COMPONENT: &str = "shop";

#[tokio::main]
async fn main() -> Result<()> {
    // What the host warns of is no news here: it waits for the provider, and so on.
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::ERROR)
        .with_writer(std::io::stderr)
        .init();
    let (keep, component) = arguments()?;
    let lattice = TestLattice::start().await?;
    println!("A nats-server runs at {}.", lattice.nats().url());
    println!("A wasmCloud host started the provider `{PROVIDER_ID}` from its archive.");
    lattice.create_bucket("orders").await?;
    lattice.create_bucket("orders-archive").await?;
    let archive_link = HostLink::to("orders-archive").named("archive");
    if let Some(component) = component {
        own_component(&lattice, &component, &archive_link).await?;
        return lattice.stop().await;
    }
    let shop = lattice
        .serve(COMPONENT, "http-batch", &HostLink::to("orders"))
        .await?;
    let archive = shop.bucket("archive");
    lattice.put_link(COMPONENT, &archive_link).await?;
    eventually(|| async { archive.keys().await.map(drop) }).await?;
    println!("It also runs the component `{COMPONENT}`, with two links to the provider:");
    println!("`default` to the bucket `orders`, `archive` to the bucket `orders-archive`.");

    round_trip(&shop).await?;
    thousand_keys(&shop, "each batch one call over the lattice").await?;
    two_buckets(&shop, &archive).await?;
    errors(&shop).await?;

    if keep {
        wait(&lattice, &shop).await?;
    }
    lattice.stop().await?;
    println!("\nThe component, the provider, the host and the server are stopped.");
    Ok(())
}

/// `[--keep] [--component FILE]`
fn arguments() -> Result<(bool, Option<PathBuf>)> {
    let (mut keep, mut component) = (false, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--keep" => keep = true,
            "--component" => {
                let file = arguments.next().context("--component wants a file")?;
                let file = PathBuf::from(file);
                let whole = file.canonicalize();
                component = Some(whole.with_context(|| format!("no {}", file.display()))?);
            }
            other => bail!("unknown argument {other:?}; there are --keep and --component FILE"),
        }
    }
    Ok((keep, component))
}

/// Runs a person's own component, which has been composed if it needs to be, until Enter is pressed.
async fn own_component(
    lattice: &TestLattice,
    component: &std::path::Path,
    archive: &HostLink,
) -> Result<()> {
    let drafts = HostLink::to("orders").of_drafts(&["atomics", "batch", "store"]);
    lattice.put_link(COMPONENT, &HostLink::to("orders")).await?;
    lattice.put_link(COMPONENT, &drafts).await?;
    lattice.put_link(COMPONENT, archive).await?;
    let own = lattice.start_component(COMPONENT, component).await?;
    println!(
        "It also runs {}, with links to the provider:",
        component.display()
    );
    println!("`default` to the bucket `orders`, `archive` to the bucket `orders-archive`.");
    println!("It listens at {}", own.url());
    wait_for_enter().await
}

async fn wait(lattice: &TestLattice, shop: &Service) -> Result<()> {
    curl_lines(shop);
    let (port, name) = (lattice.nats().port(), e2e::LATTICE);
    println!("  wash get inventory --ctl-port {port} --lattice {name}");
    title("Your own component in its place (composed first, if it needs the adapter)");
    println!("  cargo xtask demo --wasmcloud --component my.wasm");
    wait_for_enter().await
}
