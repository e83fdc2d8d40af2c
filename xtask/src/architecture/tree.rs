//! What the library crates are built from.

use anyhow::{Context as _, Result, bail};

use crate::cargo::cargo;

/// What a library must not be built from, by the beginnings of package names: other layers' worlds.
const FORBIDDEN: [&str; 5] = ["wasmcloud", "wrpc", "wasmtime", "wit-", "wasm-encoder"];

/// What decides for the whole program: only a binary may choose these.
const FORBIDDEN_FEATURES: [&str; 2] = ["max_level_", "release_max_level_"];
const ALLOCATORS: [&str; 2] = ["mimalloc", "tikv-jemallocator"];

/// Each library crate, and the crates of the workspace that it may be built from.
const LAYERS: [(&str, &[&str]); 2] = [
    ("eventual-batch-engine", &[]),
    ("eventual-batch-links", &["eventual-batch-engine"]),
];

/// One line for each package in a library's dependency tree that may not be there.
pub(super) fn breaches() -> Result<Vec<String>> {
    let mut breaches = Vec::new();
    for (library, below) in LAYERS {
        breaches.extend(breaches_in(&tree(library)?, library, below));
    }
    Ok(breaches)
}

/// Every package that the library is built from on this platform: `name version (path) features`.
fn tree(library: &str) -> Result<String> {
    let output = cargo()
        .args([
            "tree",
            "--locked",
            "--package",
            library,
            "--edges",
            "normal",
        ])
        .args(["--prefix", "none", "--no-dedupe"])
        .args(["--format", "{p} {f}"])
        .output()
        .context("cannot start cargo tree")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("cargo tree failed for {library}: {}", said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn breaches_in(tree: &str, library: &str, below: &[&str]) -> Vec<String> {
    let mut lines: Vec<&str> = tree.lines().collect();
    lines.sort_unstable();
    lines.dedup();
    let mut breaches = Vec::new();
    for line in lines {
        let mut words = line.split(' ');
        let name = words.next().unwrap_or_default();
        // Only packages of the workspace have a path.
        let of_the_workspace = line.contains(" (/") || line.contains(":\\");
        let stranger = FORBIDDEN.iter().any(|start| name.starts_with(start))
            || ALLOCATORS.contains(&name)
            || (of_the_workspace && name != library && !below.contains(&name));
        if stranger {
            breaches.push(format!("{library} is built from {name}"));
        }
        let features = words.next_back().unwrap_or_default();
        for feature in features.split(',') {
            if FORBIDDEN_FEATURES
                .iter()
                .any(|start| feature.starts_with(start))
            {
                breaches.push(format!(
                    "{library} turns on {name}/{feature} for all of a program"
                ));
            }
        }
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_may_not_be_there() {
        let tree = "links v0.1.0 (/w/crates/links) \n\
                    engine v0.1.0 (/w/crates/engine) default\n\
                    tokio v1.0.0 default,rt\n\
                    tracing v0.1.0 default,max_level_debug,std\n\
                    wasmcloud-core v0.21.0 \n\
                    wasmcloud-core v0.21.0 \n\
                    testkit v0.1.0 (/w/crates/testkit) ";
        assert_eq!(
            breaches_in(&tree[..tree.find("tracing").unwrap()], "links", &["engine"]),
            [""; 0]
        );
        assert_eq!(
            breaches_in(tree, "links", &[]),
            [
                "links is built from engine",
                "links is built from testkit",
                "links turns on tracing/max_level_debug for all of a program",
                "links is built from wasmcloud-core",
            ]
        );
    }
}
