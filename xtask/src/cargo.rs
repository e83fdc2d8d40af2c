//! Where the workspace and its target directory are, and how to start cargo in them.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The workspace's root directory.
pub(crate) fn workspace_root() -> PathBuf {
    // `cargo run` sets the variable to where the package is now; what was compiled in may be older.
    let manifest_dir = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest_dir
        .parent()
        .map_or_else(|| manifest_dir.clone(), Path::to_path_buf)
}

/// The directory that the tools go below: `CARGO_TARGET_DIR`, else `target` in the workspace.
pub(crate) fn target_dir() -> PathBuf {
    target_dir_variable().unwrap_or_else(|| workspace_root().join("target"))
}

/// `CARGO_TARGET_DIR`, made absolute.
fn target_dir_variable() -> Option<PathBuf> {
    let dir = env::var_os("CARGO_TARGET_DIR").filter(|dir| !dir.is_empty())?;
    // Cargo takes a relative path from the directory it is started in, which is also ours.
    Some(std::path::absolute(&dir).unwrap_or_else(|_| PathBuf::from(dir)))
}

/// A program to be started in the workspace's root.
///
/// It means the same target directory as we do, though it runs in another directory.
pub(crate) fn in_workspace(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(workspace_root());
    if let Some(dir) = target_dir_variable() {
        command.env("CARGO_TARGET_DIR", dir);
    }
    command
}

/// A cargo to be started in another workspace of this repository, that builds below our target
/// directory.
pub(crate) fn cargo_in(workspace: &str, target: &Path) -> Command {
    let mut command = cargo();
    command.current_dir(workspace_root().join(workspace));
    command.env("CARGO_TARGET_DIR", target);
    command
}

/// A cargo to be started in the workspace's root.
pub(crate) fn cargo() -> Command {
    let mut command = in_workspace(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // `cargo run` describes this package to us in variables. Build scripts that watch them would
    // run again, with all that depends on them, each time a person changes between `cargo test`
    // and `cargo xtask test`.
    for (name, _) in env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| describes_a_package(name) || signs(name))
        {
            command.env_remove(name);
        }
    }
    command
}

/// Whether it is a key that signs a release, which no build script is to see.
fn signs(variable: &str) -> bool {
    ["WASH_ISSUER_KEY", "WASH_SUBJECT_KEY"].contains(&variable)
}

fn describes_a_package(variable: &str) -> bool {
    ["CARGO_PKG_", "CARGO_MANIFEST_"]
        .iter()
        .any(|prefix| variable.starts_with(prefix))
        || [
            "CARGO_BIN_NAME",
            "CARGO_CRATE_NAME",
            "CARGO_PRIMARY_PACKAGE",
        ]
        .contains(&variable)
}
