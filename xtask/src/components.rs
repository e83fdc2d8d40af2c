//! `cargo xtask components`: the adapters, and the examples composed with them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::build::{Built, CLI, build, programs};
use crate::cargo::{cargo_in, in_workspace, target_dir, workspace_root};
use crate::setup;

/// What components are built for.
pub(crate) const TARGET: &str = "wasm32-wasip2";

/// The adapters of both shapes of `wasi:keyvalue@0.1.0`, by the names of their files.
pub(crate) const ADAPTERS: [&str; 2] = ["eventual_batch_adapter", "eventual_batch_adapter_older"];

/// The workspaces of components beside the main one.
pub(crate) const COMPONENTS: [&str; 3] = [
    "e2e/components",
    "examples/http-batch",
    "examples/watcher-index",
];

/// The components, each at `<name>.wasm`, and the adapters beside them.
pub(crate) struct Components {
    dir: PathBuf,
    cli: PathBuf,
}

/// Builds the adapters, and says in which directory they are.
pub(crate) fn adapters() -> Result<PathBuf> {
    add_target(TARGET)?;
    let mut command = cargo_in(".", &build_dir()?);
    command.args(["build", "--profile", "component", "--target", TARGET]);
    for adapter in ADAPTERS {
        command.args(["--package", &adapter.replace('_', "-")]);
    }
    let all = build(command, "the adapters")?;
    let directory = directory()?;
    for adapter in ADAPTERS {
        let built = all.wasm(adapter)?;
        let copied = directory.join(adapter).with_extension("wasm");
        // A file that is written anew makes cargo build the program again that includes it.
        if fs::read(&copied).ok() != fs::read(&built).ok() {
            copy(&built, &copied)?;
        }
    }
    Ok(directory)
}

fn directory() -> Result<PathBuf> {
    let dir = target_dir().join("components");
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    Ok(dir)
}

/// Where cargo builds the adapters and the components.
fn build_dir() -> Result<PathBuf> {
    Ok(directory()?.join("build"))
}

/// Builds the Rust example, not composed with anything.
pub(crate) fn plain_http_batch() -> Result<PathBuf> {
    add_target(TARGET)?;
    build_in("examples/http-batch")?.wasm("http_batch")
}

/// Builds the component of the benches, not composed with anything.
pub(crate) fn bench_component() -> Result<PathBuf> {
    add_target(TARGET)?;
    build_in("e2e/components")?.wasm("bench")
}

/// Builds the components of this workspace.
pub(crate) fn build_in(workspace: &str) -> Result<Built> {
    let mut command = cargo_in(workspace, &build_dir()?);
    command.args(["build", "--workspace", "--target", TARGET]);
    // Their `--release`, by the name of the adapters' profile: so macros are compiled once for both.
    command.args(["--profile", "component"]);
    command.args(["--config", "profile.component.inherits='release'"]);
    build(command, workspace)
}

/// Builds all of them and says where they are.
pub(crate) fn command() -> Result<()> {
    let components = Components::begin(&programs(&[CLI], &adapters()?)?)?;
    components.http_batch()?;
    components.python_batch()?;
    components.watcher_index()?;
    println!("components: {}", components.dir.display());
    Ok(())
}

impl Components {
    /// None yet. One of the programs composes them, with the adapters that it was built with.
    pub(crate) fn begin(programs: &Built) -> Result<Self> {
        Ok(Self {
            dir: directory()?,
            cli: programs.executable(CLI)?,
        })
    }

    /// Where the components are.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The program that composed them.
    pub(crate) fn cli(&self) -> &Path {
        &self.cli
    }

    /// The Rust example.
    pub(crate) fn http_batch(&self) -> Result<()> {
        let built = build_in("examples/http-batch")?;
        self.compose(&built.wasm("http_batch")?, "http-batch")
    }

    /// The example that is told of changes. It needs no adapter.
    pub(crate) fn watcher_index(&self) -> Result<()> {
        let built = build_in("examples/watcher-index")?;
        copy(&built.wasm("watcher_index")?, &self.path("watcher-index"))
    }

    /// The Python example. Its compiler is fetched by pip.
    pub(crate) fn python_batch(&self) -> Result<()> {
        let compiler = setup::componentize_py()?;
        let example = workspace_root().join("examples/python-batch");
        let plain = build_dir()?.join("python_batch.wasm");
        println!("  python-batch: compiling, which takes a while");
        let mut command = in_workspace(compiler.join("bin/componentize-py"));
        command
            .env("PYTHONPATH", &compiler)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .current_dir(&example)
            .args(["--quiet", "-d", "wit", "-w", "python-batch"])
            .args(["componentize", "app", "-o"])
            .arg(&plain);
        run(&mut command, "componentize-py")?;
        self.compose(&plain, "python-batch")
    }

    /// What only the tests use.
    pub(crate) fn of_tests(&self) -> Result<()> {
        let built = build_in("e2e/components")?;
        copy(&built.wasm("counter")?, &self.path("counter"))?;
        copy(&built.wasm("draft_all")?, &self.path("draft-all"))?;
        copy(&built.wasm("draft_batch")?, &self.path("draft-batch"))?;
        copy(&built.wasm("told")?, &self.path("told"))?;
        self.compose(&built.wasm("bench")?, "bench")?;
        self.compose(&built.wasm("edges")?, "edges")?;
        self.compose(&built.wasm("single_keys")?, "single-keys")?;
        self.compose(&built.wasm("single_keys_older")?, "single-keys-older")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name).with_extension("wasm")
    }

    fn compose(&self, component: &Path, name: &str) -> Result<()> {
        let mut command = in_workspace(&self.cli);
        command.arg("compose").arg(component);
        command.arg("-o").arg(self.path(name));
        run(&mut command, "eventual-batch compose")
    }
}

/// Makes sure that rustup has Rust's standard library for this target.
pub(crate) fn add_target(target: &str) -> Result<()> {
    let mut rustc = in_workspace("rustc");
    rustc.args(["--print", "target-libdir", "--target", target]);
    let output = rustc.output().context("cannot start rustc")?;
    if Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir() {
        return Ok(());
    }
    println!("fetching Rust's standard library for {target}");
    let mut rustup = in_workspace("rustup");
    rustup.args(["target", "add", target]);
    run(&mut rustup, "rustup target add")
}

pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// Runs a command to its end, with the terminal.
pub(crate) fn run(command: &mut Command, what: &str) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {what}"))?;
    ensure!(status.success(), "{what} failed; it says why above");
    Ok(())
}
