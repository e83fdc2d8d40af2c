//! `eventual-batch`: the command line.

mod compose_command;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Batches of keys on NATS JetStream for WebAssembly components.
#[derive(Parser)]
#[command(name = "eventual-batch", version)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Compose(compose_command::ComposeArgs),
}

fn main() -> ExitCode {
    let result = match CommandLine::parse().command {
        Command::Compose(args) => compose_command::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
