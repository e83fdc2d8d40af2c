//! How fast the provider is: `cargo xtask bench`.
//!
//! Everything is measured in one run against one nats-server, the sides taking turns; the figures are
//! medians in milliseconds, and their ratios are what counts.

mod batches;
mod callers;
mod floor;
mod measure;
mod memory;
mod raw;
mod stage;
mod start;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use testkit::NEWEST;

use stage::Stage;

/// Measures the provider beside what NATS can do, and beside another provider.
#[derive(Parser)]
#[command(name = "bench")]
struct Args {
    /// The provider's binary.
    #[arg(long, value_name = "BINARY")]
    provider: Option<PathBuf>,
    /// Another provider's binary, which answers wrpc:keyvalue/batch@0.2.0-draft.
    #[arg(long, value_name = "BINARY")]
    peer: Option<PathBuf>,
    /// The version of nats-server.
    #[arg(long, default_value = NEWEST)]
    nats: String,
    /// Seconds for each row.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Only the batches, and not the callers, the memory and the start.
    Batches,
    #[command(hide = true)]
    Floor {
        nats: String,
        lattice: String,
        id: String,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    testkit::init_tracing();
    let args = Args::parse();
    if let Some(Command::Floor { nats, lattice, id }) = &args.command {
        return floor::serve(nats, lattice, id).await;
    }
    let provider = args
        .provider
        .context("name the provider's binary, or run this as `cargo xtask bench`")?;
    let time = Duration::try_from_secs_f64(args.seconds)?;
    let stage = Stage::set(&args.nats, &provider, args.peer.as_ref()).await?;
    println!("nats-server {}; medians in milliseconds\n", args.nats);
    batches::print(&stage, time).await?;
    batches::print_keys(&stage, time).await?;
    if args.command.is_none() {
        callers::print_throughput(&stage, time).await?;
        callers::print_fairness(&stage, time).await?;
        memory::print(&stage).await?;
        start::print(&stage, &provider).await?;
    }
    Ok(())
}
