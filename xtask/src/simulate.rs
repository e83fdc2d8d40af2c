//! `cargo xtask simulate`: the simulation of the pipeline, with any seed and for as long as one likes.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use crate::cargo::cargo;

const TEST: &str = "pipeline::simulation::every_promise_is_kept_in_every_history";

/// Runs the simulation, which is a test of the engine. It has its settings in the environment.
pub(crate) fn command(args: &[String]) -> Result<ExitCode> {
    let mut cargo = cargo();
    cargo.args(["test", "--locked", "--quiet"]);
    cargo.args(["--package", "eventual-batch-engine", "--lib"]);
    // The engine is optimised enough already: an optimised build of all it needs takes minutes.
    cargo.args(["--", "--exact", TEST]);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let variable = match arg.as_str() {
            "--seed" => "SIMULATE_SEED",
            "--histories" => "SIMULATE_HISTORIES",
            _ => bail!("{arg:?} is no option of `simulate`: see `cargo xtask help`"),
        };
        let value = args
            .next()
            .with_context(|| format!("{arg} needs a number"))?;
        let number: u64 = value
            .parse()
            .with_context(|| format!("{arg} {value:?} is no number"))?;
        cargo.env(variable, number.to_string());
    }
    let status = cargo.status().context("cannot start cargo test")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
