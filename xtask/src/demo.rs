//! `cargo xtask demo`: one bucket used over a lattice, in process, and by a NATS client.

use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Result, bail};

use crate::build::{CLI, PROVIDER, programs};
use crate::cargo::target_dir;
use crate::components::{adapters, plain_http_batch};
use crate::{host, setup};

const DEMO: &str = "demo";

/// Builds the programs and a component, and hands the terminal over to the demo.
pub(crate) fn command(args: &[String]) -> Result<ExitCode> {
    if let Some((first, rest)) = args.split_first()
        && first == "--wasmcloud"
    {
        return host::demo(rest);
    }
    if let Some(other) = args.iter().find(|arg| *arg != "--keep") {
        bail!("unknown argument {other:?}; there are --wasmcloud, which comes first, and --keep");
    }
    let begun = Instant::now();
    println!("1/3 nats-server");
    setup::nats_servers()?;
    println!("2/3 a component, which takes about a minute the first time");
    let adapters = adapters()?;
    let component = plain_http_batch()?;
    println!("3/3 the provider and the native host, which takes some minutes the first time");
    let programs = programs(&[PROVIDER, CLI, DEMO], &adapters)?;
    println!("built in {:.0} s\n", begun.elapsed().as_secs_f64());

    let demo = programs.executable(DEMO)?;
    let mut command = Command::new(&demo);
    command
        .args(args)
        .env("TESTKIT_TOOLS", target_dir().join("tools"))
        .env("DEMO_PROVIDER", programs.executable(PROVIDER)?)
        .env("DEMO_EVENTUAL_BATCH", programs.executable(CLI)?)
        .env("DEMO_COMPONENT", component);
    host::hand_over(&mut command, &demo)
}
