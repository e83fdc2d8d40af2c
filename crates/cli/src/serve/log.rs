//! The program's log, on standard error.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use super::telemetry::{EXPORTED_SPANS, Telemetry};

/// The NATS client would log subjects, and in them keys, at info.
const QUIET: &str = "async_nats=warn";

/// Installs the log, at the level that `RUST_LOG` says, else info, and the export of spans.
pub(super) fn start(telemetry: &Telemetry) {
    let directives = std::env::var("RUST_LOG").unwrap_or_default();
    let directives = if directives.is_empty() {
        "info"
    } else {
        &directives
    };
    let filter = EnvFilter::new(format!("{directives},{QUIET},{EXPORTED_SPANS}=off"));
    let log = tracing_subscriber::fmt::layer()
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .with_filter(filter);
    tracing_subscriber::registry()
        .with(log)
        .with(telemetry.layer())
        .init();
}
