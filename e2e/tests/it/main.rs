//! What a component sees on a real wasmCloud host. One binary, so that the host is linked once.

mod batches;
mod deployment;
mod manifests;
mod secrets;
mod watcher;
