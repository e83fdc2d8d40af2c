//! `eventual-batch`: the command line.

mod compose_command;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Batches of keys on NATS JetStream for WebAssembly components.
#[derive(Parser)]
#[command(name = "eventual-batch", version)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::ServeArgs),
    Compose(compose_command::ComposeArgs),
}

fn main() -> ExitCode {
    match CommandLine::parse().command {
        Command::Serve(args) => serve::run(&args),
        Command::Compose(args) => compose_command::run(&args),
    }
}
