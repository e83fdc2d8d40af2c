//! Bills of materials: what each program is made of, by `CycloneDX`.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::linux_target::LinuxTarget;
use super::programs::with_first;
use crate::build::{CLI, PROVIDER};
use crate::cargo::{cargo, target_dir, workspace_root};
use crate::components::{ADAPTERS, TARGET, run};

/// Of cargo-cyclonedx.
const TOOL_VERSION: &str = "0.5.9";

/// Writes a file for each program of each target, and for each adapter.
pub(crate) fn write(targets: &[LinuxTarget], version: &str, into: &Path) -> Result<()> {
    let path = with_first(&tool()?)?;
    for target in targets {
        let wanted = |package: &str| {
            let package = [PROVIDER, CLI].into_iter().find(|name| *name == package)?;
            Some(target.name_of(package, version))
        };
        describe(target.triple(), &path, wanted, into)?;
    }
    let adapter = |package: &str| {
        let package = package.replace('-', "_");
        ADAPTERS.contains(&package.as_str()).then_some(package)
    };
    describe(TARGET, &path, adapter, into)
}

/// Describes every package of the workspace for a target, and keeps those that are wanted, under the
/// names that `wanted` gives.
///
/// The tool knows no choice of packages, and writes beside each package's manifest.
fn describe(
    triple: &str,
    path: &OsStr,
    wanted: impl Fn(&str) -> Option<String>,
    into: &Path,
) -> Result<()> {
    let mut command = cargo();
    command.env("PATH", path).args(["cyclonedx", "--quiet"]);
    command.args(["--format", "json", "--spec-version", "1.5"]);
    command.args(["--target", triple]);
    run(&mut command, "cargo cyclonedx")?;
    let root = workspace_root();
    for (package, directory) in packages()? {
        let written = directory.join(format!("{package}.cdx.json"));
        let text = fs::read_to_string(&written)
            .with_context(|| format!("cannot read {}", written.display()))?;
        fs::remove_file(&written)
            .with_context(|| format!("cannot remove {}", written.display()))?;
        if let Some(name) = wanted(&package) {
            let kept = into.join(format!("{name}.cdx.json"));
            fs::write(&kept, without_directory(&text, &root))
                .with_context(|| format!("cannot write {}", kept.display()))?;
        }
    }
    Ok(())
}

/// Each package of the workspace, and the directory of its manifest.
fn packages() -> Result<Vec<(String, PathBuf)>> {
    let mut command = cargo();
    command.args(["metadata", "--no-deps", "--locked", "--format-version", "1"]);
    let output = command.output().context("cannot start cargo metadata")?;
    ensure!(
        output.status.success(),
        "cargo metadata failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let metadata: Value =
        serde_json::from_slice(&output.stdout).context("cargo metadata wrote no JSON")?;
    Ok(manifests(&metadata))
}

fn manifests(metadata: &Value) -> Vec<(String, PathBuf)> {
    let packages = metadata["packages"].as_array();
    let package = |package: &Value| {
        let directory = Path::new(package["manifest_path"].as_str()?).parent()?;
        Some((package["name"].as_str()?.to_owned(), directory.to_owned()))
    };
    packages.into_iter().flatten().filter_map(package).collect()
}

/// The same without the directory that the workspace is in on this machine.
fn without_directory(text: &str, root: &Path) -> String {
    text.replace(&format!("file://{}", root.display()), "file://")
}

/// The directory with the tool, which is built if it is not there.
fn tool() -> Result<PathBuf> {
    let root = target_dir()
        .join("tools/cargo-cyclonedx")
        .join(TOOL_VERSION);
    let directory = root.join("bin");
    if !directory.join("cargo-cyclonedx").is_file() {
        println!("  cargo-cyclonedx: building {TOOL_VERSION}, which takes a minute or two");
        let mut command = cargo();
        // A target directory of its own, removed afterwards. It runs for seconds, so a build that is
        // not optimized is done sooner.
        command.env_remove("CARGO_TARGET_DIR");
        command.args(["install", "--quiet", "--locked", "--debug"]);
        command
            .args(["--version", TOOL_VERSION, "--root"])
            .arg(&root);
        run(
            command.arg("cargo-cyclonedx"),
            "cargo install cargo-cyclonedx",
        )?;
    }
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_is_found_with_its_directory() {
        let metadata = serde_json::json!({"packages": [
            {"name": "one", "manifest_path": "/w/Cargo.toml"},
            {"name": "two", "manifest_path": "/w/crates/two/Cargo.toml"},
        ]});
        let expected = [
            ("one".to_owned(), PathBuf::from("/w")),
            ("two".to_owned(), PathBuf::from("/w/crates/two")),
        ];
        assert_eq!(manifests(&metadata), expected);
    }

    #[test]
    fn a_bill_names_no_directory_of_this_machine() {
        let text = r#""bom-ref": "path+file:///home/me/w/crates/two#1.2.3""#;
        let root = Path::new("/home/me/w");
        assert_eq!(
            without_directory(text, root),
            r#""bom-ref": "path+file:///crates/two#1.2.3""#
        );
    }
}
