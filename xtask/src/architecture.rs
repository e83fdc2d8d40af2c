//! `cargo xtask architecture`: the rules of ARCHITECTURE.md that a command can prove.

mod circles;
mod files;
mod imports;
mod names;
mod tokens;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::cargo::workspace_root;
use imports::Modules;

/// The library crates that any host can use.
const LIBRARIES: [&str; 2] = ["crates/engine", "crates/links"];

/// Checks all rules, and prints each breach.
pub(crate) fn command() -> Result<()> {
    let mut breaches = tree::breaches()?;
    let root = workspace_root();
    for krate in crates(&root)? {
        let src = krate.join("src");
        let name = src.strip_prefix(&root).unwrap_or(&src).display();
        for circle in Modules::read(&src)?.circles() {
            breaches.push(format!(
                "{name}: modules import each other in a circle, {circle}"
            ));
        }
    }
    breaches.extend(statics()?);
    breaches.extend(names::breaches()?);
    if breaches.is_empty() {
        println!("layers, imports, statics and names: as ARCHITECTURE.md says");
        return Ok(());
    }
    for breach in &breaches {
        println!("{breach}");
    }
    bail!(
        "{} breaches of the rules in ARCHITECTURE.md",
        breaches.len()
    )
}

/// The directory of every crate of the workspace.
fn crates(root: &Path) -> Result<Vec<PathBuf>> {
    let mut crates = vec![root.to_owned(), root.join("benches"), root.join("xtask")];
    let dir = root.join("crates");
    for entry in fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        if path.join("src").is_dir() {
            crates.push(path);
        }
    }
    crates.sort();
    Ok(crates)
}

/// The libraries have no process-wide state: limits and counters belong to a value that their user
/// makes.
fn statics() -> Result<Vec<String>> {
    let mut breaches = Vec::new();
    for library in LIBRARIES {
        for file in files::rust_files(&workspace_root().join(library).join("src"))? {
            let text = fs::read_to_string(&file)?;
            let tokens = tokens::tokens(&text);
            if tokens
                .iter()
                .any(|token| ["static", "thread_local"].contains(token))
            {
                let file = file.strip_prefix(workspace_root()).unwrap_or(&file);
                breaches.push(format!("{}: a library has no static item", file.display()));
            }
        }
    }
    Ok(breaches)
}
