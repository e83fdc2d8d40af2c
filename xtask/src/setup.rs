//! `cargo xtask setup`: everything that the tests and the demo need besides Rust and pip.

use std::fs::{self, File, TryLockError};
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::cargo::{cargo, target_dir};
use crate::nats_server::{NatsServer, PINNED, remove_unfinished};
use crate::pip::Pip;

/// Sets up, and looks for the tools that only `.ci/run` needs.
pub(crate) fn command() -> Result<()> {
    nats_servers()?;
    for component in ["rustfmt", "clippy"] {
        let subcommand = component.trim_start_matches("rust");
        let found = cargo()
            .args([subcommand, "--version"])
            .output()
            .is_ok_and(|output| output.status.success());
        if !found {
            println!(
                "note: {component} is missing, which .ci/run needs: `rustup component add {component}`"
            );
        }
    }
    Ok(())
}

/// Makes sure that every pinned nats-server is at
/// `<target>/tools/nats-server/<version>/nats-server`.
///
/// It may run more than once at a time: one run works, the others wait for it.
pub(crate) fn nats_servers() -> Result<()> {
    let servers = target_dir().join("tools").join("nats-server");
    fs::create_dir_all(&servers).with_context(|| format!("cannot create {}", servers.display()))?;
    // Taken even if nothing is missing: what looks whole may be about to be replaced.
    let _lock = lock(&servers.join(".lock"))?;

    let missing: Vec<&NatsServer> = PINNED
        .iter()
        .filter(|server| !server.is_installed(&servers))
        .collect();
    if missing.is_empty() {
        println!("set up: {}", versions());
        return Ok(());
    }
    println!("setting up in {}", servers.display());
    remove_unfinished(&servers)?;
    let pip = Pip::find()?;
    for server in missing {
        server.install(&pip, &servers)?;
    }
    println!("set up: {}", versions());
    Ok(())
}

fn versions() -> String {
    let versions: Vec<&str> = PINNED.iter().map(|server| server.version).collect();
    format!("nats-server {}", versions.join(", "))
}

/// Holds the lock until what it returns is dropped, or the process ends in whatever way.
fn lock(path: &Path) -> Result<File> {
    let context = || format!("cannot lock {}", path.display());
    let file = File::create(path).with_context(context)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            println!("another set-up is at work here; waiting for it");
            file.lock().with_context(context)?;
        }
        Err(TryLockError::Error(error)) => return Err(error).with_context(context),
    }
    Ok(file)
}
