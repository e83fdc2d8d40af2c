//! What a component sees of the interfaces, as tests that any host can run.
//!
//! [`ComponentHost`] is what a host can do. [`cases`] are the tests. Each host names itself with
//! [`run_all_on!`](crate::run_all_on): a wasmCloud 1.9 host through adapter and provider, and
//! `eventual-batch serve` in its own process.

pub mod cases;
mod host;
mod native;
mod serve;
mod service;

pub use host::{BucketLink, ComponentHost};
pub use native::{Native, NativePrograms};
pub use serve::Serve;
pub use service::{Found, Service};
