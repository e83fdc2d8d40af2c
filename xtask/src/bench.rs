//! `cargo xtask bench`: builds the provider and the benches for speed, and runs them.

use std::process::ExitCode;

use anyhow::Result;

use crate::build::{PROVIDER, build};
use crate::cargo::{cargo, in_workspace};
use crate::components::run;
use crate::setup;

const BENCHES: &str = "benches";

/// Hands `args` and the terminal over to the benches.
pub(crate) fn command(args: &[String]) -> Result<ExitCode> {
    setup::nats_servers()?;
    let mut command = cargo();
    command.args(["build", "--release", "--package", PROVIDER]);
    command.args(["--package", BENCHES, "--bin", PROVIDER, "--bin", BENCHES]);
    let built = build(command, "the provider or the benches")?;
    let mut command = in_workspace(built.executable(BENCHES)?);
    command.arg("--provider").arg(built.executable(PROVIDER)?);
    // The tests' variable would put one binary in the place of all.
    command.env_remove("TESTKIT_PROVIDER");
    run(command.args(args), "the benches")?;
    Ok(ExitCode::SUCCESS)
}
