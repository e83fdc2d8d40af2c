//! `cargo xtask faults` and `cargo xtask soak`: builds the provider for speed, and sets it on a cluster
//! whose nodes fail.

use std::process::ExitCode;

use anyhow::Result;

use crate::build::{PROVIDER, build};
use crate::cargo::{cargo, in_workspace};
use crate::components::run;
use crate::setup;

const FAULTS: &str = "faults";

/// Hands `command`, its `args` and the terminal over.
pub(crate) fn command(command: &str, args: &[String]) -> Result<ExitCode> {
    setup::nats_servers()?;
    let mut cargo = cargo();
    cargo.args(["build", "--release", "--package", PROVIDER]);
    cargo.args(["--package", FAULTS, "--bin", PROVIDER, "--bin", FAULTS]);
    let built = build(cargo, "the provider or what makes it fail")?;
    let mut faults = in_workspace(built.executable(FAULTS)?);
    faults.arg("--provider").arg(built.executable(PROVIDER)?);
    run(faults.arg(command).args(args), command)?;
    Ok(ExitCode::SUCCESS)
}
