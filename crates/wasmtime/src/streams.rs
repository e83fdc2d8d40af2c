//! The async bodies: streams of a value's bytes.

use bytes::Bytes;
use wasmtime_wasi_io::async_trait;
use wasmtime_wasi_io::poll::Pollable;
use wasmtime_wasi_io::streams::{InputStream, OutputStream, StreamError, StreamResult};

use crate::limits::{Charge, OverLimit};
use crate::resources::OpenBody;

/// The most bytes of one write.
const CHUNK: usize = 64 * 1024;

/// Gives the bytes of a value, part by part.
pub(crate) struct ValueReader {
    bytes: Bytes,
    _charge: Charge,
}

impl ValueReader {
    pub(crate) fn new(bytes: Bytes, charge: Charge) -> Self {
        Self {
            bytes,
            _charge: charge,
        }
    }
}

#[async_trait]
impl Pollable for ValueReader {
    async fn ready(&mut self) {}
}

#[async_trait]
impl InputStream for ValueReader {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let bytes = &mut self.bytes;
        if bytes.is_empty() {
            return Err(StreamError::Closed);
        }
        Ok(bytes.split_to(size.min(bytes.len())))
    }
}

/// Takes the bytes of a value, part by part.
pub(crate) struct ValueWriter {
    body: OpenBody,
    _charge: Charge,
}

impl ValueWriter {
    pub(crate) fn new(body: OpenBody, charge: Charge) -> Self {
        Self {
            body,
            _charge: charge,
        }
    }
}

#[async_trait]
impl Pollable for ValueWriter {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for ValueWriter {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.body.append(&bytes).map_err(failed)
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.body.room().map(drop).map_err(failed)
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        // A zero would say that room comes by waiting for it. The next write fails in its place.
        Ok(self.body.room().map_err(failed)?.clamp(1, CHUNK))
    }
}

fn failed(over: OverLimit) -> StreamError {
    StreamError::LastOperationFailed(over.into())
}
