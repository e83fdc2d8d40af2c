//! Real servers, the real provider process and a caller, for tests, the demo and benches.
//!
//! Nothing is mocked. [`NatsServer`] runs the `nats-server` binary, and [`Cluster`] runs three of
//! them. [`Provider`] runs the provider's binary and speaks to it as a wasmCloud host does.
//! [`LatticeCaller`] sends wRPC calls as a host sends them for a component. [`Stack`] starts a
//! server, a provider and a caller in one call.

mod bindings;
mod caller;
mod cluster;
mod components;
mod delay_proxy;
mod gate;
mod link;
mod logging;
mod monitor;
mod nats_server;
mod otlp;
mod process;
mod provider;
mod random;
mod stack;
mod told;
mod tools;
mod value;

pub use async_nats;
pub use wasmcloud_core::HealthCheckResponse;
pub use wasmcloud_core::logging::Level;

pub use caller::{
    AtomicCaller, AtomicsCaller, BatchCaller, DEFAULT_TIMEOUT, LatticeCaller, StoreCaller,
};
pub use cluster::{Cluster, NODES, Partition};
pub use components::component;
pub use delay_proxy::DelayProxy;
pub use link::LinkDefinition;
pub use logging::{init_tracing, logged};
pub use monitor::ClientConnection;
pub use nats_server::{NatsServer, NatsServerBuilder};
pub use otlp::{ExportedMetric, ExportedPoint, ExportedSpan, OtlpCollector};
pub use provider::{PROVIDER_ENV, Provider, ProviderBuilder};
pub use random::free_port;
pub use stack::{Stack, StackBuilder};
pub use told::{Reply, Told, ToldComponent};
pub use tools::{NATS_VERSIONS, NEWEST, OLDEST, TOOLS_ENV, nats_server_binary, tools_dir};
pub use value::{BatchError, EventualBatchError, KeyResponse, Value};
