//! `cargo xtask e2e` and `cargo xtask demo --wasmcloud`: the provider and the components on a real host.
//!
//! The host is in a workspace of its own, `e2e`. Building it takes minutes and gigabytes, so it is
//! built only here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::build::{Built, CLI, PROVIDER, build, programs, programs_of_the_tests};
use crate::cargo::{cargo_in, target_dir};
use crate::cargo_test::cargo_test;
use crate::components::{Components, adapters, run};
use crate::setup;
use crate::summary::Summary;

const WORKSPACE: &str = "e2e";

/// `cargo xtask e2e`: the tests on a real host, and one closing line.
pub(crate) fn command(args: &[String]) -> Result<ExitCode> {
    setup::nats_servers()?;
    let mut summary = Summary::default();
    test(args, &mut summary)?;
    Ok(summary.close())
}

/// Builds what the tests on a real host need, and runs them.
pub(crate) fn test(args: &[String], summary: &mut Summary) -> Result<()> {
    let begun = Instant::now();
    println!("\nbuilding the components and the host (the first time takes ten minutes or so)");
    let programs = programs_of_the_tests(&adapters()?)?;
    let components = Components::begin(&programs)?;
    components.http_batch()?;
    components.python_batch()?;
    components.watcher_index()?;
    components.of_tests()?;
    let archive = pack(&programs, &components)?;
    println!("built in {:.0} s", begun.elapsed().as_secs_f64());
    let mut command = cargo();
    environment(&mut command, &components, &archive);
    command
        .args(["test", "--locked", "--no-fail-fast"])
        .args(args);
    cargo_test(command, summary)
}

/// `cargo xtask demo --wasmcloud`: shows it all at work, and hands the terminal over.
pub(crate) fn demo(args: &[String]) -> Result<ExitCode> {
    setup::nats_servers()?;
    let begun = Instant::now();
    println!("building a wasmCloud host, the provider and a component");
    println!("(the first time takes ten minutes or so and 10 GB of disk)");
    let programs = programs(&[PROVIDER, CLI], &adapters()?)?;
    let components = Components::begin(&programs)?;
    components.http_batch()?;
    let archive = pack(&programs, &components)?;
    let mut command = cargo();
    command.args(["build", "--bin", "demo"]);
    let demo = build(command, "the demo")?.executable("demo")?;
    println!("built in {:.0} s\n", begun.elapsed().as_secs_f64());

    let mut command = Command::new(&demo);
    environment(&mut command, &components, &archive);
    hand_over(command.args(args), &demo)
}

/// Becomes this program, so that a signal from the terminal reaches nobody else.
#[cfg(unix)]
pub(crate) fn hand_over(command: &mut Command, program: &Path) -> Result<ExitCode> {
    use std::os::unix::process::CommandExt as _;
    Err(command.exec()).with_context(|| format!("cannot start {}", program.display()))
}

#[cfg(not(unix))]
pub(crate) fn hand_over(command: &mut Command, program: &Path) -> Result<ExitCode> {
    run(command, &program.display().to_string()).map(|()| ExitCode::SUCCESS)
}

/// The host's workspace is linted as it is built. A build of its own for that would link the host into
/// each program once more.
fn cargo() -> Command {
    let mut command = cargo_in(WORKSPACE, &target_dir().join(WORKSPACE));
    command.env("RUSTC_WORKSPACE_WRAPPER", "clippy-driver");
    command
}

/// Packs the provider into the archive that a host starts.
fn pack(programs: &Built, components: &Components) -> Result<PathBuf> {
    let provider = programs.executable(PROVIDER)?;
    let archive = components.dir().join("provider.par.gz");
    let mut command = cargo();
    command.args(["build", "--bin", "pack"]);
    let pack = build(command, "the host")?.executable("pack")?;
    let mut command = Command::new(pack);
    command.arg(provider).arg(&archive);
    run(&mut command, "packing the provider")?;
    Ok(archive)
}

/// Where the tests and the demo find what is built. Child processes find the tools and the builds
/// by these, whatever their own target directory is.
fn environment(command: &mut Command, components: &Components, archive: &Path) {
    // Hosts and servers leave files in it when they are killed.
    let temporary = target_dir().join(WORKSPACE).join("tmp");
    if fs::create_dir_all(&temporary).is_ok() {
        command.env("TMPDIR", temporary);
    }
    command
        .env("TESTKIT_TOOLS", target_dir().join("tools"))
        .env("E2E_COMPONENTS", components.dir())
        .env("E2E_PROVIDER", archive)
        .env("E2E_EVENTUAL_BATCH", components.cli())
        // A host prints its errors with their backtraces, and tests make many.
        .env("RUST_BACKTRACE", "0");
}
