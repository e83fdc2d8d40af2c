//! Batches of keys on NATS JetStream key-value buckets.
//!
//! The engine knows NATS and nothing of wRPC, WebAssembly or a host. A front end makes a
//! [`Connections`], and from it one [`Bucket`] for each bucket that it serves:
//!
//! - [`Connections`] makes connections in the background and shares them among buckets that log in alike.
//!   A server that is down is no error until a call's time is over.
//! - [`Bucket`] carries out whole batches: [`get_many`](Bucket::get_many), [`keys`](Bucket::keys),
//!   [`set_many`](Bucket::set_many), [`delete_many`](Bucket::delete_many); single keys and counters too.
//! - [`Limits`] and [`ConcurrencyLimit`] bound what one batch may take, and what all batches of some buckets
//!   may take together.
//! - Every operation ends by its [`Deadline`]. When an operation's future is dropped, nothing of it goes
//!   on in the background.
//! - An [`Error`] says what, where and why as data. Its [`Kind`] says what the caller can do.
//!
//! # TLS
//!
//! The cryptography of TLS is the one that the program has installed
//! (`rustls::crypto::CryptoProvider::install_default`), whatever others are compiled in. If the program has
//! installed none, the feature `ring`, which is on by default, brings one. The engine installs nothing. A
//! program that turns the feature off and installs nothing can connect only to servers without TLS.
//!
//! # Errors and logs
//!
//! The `Display` of an [`Error`] is for the one who made the call, and may name keys. What may be logged is
//! a [`LogText`], which [`Error::log_text`] gives. No text with a key in it becomes one.
//!
//! # Examples
//!
//! The examples need a nats-server with JetStream. They run against the one that the environment variable
//! `EVENTUAL_BATCH_DOC_TEST_NATS` names, and without it they only compile.
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc_test.rs"));
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let Ok(server) = std::env::var("EVENTUAL_BATCH_DOC_TEST_NATS") else { return Ok(()) };
//! use std::sync::Arc;
//!
//! let connections = Connections::new("my-service");
//! let connection = connections
//!     .get(&ConnectionSettings {
//!         servers: vec![server],
//!         auth: Default::default(),
//!         tls: Default::default(),
//!     })
//!     .await?;
//! let limits = Limits {
//!     max_concurrency: 256,
//!     max_batch_keys: 100_000,
//!     max_batch_bytes: 64 * 1024 * 1024,
//! };
//! let bucket = Bucket::new(
//!     connection,
//!     BucketSpec {
//!         name: "doc-engine".to_owned(),
//!         domain: None,
//!         create: Some(BucketTemplate::default()),
//!     },
//!     KeyEncoding::None,
//!     limits,
//!     Arc::new(ConcurrencyLimit::new(limits.max_concurrency)),
//! );
//!
//! let within = || Deadline::after(Duration::from_secs(2));
//! bucket.set_many(vec![("color".into(), "red".into())], within()).await?;
//! let values = bucket.get_many(&["color".into(), "size".into()], within()).await?;
//! assert_eq!(values, [Some("red".into()), None]);
//! # Ok(())
//! # }
//! ```

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
mod outage;
mod pipeline;
mod quarantine;
mod read;
mod replica;
mod replicated_reads;
mod response_budget;
mod stream_info;
mod text;
mod tuning;
mod write;
mod write_ids;

pub use bucket::Bucket;
pub use concurrency::ConcurrencyLimit;
pub use connection::{
    Auth, Connection, ConnectionSetting, ConnectionSettings, Connections, Secret, SettingError, Tls,
};
pub use deadline::Deadline;
pub use error::{BatchLimit, Error, Excess, Kind, NoAnswerReason, ValueLimit};
pub use keys::{InvalidKey, KeyEncoding, KeyProblem, MAX_KEY_BYTES, UndecodableKey};
pub use limits::Limits;
pub use list::Page;
pub use outage::{ConnectionError, ErrorHint, LoginKind, Outage};
pub use replica::{FallbackReason, ReplicaMode, ReplicaSettings, ReplicaStats, Replicas};
pub use response_budget::ResponseBudget;
pub use stream_info::{BucketSpec, BucketTemplate};
pub use text::{CallerText, LogText};
