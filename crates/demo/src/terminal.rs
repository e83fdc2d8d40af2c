//! What is written to the terminal and read from it.

use std::time::Instant;

use anyhow::Result;
use tokio::io::{AsyncBufReadExt as _, BufReader, stdin};

/// Begins a section.
pub fn title(text: &str) {
    println!("\n{text}");
}

/// How long it took, in milliseconds.
#[must_use]
pub fn since(begun: Instant) -> String {
    format!("{:.1} ms", begun.elapsed().as_secs_f64() * 1000.0)
}

/// Waits for Enter or Ctrl-C.
///
/// # Errors
///
/// If neither can be waited for.
pub async fn wait_for_enter() -> Result<()> {
    println!("\nPress Enter, or Ctrl-C, to stop it.");
    let (mut lines, mut line) = (BufReader::new(stdin()), String::new());
    let enter = async {
        if lines.read_line(&mut line).await? == 0 {
            // There is no keyboard.
            std::future::pending::<()>().await;
        }
        anyhow::Ok(())
    };
    tokio::select! {
        read = enter => read,
        stop = tokio::signal::ctrl_c() => Ok(stop?),
    }
}
