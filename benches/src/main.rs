//! How fast the provider is: `cargo xtask bench`.
//!
//! Everything is measured in one run against one nats-server, the sides taking turns; the figures are
//! medians in milliseconds, and their ratios are what counts.

mod batches;
mod callers;
mod calls;
mod components;
mod engine;
mod floor;
mod keys;
mod measure;
mod memory;
mod network;
mod pure;
mod raw;
mod replica;
mod setup;
mod single;
mod start;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use testkit::NEWEST;

use components::Beside;
use setup::BenchSetup;

/// Over so many calls it is watched whether the memory grows.
const CALLS: u64 = 1_000_000;

/// Measures the provider beside what NATS can do, and beside another provider.
#[derive(Parser)]
#[command(name = "bench")]
struct BenchArgs {
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
    command: Option<BenchCommand>,
}

#[derive(Subcommand)]
enum BenchCommand {
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
    /// Only batches over a network, and reads over several connections.
    Network,
    /// Only single keys, and pages of keys.
    Single,
    /// Only reads from memory.
    Replica,
    /// Only the memory over many calls.
    Calls {
        #[arg(default_value_t = CALLS)]
        calls: u64,
    },
    /// Only the parts that talk to nobody.
    Pure,
    /// Only batches inside a component, on `eventual-batch serve` and beside it on other hosts.
    Components {
        /// The program `eventual-batch`.
        #[arg(long, value_name = "BINARY")]
        program: PathBuf,
        /// The component `bench`, as it comes out of its build.
        #[arg(long, value_name = "FILE")]
        component: PathBuf,
        /// Another host that serves this component: NAME=HOST:PORT/adapter, or …/draft for one that
        /// answers only `wasi:keyvalue/batch@0.2.0-draft`.
        #[arg(long, value_name = "HOST")]
        beside: Vec<Beside>,
        /// The nats-server that those hosts use, as `nats://…`. If absent, one is started.
        #[arg(long, value_name = "URL")]
        server: Option<String>,
    },
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
    let args = BenchArgs::parse();
    match &args.command {
        Some(BenchCommand::Floor { id, nats }) => return floor::serve(nats, id).await,
        Some(BenchCommand::Load {
            lattice,
            provider,
            link,
            operation,
            nats,
        }) => return callers::load(nats, lattice, provider, link, operation).await,
        Some(BenchCommand::Pure) => {
            pure::print(Duration::try_from_secs_f64(args.seconds)?);
            return Ok(());
        }
        Some(BenchCommand::Components {
            program,
            component,
            beside,
            server,
        }) => {
            let time = Duration::try_from_secs_f64(args.seconds)?;
            let programs = (program.as_path(), component.as_path());
            return components::print(&args.nats, server.as_deref(), programs, beside, time).await;
        }
        _ => {}
    }
    let provider = args
        .provider
        .context("name the provider's binary, or run this as `cargo xtask bench`")?;
    let time = Duration::try_from_secs_f64(args.seconds)?;
    let setup = BenchSetup::set(&args.nats, &provider, args.peer.as_ref()).await?;
    println!("nats-server {}; medians in milliseconds", args.nats);
    let rows = match &args.command {
        Some(BenchCommand::Batches { rows }) => Some(rows.as_str()),
        None => Some(""),
        Some(_) => None,
    };
    if let Some(rows) = rows {
        batches::print(&setup, rows, time).await?;
    }
    if matches!(args.command, None | Some(BenchCommand::Keys)) {
        keys::print(&setup, time).await?;
    }
    if matches!(args.command, None | Some(BenchCommand::Single)) {
        single::print(&setup, time).await?;
        single::print_pages(&setup, time).await?;
    }
    if matches!(args.command, None | Some(BenchCommand::Network)) {
        network::print(&setup, time).await?;
        network::print_connections(&setup, time).await?;
    }
    if matches!(args.command, None | Some(BenchCommand::Callers)) {
        callers::print_throughput(&setup, time).await?;
        callers::print_fairness(&setup, time).await?;
    }
    if matches!(args.command, None | Some(BenchCommand::Replica)) {
        replica::print(&setup, time).await?;
    }
    if matches!(args.command, None | Some(BenchCommand::Process)) {
        memory::print(&setup).await?;
        start::print(&setup).await?;
    }
    match &args.command {
        None => {
            calls::print(&setup, CALLS).await?;
            pure::print(time);
        }
        Some(BenchCommand::Calls { calls }) => calls::print(&setup, *calls).await?,
        Some(_) => {}
    }
    Ok(())
}
