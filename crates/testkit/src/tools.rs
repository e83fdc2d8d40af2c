use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// The environment variable that names the folder with the tools, in place of `target/tools`.
pub const TOOLS_ENV: &str = "TESTKIT_TOOLS";

/// The versions of `nats-server` that the provider is tested with, oldest first.
pub const NATS_VERSIONS: &[&str] = &[OLDEST, "2.11.11", "2.12.8", NEWEST];

/// The oldest of [`NATS_VERSIONS`].
pub const OLDEST: &str = "2.10.26";

/// The newest of [`NATS_VERSIONS`].
pub const NEWEST: &str = "2.15.1";

/// The folder that holds the tools: `$TESTKIT_TOOLS`, or `tools` in cargo's target folder.
#[must_use]
pub fn tools_dir() -> PathBuf {
    if let Some(dir) = env::var_os(TOOLS_ENV) {
        return dir.into();
    }
    target_dir().join("tools")
}

/// The root of the workspace.
pub(crate) fn workspace_root() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).unwrap_or(manifest)
}

/// Cargo's target folder.
pub(crate) fn target_dir() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    workspace_root().join(target)
}

/// The `nats-server` binary of one version.
///
/// # Errors
/// If it has not been set up; the error names the command that does it.
pub fn nats_server_binary(version: &str) -> Result<PathBuf> {
    let path = tools_dir()
        .join("nats-server")
        .join(version)
        .join("nats-server");
    if !path.is_file() {
        bail!(
            "nats-server {version} is not at {}: run `cargo xtask setup`",
            path.display()
        );
    }
    Ok(path)
}
