//! The bucket engine: batches of keys on JetStream key-value buckets.
//!
//! It knows NATS and nothing of wRPC or wasmCloud. A [`Connection`] is shared by the buckets that
//! log in alike; a [`Bucket`] carries out whole batches; an [`Error`] says what, where and what to
//! do. Every operation ends by its [`Deadline`], with nothing left running.

mod bucket;
mod connection;
mod deadline;
mod error;
mod exchange;
mod get;
mod inbox;
mod increment;
mod key;
mod keys;
mod message;
mod open;
mod slots;
mod tuning;
mod write;

pub use bucket::{Bucket, Limits};
pub use connection::{Auth, Connection, ConnectionSettings, Connections, Secret, Tls};
pub use deadline::Deadline;
pub use error::{Error, Kind};
pub use key::{KeyEncoding, KeyProblem, MAX_KEY_BYTES};
pub use keys::Page;
pub use open::{BucketSpec, BucketTemplate};
pub use slots::Slots;
