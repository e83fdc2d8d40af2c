//! How fast the provider is: `cargo xtask bench`.
//!
//! Everything is measured in one run against one nats-server, the sides taking turns; the figures are
//! medians in milliseconds, and their ratios are what counts.

mod args;
mod batches;
mod callers;
mod calls;
mod charts;
mod compare;
mod components;
mod engine;
mod figure;
mod floor;
mod keys;
mod measure;
mod memory;
mod network;
mod noise;
mod progress;
mod pure;
mod raw;
mod recorder;
mod replica;
mod report;
mod run;
mod setup;
mod single;
mod start;
mod watch;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use clap::Parser as _;

use args::{BenchArgs, BenchCommand, latest_json};
use recorder::FigureRecorder;
use report::BenchReport;

#[tokio::main]
async fn main() -> Result<()> {
    testkit::init_tracing();
    let args = BenchArgs::parse();
    match &args.command {
        Some(BenchCommand::Floor { id, nats }) => floor::serve(nats, id).await,
        Some(BenchCommand::Load {
            lattice,
            provider,
            link,
            operation,
            nats,
        }) => callers::load(nats, lattice, provider, link, operation).await,
        Some(BenchCommand::Compare { old, new }) => {
            let new = new.clone().unwrap_or_else(latest_json);
            let (old, new) = (BenchReport::read(old)?, BenchReport::read(&new)?);
            print!("{}", compare::changes(&old, &new));
            Ok(())
        }
        Some(BenchCommand::Charts { dir, figures }) => {
            let figures = figures.clone().unwrap_or_else(latest_json);
            charts::draw(&BenchReport::read(&figures)?, dir)
        }
        _ => run(&args).await,
    }
}

/// Measures, and keeps what was measured, also if a later table fails.
async fn run(args: &BenchArgs) -> Result<()> {
    // Before anything is measured: the file may be the one that is written, or of no use.
    let earlier = args.compare.as_deref().map(BenchReport::read).transpose()?;
    let report = BenchReport::new(&args.nats, args.peer_name(), args.time()?.as_secs_f64());
    let mut recorder = FigureRecorder::begin(report, run::plan(args)?);
    let measured = run::measure(args, &mut recorder).await;
    let report = recorder.report();
    if !report.tables.is_empty() {
        keep(report, &args.json(), args.previous_json().as_deref())?;
    }
    measured?;
    if let Some(dir) = &args.charts {
        charts::draw(report, dir)?;
    }
    if let Some(earlier) = earlier {
        print!("\n{}", compare::changes(&earlier, report));
    }
    Ok(())
}

/// Writes the figures, and says where they are.
fn keep(report: &BenchReport, path: &Path, previous: Option<&Path>) -> Result<()> {
    if let Some(previous) = previous.filter(|_| path.exists()) {
        fs::rename(path, previous)
            .with_context(|| format!("cannot move {} away", path.display()))?;
        eprintln!(
            "the figures of the run before are in {}",
            previous.display()
        );
    }
    report.write(path)?;
    eprintln!("the figures are in {}", path.display());
    Ok(())
}
