//! `cargo xtask chaos` and `cargo xtask soak`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use chaos::counts::Times;
use chaos::fault::Fault;
use chaos::{rounds, soak};
use clap::{Parser, Subcommand};
use fastrand::Rng;
use testkit::NEWEST;

/// The real provider on a real cluster whose nodes fail.
#[derive(Parser)]
#[command(name = "chaos")]
struct ChaosArgs {
    /// The provider's binary.
    #[arg(long, value_name = "BINARY")]
    provider: PathBuf,
    #[command(subcommand)]
    command: ChaosCommand,
}

#[derive(Subcommand)]
enum ChaosCommand {
    /// Rounds of random faults, and a comparison after each.
    Rounds {
        /// What the faults come from: the same for the same seed.
        #[arg(long)]
        seed: Option<u64>,
        /// How many.
        #[arg(long, default_value_t = 50)]
        rounds: usize,
        /// The version of nats-server.
        #[arg(long, default_value = NEWEST)]
        nats: String,
    },
    /// Mixed load with a fault every minute; what the provider holds at the start and at the end.
    Soak {
        /// What the faults come from: the same for the same seed.
        #[arg(long)]
        seed: Option<u64>,
        /// How long.
        #[arg(long, default_value_t = 60)]
        minutes: u64,
        /// The version of nats-server.
        #[arg(long, default_value = NEWEST)]
        nats: String,
    },
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    testkit::init_tracing();
    let ChaosArgs { provider, command } = ChaosArgs::parse();
    let broken = match command {
        ChaosCommand::Rounds { seed, rounds, nats } => {
            let mut rng = seeded(seed);
            let faults: Vec<_> = (0..rounds).map(|_| Fault::random(&mut rng)).collect();
            let report =
                rounds::run(&nats, &provider, rng, faults, 3.0..15.0, Times::PROMISED).await?;
            report.broken
        }
        ChaosCommand::Soak {
            seed,
            minutes,
            nats,
        } => soak::run(&nats, &provider, seeded(seed), minutes).await?,
    };
    for promise in &broken {
        println!("BROKEN: {promise}");
    }
    Ok(if broken.is_empty() {
        println!("no promise was broken");
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn seeded(seed: Option<u64>) -> Rng {
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}");
    Rng::with_seed(seed)
}
