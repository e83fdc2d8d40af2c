//! `cargo xtask build`: all that the tests run, and the components.

use anyhow::Result;

use crate::build::{ADAPTERS_VARIABLE, PACKAGES, build};
use crate::cargo::cargo;
use crate::components::{COMPONENTS, adapters, build_in};

/// Builds every target of the workspace, as `cargo xtask test` then finds it, and the components.
pub(crate) fn command() -> Result<()> {
    let mut command = cargo();
    command.env(ADAPTERS_VARIABLE, adapters()?);
    command.arg("build").args(PACKAGES).arg("--all-targets");
    build(command, "the workspace")?;
    for workspace in COMPONENTS {
        build_in(workspace)?;
    }
    Ok(())
}
