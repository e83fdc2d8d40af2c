//! Components for tests of hosts, built when they are first needed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::tools::{target_dir, workspace_root};

const TARGET: &str = "wasm32-wasip2";

/// The name under which `cargo xtask` builds adapters and components.
const PROFILE: &str = "component";

/// The component `name` of a workspace in this repository (`e2e/components`, `examples/http-batch`),
/// built for release. `name` is that of its file, without the extension.
///
/// It is built below the same directory as `cargo xtask components` builds it, so that it is built once.
///
/// # Errors
/// If it cannot be built; the error has what cargo said.
pub fn component(workspace: &str, name: &str) -> Result<PathBuf> {
    let build_dir = target_dir().join("components").join("build");
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .current_dir(workspace_root().join(workspace))
        .env("CARGO_TARGET_DIR", &build_dir)
        .args(["build", "--quiet", "--workspace", "--locked"])
        .args(["--target", TARGET, "--profile", PROFILE])
        .args(["--config", "profile.component.inherits='release'"]);
    // The test's own package is described in variables that build scripts may watch.
    for (variable, _) in std::env::vars_os() {
        if describes_the_test(&variable) {
            command.env_remove(variable);
        }
    }
    let output = command.output().context("cannot start cargo build")?;
    ensure!(
        output.status.success(),
        "{workspace} could not be built (`rustup target add {TARGET}` may be missing):\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let path = built(&build_dir, name);
    ensure!(path.is_file(), "{workspace} has no component {name}");
    Ok(path)
}

fn built(build_dir: &Path, name: &str) -> PathBuf {
    build_dir
        .join(TARGET)
        .join(PROFILE)
        .join(name)
        .with_extension("wasm")
}

fn describes_the_test(variable: &OsString) -> bool {
    variable.to_str().is_some_and(|variable| {
        variable.starts_with("CARGO_PKG_") || variable.starts_with("CARGO_MANIFEST_")
    })
}
