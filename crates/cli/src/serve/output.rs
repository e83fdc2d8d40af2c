//! A component's standard output and error, line by line in the log.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use tracing::{info, warn};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError};

/// How much of one stream the log takes for one request, in bytes.
const MAX_BYTES: usize = 256 * 1024;

/// How long one line of the log gets, in bytes.
const MAX_LINE: usize = 8 * 1024;

/// One of the streams of one request.
#[derive(Clone, Debug)]
pub(super) struct OutputLog(Arc<Mutex<Lines>>);

#[derive(Debug)]
struct Lines {
    stream: &'static str,
    /// The line so far.
    line: Vec<u8>,
    /// How many more bytes the log takes.
    left: usize,
}

impl OutputLog {
    pub(super) fn new(stream: &'static str) -> Self {
        Self(Arc::new(Mutex::new(Lines {
            stream,
            line: Vec::new(),
            left: MAX_BYTES,
        })))
    }

    fn append(&self, bytes: &[u8]) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.append(bytes);
    }
}

impl Lines {
    fn append(&mut self, bytes: &[u8]) {
        if self.left == 0 {
            return;
        }
        let taken = bytes.get(..self.left).unwrap_or(bytes);
        self.left -= taken.len();
        for piece in taken.split_inclusive(|byte| *byte == b'\n') {
            for part in piece.chunks(MAX_LINE) {
                if self.line.len() + part.len() > MAX_LINE {
                    self.end_line();
                }
                self.line.extend_from_slice(part);
            }
            if piece.ends_with(b"\n") {
                self.end_line();
            }
        }
        if self.left == 0 {
            self.end_line();
            warn!(
                stream = self.stream,
                "the component wrote more than {MAX_BYTES} bytes in one request; the log has no more of it"
            );
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(line.trim_ascii_end());
        if !text.is_empty() {
            // A component must not write lines that look like the log's own, nor steer a terminal.
            let text = text.replace(|c: char| c.is_control() && c != '\t', "\u{fffd}");
            info!(target: "component", stream = self.stream, "{text}");
        }
    }
}

/// What was written without a line end.
impl Drop for Lines {
    fn drop(&mut self) {
        self.end_line();
    }
}

impl IsTerminal for OutputLog {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for OutputLog {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for OutputLog {
    fn write(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        self.append(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StreamError> {
        Ok(())
    }

    fn check_write(&mut self) -> Result<usize, StreamError> {
        Ok(64 * 1024)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for OutputLog {
    async fn ready(&mut self) {}
}

impl AsyncWrite for OutputLog {
    fn poll_write(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.append(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
