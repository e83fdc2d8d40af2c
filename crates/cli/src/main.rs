//! `eventual-batch-compose`: the command of [`eventual_batch_compose::compose`].

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use eventual_batch_compose::compose;

/// Composes the adapter into a component that imports wasi:keyvalue/eventual-batch@0.1.0, so that it
/// runs on a wasmCloud 1.x host.
#[derive(Parser)]
#[command(name = "eventual-batch-compose", version)]
struct Args {
    /// The component to compose, as it comes out of its build.
    component: PathBuf,
    /// The adapter: `eventual_batch_adapter.wasm`.
    #[arg(long, value_name = "FILE")]
    adapter: PathBuf,
    /// Where to write the composed component.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let read =
        |path: &PathBuf| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let component = read(&args.component)?;
    let adapter = read(&args.adapter)?;
    let composed = compose(&component, &adapter).map_err(|error| {
        let blamed = if error.is_of_adapter() {
            &args.adapter
        } else {
            &args.component
        };
        anyhow::Error::new(error).context(blamed.display().to_string())
    })?;
    // A second run on its own output would find nothing to do and say so; better not to lose what
    // was built.
    ensure!(
        !same_file(&args.component, &args.output) && !same_file(&args.adapter, &args.output),
        "{}: is one of the inputs; name another file for the output",
        args.output.display()
    );
    fs::write(&args.output, composed)
        .with_context(|| format!("cannot write {}", args.output.display()))
}

fn same_file(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}
