//! A wasmCloud capability provider that answers batches of keys on NATS JetStream key-value
//! buckets.
//!
//! A call's way: [`rpc`] (wRPC in, typed answers out) → [`links`] (which bucket) → [`engine`]
//! (NATS). [`provider`] is what the host drives, [`config`] what a link may set.

pub mod config;
pub mod engine;
pub mod links;
pub mod provider;
pub mod rpc;
