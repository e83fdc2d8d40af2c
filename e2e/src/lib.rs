//! The provider, the adapter and the examples on a real wasmCloud host, for the tests and the demo.
//!
//! A [`TestLattice`] is a nats-server and a host in this process, with the host's own HTTP server and
//! the provider, started from its archive, on it. Components are put onto it and linked through the
//! control interface, as `wash` does it.
//!
//! A [`ManagedLattice`] is a nats-server, a host, and wadm, which puts onto the host what a manifest
//! says. A [`SecretsBackend`] has the secrets that links refer to.

mod artifacts;
mod host;
mod lattice;
mod managed;
mod secrets_backend;
mod wasmcloud;

pub use artifacts::{component, eventual_batch, pack, plain_python_batch, provider_archive};
pub use host::{LATTICE, RunningHost};
pub use lattice::{HostLink, PROVIDER_ID, TestLattice, eventually};
pub use managed::{ManagedLattice, Manifest};
pub use secrets_backend::SecretsBackend;
pub use wasmcloud::WasmCloud;
