//! What requests may take.

use std::time::Duration;

/// The bounds of the command line.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestLimits {
    /// Requests at once.
    pub(super) requests: u32,
    /// Time of one request, from its headers to the end of its instance.
    pub(super) timeout: Duration,
    /// Bytes of memory of one request: the instance's own, and as much again for the keys and values
    /// that the host holds for it.
    pub(super) memory: usize,
}

/// What the largest batch of the links asks of a store.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchLimits {
    /// Keys of the largest batch.
    pub(super) keys: usize,
    /// Bytes of the largest batch.
    pub(super) bytes: usize,
}

impl BatchLimits {
    /// Values, buckets, streams and errors that one store may hold: the largest batch, and something
    /// beside it.
    pub(super) fn key_value_resources(self) -> usize {
        self.keys.saturating_add(20_000)
    }

    /// The same, with the resources of WASI.
    pub(super) fn resources(self) -> usize {
        self.key_value_resources().saturating_add(10_000)
    }

    /// Handles that one store may hold. A value that is lent for a call, as all of a batch that is
    /// written are, counts twice.
    pub(super) fn handles(self) -> usize {
        self.resources().saturating_add(self.keys)
    }

    /// Bytes that one call of the host may copy out of the component. wasmtime counts keys, values and
    /// what holds them.
    pub(super) fn call_bytes(self) -> usize {
        const DEFAULT: usize = 128 * 1024 * 1024;
        self.bytes.saturating_mul(2).max(DEFAULT)
    }
}
