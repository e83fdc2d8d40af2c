//! Puts the adapters into the program, if there are any to put in.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// Names the directory with the adapters, which `cargo xtask components` builds.
const VARIABLE: &str = "EVENTUAL_BATCH_ADAPTERS";

/// The adapter of each shape of `wasi:keyvalue@0.1.0`.
const ADAPTERS: [&str; 2] = [
    "eventual_batch_adapter.wasm",
    "eventual_batch_adapter_older.wasm",
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let directory = env::var_os(VARIABLE)
        .filter(|path| !path.is_empty())
        .map(PathBuf::from);
    for adapter in ADAPTERS {
        if let Err(error) = embed(directory.as_deref(), adapter) {
            println!("cargo::error={error}");
        }
    }
}

/// Writes what the program includes: the adapter, or nothing.
fn embed(directory: Option<&Path>, adapter: &str) -> Result<(), String> {
    let bytes = match directory.map(|directory| directory.join(adapter)) {
        Some(path) => {
            println!("cargo::rerun-if-changed={}", path.display());
            fs::read(&path)
                .map_err(|error| format!("{VARIABLE}: cannot read {}: {error}", path.display()))?
        }
        None => Vec::new(),
    };
    let out = env::var_os("OUT_DIR").ok_or("cargo sets no OUT_DIR")?;
    let copy = Path::new(&out).join(adapter);
    fs::write(&copy, bytes).map_err(|error| format!("cannot write {}: {error}", copy.display()))
}
