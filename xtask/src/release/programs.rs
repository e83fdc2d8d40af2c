//! The optimized programs of a release, for other machines than this one too.
//!
//! zig is the C compiler and the linker. It has the C libraries of all targets with it, of any version,
//! so the programs do not need the C library of the machine that builds them.

use std::env;
use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::linux_target::LinuxTarget;
use crate::build::{ADAPTERS_VARIABLE, Built, CLI, PROVIDER, build as built_by};
use crate::cargo::{cargo, target_dir};
use crate::components::add_target;
use crate::setup;

/// Builds the provider and the command line for each target.
pub(crate) fn build(targets: &[LinuxTarget], adapters: &Path) -> Result<Vec<(LinuxTarget, Built)>> {
    let tools = setup::zigbuild()?;
    let path = with_first(&tools.join("bin"))?;
    let cache = target_dir().join("zig-cache");
    let mut built = Vec::new();
    for target in targets {
        add_target(target.triple())?;
        println!("  {}", target.of_host());
        let mut command = cargo();
        command
            .env("PATH", &path)
            .env("CARGO_ZIGBUILD_ZIG_PATH", tools.join("ziglang/zig"))
            .env("CARGO_ZIGBUILD_CACHE_DIR", &cache)
            .env("ZIG_GLOBAL_CACHE_DIR", &cache)
            .env(ADAPTERS_VARIABLE, adapters)
            .args(["zigbuild", "--release"])
            .args(["--target", &target.triple_with_glibc()])
            .args(["--package", PROVIDER, "--package", CLI])
            .args(["--bin", PROVIDER, "--bin", CLI]);
        let what = format!("the programs for {}", target.of_host());
        built.push((*target, built_by(command, &what)?));
    }
    Ok(built)
}

/// The variable `PATH` with this directory before all others.
pub(crate) fn with_first(directory: &Path) -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(directory.to_owned()).chain(env::split_paths(&path));
    env::join_paths(all).with_context(|| format!("{} cannot be in PATH", directory.display()))
}
