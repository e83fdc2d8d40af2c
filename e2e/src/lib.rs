//! The provider, the adapter and the examples on a real wasmCloud host, for the tests and the demo.
//!
//! A [`TestLattice`] is a nats-server and a host in this process, with the host's own HTTP server and
//! the provider, started from its archive, on it. Components are put onto it and linked through the
//! control interface, as `wash` and wadm do it.

mod artifacts;
mod host;
mod lattice;
mod wasmcloud;

pub use artifacts::{component, eventual_batch, pack, plain_python_batch, provider_archive};
pub use host::{LATTICE, RunningHost};
pub use lattice::{HostLink, PROVIDER_ID, TestLattice, eventually};
pub use wasmcloud::WasmCloud;
