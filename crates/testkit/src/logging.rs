use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::level_filters::LevelFilter;

/// How much of the log is kept for [`logged`].
const KEPT_BYTES: usize = 1 << 20;

static KEPT: Mutex<VecDeque<u8>> = Mutex::new(VecDeque::new());

/// Installs a subscriber that writes warnings and errors to stderr; does nothing if one is
/// installed already.
///
/// Every process that makes wRPC calls needs a subscriber, or its figures mean nothing: the NATS
/// transport formats each buffer as a span field, and without a subscriber `tracing` evaluates the
/// fields all the same.
pub fn init_tracing() {
    // An error only says that a subscriber is there, which is all that is wanted.
    let _ = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::WARN)
        .with_writer(|| Log)
        .try_init();
}

/// The last MiB of what this process has logged: what a wasmCloud host in it says, for instance.
/// Tests that run at the same time log into the same text.
#[must_use]
pub fn logged() -> String {
    String::from_utf8_lossy(kept().make_contiguous()).into_owned()
}

fn kept() -> MutexGuard<'static, VecDeque<u8>> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes to stderr, and keeps a copy.
struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = io::stderr().write(bytes)?;
        let mut kept = kept();
        kept.extend(bytes.iter().take(written));
        let excess = kept.len().saturating_sub(KEPT_BYTES);
        kept.drain(..excess);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
