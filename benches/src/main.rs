//! How fast the provider is: `cargo xtask bench`.
//!
//! Everything is measured in one run against one nats-server, the sides taking turns; the figures are
//! medians in milliseconds, and their ratios are what counts.

mod batches;
mod callers;
mod calls;
mod floor;
mod keys;
mod measure;
mod memory;
mod pure;
mod raw;
mod single;
mod stage;
mod start;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use testkit::NEWEST;

use stage::Stage;

/// Over so many calls it is watched whether the memory grows.
const CALLS: u64 = 1_000_000;

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
    /// Only batches, beside the limit and the peer.
    Batches {
        /// Only the rows whose names have this in them, for instance "set-many 1000".
        #[arg(default_value = "")]
        rows: String,
    },
    /// Only the listing of keys.
    Keys,
    /// Only many callers, and a small batch beside a large one.
    Callers,
    /// Only the memory, and the time to start.
    Process,
    /// Only single keys, and pages of keys.
    Single,
    /// Only the memory over many calls.
    Calls {
        #[arg(default_value_t = CALLS)]
        calls: u64,
    },
    /// Only the parts that talk to nobody.
    Pure,
    #[command(hide = true)]
    Floor { id: String, nats: String },
    #[command(hide = true)]
    Load {
        lattice: String,
        provider: String,
        link: String,
        operation: String,
        nats: String,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    testkit::init_tracing();
    let args = Args::parse();
    match &args.command {
        Some(Command::Floor { id, nats }) => return floor::serve(nats, id).await,
        Some(Command::Load {
            lattice,
            provider,
            link,
            operation,
            nats,
        }) => return callers::load(nats, lattice, provider, link, operation).await,
        Some(Command::Pure) => {
            pure::print(Duration::try_from_secs_f64(args.seconds)?);
            return Ok(());
        }
        _ => {}
    }
    let provider = args
        .provider
        .context("name the provider's binary, or run this as `cargo xtask bench`")?;
    let time = Duration::try_from_secs_f64(args.seconds)?;
    let stage = Stage::set(&args.nats, &provider, args.peer.as_ref()).await?;
    println!("nats-server {}; medians in milliseconds", args.nats);
    let rows = match &args.command {
        Some(Command::Batches { rows }) => Some(rows.as_str()),
        None => Some(""),
        Some(_) => None,
    };
    if let Some(rows) = rows {
        batches::print(&stage, rows, time).await?;
    }
    if matches!(args.command, None | Some(Command::Keys)) {
        keys::print(&stage, time).await?;
    }
    if matches!(args.command, None | Some(Command::Single)) {
        single::print(&stage, time).await?;
        single::print_pages(&stage, time).await?;
    }
    if matches!(args.command, None | Some(Command::Callers)) {
        callers::print_throughput(&stage, time).await?;
        callers::print_fairness(&stage, time).await?;
    }
    if matches!(args.command, None | Some(Command::Process)) {
        memory::print(&stage).await?;
        start::print(&stage).await?;
    }
    match &args.command {
        None => {
            calls::print(&stage, CALLS).await?;
            pure::print(time);
        }
        Some(Command::Calls { calls }) => calls::print(&stage, *calls).await?,
        Some(_) => {}
    }
    Ok(())
}
