//! `cargo xtask demo`: builds the provider and the demo, and runs the one with the other.
//!
//! The demo itself is the example `demo` of the package `testkit`; it is no part of this crate,
//! so that the other commands need not wait for its dependencies.

use std::env;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::cargo::{cargo, in_workspace};
use crate::setup;

const PROVIDER: &str = "eventual-batch-nats-provider";
const DEMO: &str = "demo";
const PROVIDER_VARIABLE: &str = "TESTKIT_PROVIDER";

/// Sets up, builds, and hands `args` and the terminal over to the demo.
pub(crate) fn command(args: &[String]) -> Result<ExitCode> {
    setup::nats_servers()?;
    let begun = Instant::now();
    println!("building the provider and the demo (the first time takes some minutes)");
    let executables = build()?;
    println!("built in {:.0} s", begun.elapsed().as_secs_f64());

    let mut demo = in_workspace(&executables.demo);
    // A person may show another build of the provider, by the variable that testkit has for it.
    if env::var_os(PROVIDER_VARIABLE).is_none() {
        demo.env(PROVIDER_VARIABLE, &executables.provider);
    }
    let status = demo
        .args(args)
        .status()
        .with_context(|| format!("cannot start {}", executables.demo.display()))?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        eprintln!("error: the demo ended with {status}");
        ExitCode::FAILURE
    })
}

struct Executables {
    provider: PathBuf,
    demo: PathBuf,
}

/// Builds both in one go, so that they share every dependency, with the same features as a test
/// run has; and has cargo itself say where they are, whatever its configuration.
fn build() -> Result<Executables> {
    let output = cargo()
        .args([
            "build",
            "--locked",
            "--package",
            PROVIDER,
            "--package",
            "testkit",
        ])
        .args(["--bin", PROVIDER, "--example", DEMO])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo build")?;
    if !output.status.success() {
        bail!("the provider or the demo could not be built; cargo says why above");
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let executable = |name: &str| {
        executable(&messages, name).with_context(|| format!("cargo built no executable {name}"))
    };
    Ok(Executables {
        provider: executable(PROVIDER)?,
        demo: executable(DEMO)?,
    })
}

/// The path that cargo gives for the executable of a target, in its messages of one line each.
fn executable(messages: &str, target: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == target)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_executable_of_a_target() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"demo"},"executable":null}
not json
{"reason":"compiler-artifact","target":{"name":"other"},"executable":"/t/other"}
{"reason":"compiler-artifact","target":{"name":"demo"},"executable":"/t/examples/demo"}
{"reason":"build-finished","success":true}"#;
        let found = executable(messages, "demo");
        assert_eq!(found, Some(PathBuf::from("/t/examples/demo")));
        assert_eq!(executable(messages, "absent"), None);
    }
}
