//! The project's commands, run as `cargo xtask <command>`.
//!
//! They need rustup and Python's pip, and fetch what else they need, pinned and checked.

mod all;
mod architecture;
mod bench;
mod build;
mod cargo;
mod cargo_test;
mod chaos;
mod components;
mod demo;
mod doc_test_server;
mod host;
mod nats_server;
mod pip;
mod release;
mod setup;
mod simulate;
mod summary;
mod test;

use std::process::ExitCode;

const USAGE: &str = "\
Usage: cargo xtask <command> [arguments]

Commands:
  demo [--keep]   set up, build, and show one bucket used over a lattice, by a component in
                  process, and by a NATS client; --keep leaves it running
  demo --wasmcloud [--keep] [--component FILE]
                  show a component on a real wasmCloud host, which takes ten minutes or more to
                  build; --component runs one of yours there
  test            set up, run all tests and sum up their results
  test ARGS       the same without the tests on a real host; ARGS go to `cargo test`
  e2e [ARGS]      only the tests on a real host; ARGS go to `cargo test`
  bench [ARGS]    build for speed and measure, for about ten minutes; `bench --help` says more
  chaos [ARGS]    rounds of random faults on a cluster of three servers, for about twenty minutes;
                  `chaos --help` says more
  soak [ARGS]     an hour of mixed load on such a cluster, with a fault every minute
  simulate [--seed N] [--histories N]
                  drive the pipeline's state machine through random histories, and check every
                  promise in each; a million of seed 1 if nothing else is said
  architecture    check the rules of ARCHITECTURE.md that a command can prove
  release [--out DIR] [--target x86_64|aarch64|all] [--tag TAG] [--source-url URL]
                  build what a release ships, into target/dist if nothing else is said: the signed
                  provider, the adapters, eventual-batch, bills of materials, notes and checksums;
                  CONTRIBUTING.md says how a release is made
  build           build all that the tests run, and the components
  components      build the adapters, and the examples composed with them
  setup           fetch the nats-servers that the tests and the demo run, each pinned and checked
  help            print this text
";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let command = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    let result = match command.as_str() {
        "demo" => demo::command(&rest),
        "test" => test::command(&rest),
        "build" if rest.is_empty() => all::command().map(|()| ExitCode::SUCCESS),
        "bench" => bench::command(&rest),
        "chaos" | "soak" => chaos::command(&command, &rest),
        "e2e" => host::command(&rest),
        "simulate" => simulate::command(&rest),
        "architecture" if rest.is_empty() => architecture::command().map(|()| ExitCode::SUCCESS),
        "components" if rest.is_empty() => components::command().map(|()| ExitCode::SUCCESS),
        "release" => release::command(&rest).map(|()| ExitCode::SUCCESS),
        "setup" if rest.is_empty() => setup::command().map(|()| ExitCode::SUCCESS),
        "help" | "-h" | "--help" => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
