//! Puts the adapter into the program, if there is one to put in.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// Names the adapter's file, which `cargo xtask components` builds.
const VARIABLE: &str = "EVENTUAL_BATCH_ADAPTER";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let adapter = env::var_os(VARIABLE)
        .filter(|path| !path.is_empty())
        .map(PathBuf::from);
    if let Err(error) = embed(adapter.as_deref()) {
        println!("cargo::error={error}");
    }
}

/// Writes what the program includes: the adapter, or nothing.
fn embed(adapter: Option<&Path>) -> Result<(), String> {
    let bytes = match adapter {
        Some(path) => {
            println!("cargo::rerun-if-changed={}", path.display());
            fs::read(path)
                .map_err(|error| format!("{VARIABLE}: cannot read {}: {error}", path.display()))?
        }
        None => Vec::new(),
    };
    let directory = env::var_os("OUT_DIR").ok_or("cargo sets no OUT_DIR")?;
    let copy = Path::new(&directory).join("adapter.wasm");
    fs::write(&copy, bytes).map_err(|error| format!("cannot write {}: {error}", copy.display()))
}
