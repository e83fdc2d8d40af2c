//! A wasmCloud capability provider that answers batches of keys on NATS JetStream key-value
//! buckets.
//!
//! A call's way: `serve` (runs the calls) → [`wrpc`] (the protocol) → one file per interface (wire
//! types) → `eventual-batch-links` (which bucket) → `eventual-batch-engine` (NATS). The other way,
//! the engine finds a change, and `watcher` tells a component of it. [`provider`] is what the host
//! drives.

mod atomic;
mod atomics;
mod batch;
mod delete_many;
mod eventual_batch;
mod hints;
mod lattice;
pub mod provider;
mod serve;
mod store;
mod telemetry;
mod watcher;
mod wire_values;
pub mod wrpc;
