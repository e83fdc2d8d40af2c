//! Builds, and what comes out of them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::cargo::cargo;

/// The name of the provider's package and binary.
pub(crate) const PROVIDER: &str = "eventual-batch-nats-provider";

/// The name of the program that serves components, and composes them with the adapter.
pub(crate) const CLI: &str = "eventual-batch";

/// Names the directory with the adapters that are built into [`CLI`]. All builds name the same one:
/// another value compiles the program anew.
pub(crate) const ADAPTERS_VARIABLE: &str = "EVENTUAL_BATCH_ADAPTERS";

/// The packages of every build: all but the adapters, which are linked for WebAssembly alone. With
/// other packages cargo gives dependencies other features, and compiles a third of them once more.
pub(crate) const PACKAGES: [&str; 5] = [
    "--workspace",
    "--exclude",
    "eventual-batch-adapter",
    "--exclude",
    "eventual-batch-adapter-older",
];

/// What cargo said of a build, in its messages of one line each: it knows best where its files
/// are, whatever its configuration.
pub(crate) struct Built(String);

/// Runs this `cargo build` or `cargo test --no-run`; what it has to say goes to the terminal as it comes.
pub(crate) fn build(mut command: Command, what: &str) -> Result<Built> {
    let output = command
        .args(["--locked", "--message-format=json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!("{what} could not be built; cargo says why above");
    }
    Ok(Built(String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// The workspace's programs, from the build that `cargo test` makes.
///
/// A `cargo build` of the programs alone gives some dependencies other features, and compiles a
/// third of all dependencies once more.
pub(crate) fn programs_of_the_tests(adapters: &Path) -> Result<Built> {
    let mut command = cargo();
    command.env(ADAPTERS_VARIABLE, adapters);
    command.arg("test").args(PACKAGES).arg("--no-run");
    build(command, "the tests")
}

/// Some of the workspace's programs alone, for a person who runs no tests.
pub(crate) fn programs(names: &[&str], adapters: &Path) -> Result<Built> {
    let mut command = cargo();
    command.env(ADAPTERS_VARIABLE, adapters);
    command.arg("build").args(PACKAGES);
    for name in names {
        command.args(["--bin", name]);
    }
    build(command, &names.join(" or "))
}

impl Built {
    /// The executable of a target, and not that of the tests inside it.
    pub(crate) fn executable(&self, target: &str) -> Result<PathBuf> {
        self.of(target)
            .filter(|message| message["profile"]["test"] != true)
            .find_map(|message| message["executable"].as_str().map(PathBuf::from))
            .with_context(|| format!("cargo built no executable {target}"))
    }

    /// The WebAssembly file of a target.
    pub(crate) fn wasm(&self, target: &str) -> Result<PathBuf> {
        self.of(target)
            .flat_map(|message| message["filenames"].as_array().cloned().unwrap_or_default())
            .filter_map(|name| name.as_str().map(PathBuf::from))
            .find(|path| path.extension() == Some(OsStr::new("wasm")))
            .with_context(|| format!("cargo built no component {target}"))
    }

    fn of(&self, target: &str) -> impl Iterator<Item = Value> {
        self.0
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(move |message| message["target"]["name"] == target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGES: &str = r#"{"reason":"compiler-artifact","target":{"name":"demo"},"executable":null,"filenames":["/t/demo.d"]}
not json
{"reason":"compiler-artifact","target":{"name":"other"},"executable":"/t/other"}
{"reason":"compiler-artifact","target":{"name":"demo"},"profile":{"test":true},"executable":"/t/deps/demo-1"}
{"reason":"compiler-artifact","target":{"name":"demo"},"profile":{"test":false},"executable":"/t/examples/demo"}
{"reason":"compiler-artifact","target":{"name":"part"},"executable":null,"filenames":["/t/part.d","/t/part.wasm"]}
{"reason":"build-finished","success":true}"#;

    #[test]
    fn finds_the_files_of_a_target() -> Result<()> {
        let built = Built(MESSAGES.to_owned());
        assert_eq!(built.executable("demo")?, PathBuf::from("/t/examples/demo"));
        assert_eq!(built.wasm("part")?, PathBuf::from("/t/part.wasm"));
        assert!(built.executable("absent").is_err());
        assert!(built.wasm("other").is_err());
        Ok(())
    }
}
