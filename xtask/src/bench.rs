//! `cargo xtask bench`: builds the provider and the benches for speed, and runs them.

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::build::{ADAPTERS_VARIABLE, CLI, PROVIDER, build};
use crate::cargo::{cargo, in_workspace};
use crate::components::{adapters, bench_component, run};
use crate::setup;

const BENCHES: &str = "benches";

/// The subcommand that measures inside a component, and needs one, and a host for it.
const COMPONENTS: &str = "components";

/// Hands `args` and the terminal over to the benches.
pub(crate) fn command(args: &[String]) -> Result<ExitCode> {
    setup::nats_servers()?;
    let mut command = if args.iter().any(|arg| arg == COMPONENTS) {
        with_component(args)?
    } else {
        with_provider(args)?
    };
    // The tests' variable would put one binary in the place of all.
    command.env_remove("TESTKIT_PROVIDER");
    run(&mut command, "the benches")?;
    Ok(ExitCode::SUCCESS)
}

fn with_provider(args: &[String]) -> Result<Command> {
    let mut command = cargo();
    command.args(["build", "--release", "--package", PROVIDER]);
    command.args(["--package", BENCHES, "--bin", PROVIDER, "--bin", BENCHES]);
    let built = build(command, "the provider or the benches")?;
    let mut command = in_workspace(built.executable(BENCHES)?);
    command.arg("--provider").arg(built.executable(PROVIDER)?);
    command.args(args);
    Ok(command)
}

fn with_component(args: &[String]) -> Result<Command> {
    let mut command = cargo();
    command.env(ADAPTERS_VARIABLE, adapters()?);
    command.args(["build", "--release", "--package", CLI]);
    command.args(["--package", BENCHES, "--bin", CLI, "--bin", BENCHES]);
    let built = build(command, "eventual-batch or the benches")?;
    let mut command = in_workspace(built.executable(BENCHES)?);
    command.args(args);
    command.arg("--program").arg(built.executable(CLI)?);
    command.arg("--component").arg(bench_component()?);
    Ok(command)
}
