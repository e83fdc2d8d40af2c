//! `cargo xtask chaos` and `cargo xtask soak`: builds the provider for speed, and sets it on a cluster
//! whose nodes fail.

use std::process::ExitCode;

use anyhow::Result;

use crate::build::{PROVIDER, build};
use crate::cargo::{cargo, in_workspace};
use crate::components::run;
use crate::setup;

const CHAOS: &str = "chaos";

/// Hands `command`, its `args` and the terminal over.
pub(crate) fn command(command: &str, args: &[String]) -> Result<ExitCode> {
    setup::nats_servers()?;
    // `chaos` is rounds of faults, `soak` is a long run.
    let subcommand = if command == "chaos" {
        "rounds"
    } else {
        command
    };
    let mut cargo = cargo();
    cargo.args(["build", "--release", "--package", PROVIDER]);
    cargo.args(["--package", CHAOS, "--bin", PROVIDER, "--bin", CHAOS]);
    let built = build(cargo, "the provider or what makes it fail")?;
    let mut chaos = in_workspace(built.executable(CHAOS)?);
    chaos.arg("--provider").arg(built.executable(PROVIDER)?);
    run(chaos.arg(subcommand).args(args), command)?;
    Ok(ExitCode::SUCCESS)
}
