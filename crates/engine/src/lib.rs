//! The bucket engine: batches of keys on JetStream key-value buckets.
//!
//! It knows NATS and nothing of wRPC or wasmCloud. A [`Connection`] is shared by the buckets that
//! log in alike; a [`Bucket`] carries out whole batches; an [`Error`] says what, where and what to
//! do. Every operation ends by its [`Deadline`], with nothing left running.

mod bucket;
mod concurrency;
mod connection;
mod counter;
mod deadline;
mod error;
mod handle;
mod inbox;
mod keys;
mod limits;
mod list;
mod message;
mod pipeline;
mod quarantine;
mod read;
mod stream_info;
mod tuning;
mod write;
mod write_ids;

pub use bucket::Bucket;
pub use concurrency::ConcurrencyLimit;
pub use connection::{Auth, Connection, ConnectionSettings, Connections, Secret, Tls};
pub use deadline::Deadline;
pub use error::{Error, Kind};
pub use keys::{InvalidKey, KeyEncoding, KeyProblem, MAX_KEY_BYTES, UndecodableKey};
pub use limits::Limits;
pub use list::Page;
pub use stream_info::{BucketSpec, BucketTemplate};
