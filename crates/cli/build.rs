//! Puts the adapters into the program, if there are any to put in.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// For each shape of `wasi:keyvalue@0.1.0` the variable that names its adapter's file, and what the
/// program includes. `cargo xtask components` builds the adapters.
const ADAPTERS: [(&str, &str); 2] = [
    ("EVENTUAL_BATCH_ADAPTER", "adapter.wasm"),
    ("EVENTUAL_BATCH_ADAPTER_OLDER", "adapter_older.wasm"),
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for (variable, included) in ADAPTERS {
        if let Err(error) = embed(variable, included) {
            println!("cargo::error={error}");
        }
    }
}

/// Writes what the program includes: the adapter, or nothing.
fn embed(variable: &str, included: &str) -> Result<(), String> {
    println!("cargo::rerun-if-env-changed={variable}");
    let adapter = env::var_os(variable).filter(|path| !path.is_empty());
    let bytes = match adapter.map(PathBuf::from) {
        Some(path) => {
            println!("cargo::rerun-if-changed={}", path.display());
            fs::read(&path)
                .map_err(|error| format!("{variable}: cannot read {}: {error}", path.display()))?
        }
        None => Vec::new(),
    };
    let directory = env::var_os("OUT_DIR").ok_or("cargo sets no OUT_DIR")?;
    let copy = Path::new(&directory).join(included);
    fs::write(&copy, bytes).map_err(|error| format!("cannot write {}: {error}", copy.display()))
}
