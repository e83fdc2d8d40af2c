//! The program's log, on standard error.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

/// The NATS client would log subjects, and in them keys, at info.
const QUIET: &str = "async_nats=warn";

/// Installs the log, at the level that `RUST_LOG` says, else info.
pub(super) fn start() {
    let directives = std::env::var("RUST_LOG").unwrap_or_default();
    let directives = if directives.is_empty() {
        "info"
    } else {
        &directives
    };
    let filter = EnvFilter::new(format!("{directives},{QUIET}"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();
}
