//! Batches of keys on NATS JetStream key-value buckets.
//!
//! The engine knows NATS, and nothing of WebAssembly or its hosts. A front end makes a
//! [`Connections`], and with it one [`Bucket`] for each bucket that it serves:
//!
//! - [`Connections`] makes connections in the background. Buckets that log in alike share a
//!   connection. A server that is down is no error until a call's time is over.
//! - [`Bucket`] carries out whole batches: [`get_many`](Bucket::get_many), [`keys`](Bucket::keys),
//!   [`set_many`](Bucket::set_many), [`delete_many`](Bucket::delete_many). It also has single keys
//!   and counters.
//! - [`Limits`] bounds one batch. [`ConcurrencyLimit`] bounds all batches of one or several buckets
//!   together.
//! - Every operation ends by its [`Deadline`]. When an operation's future is dropped, nothing of it
//!   goes on in the background.
//! - An [`Error`] says what failed, where and why, as data. Its [`Kind`] says what the caller can
//!   do.
//!
//! # TLS
//!
//! The engine uses the implementation of TLS cryptography that the program has installed
//! (`rustls::crypto::CryptoProvider::install_default`). If the program has installed none, the
//! engine uses the one of its feature `ring`, which is on by default. The engine installs nothing.
//! Without the feature and without an installed implementation, it can connect only to servers
//! without TLS.
//!
//! # Errors and logs
//!
//! The `Display` of an [`Error`] is for the caller, and may name keys. For the log there is
//! [`Error::log_text`]. It gives a [`LogText`], which never holds a key.
//!
//! # Examples
//!
//! The examples need a nats-server with JetStream. The environment variable
//! `EVENTUAL_BATCH_DOC_TEST_NATS` has its URL. Without the variable the examples only compile.
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

mod ack_subject;
mod api_request;
mod backoff;
mod bucket;
mod bucket_options;
mod bucket_state;
#[cfg(test)]
mod chance;
mod concurrency;
mod connection;
mod cooperative;
mod counter;
mod deadline;
mod error;
mod inbox;
mod keys;
mod limits;
mod list;
mod message;
mod outage;
mod pipeline;
mod quarantine;
mod read;
mod read_settings;
mod replica;
mod replicated_reads;
mod response_budget;
mod retries;
mod stream_info;
mod text;
mod tuning;
mod value_size;
mod watch;
mod write;
mod write_ids;
mod write_settings;
mod yield_rule;

pub use bucket::Bucket;
pub use bucket_options::BucketOptions;
pub use concurrency::ConcurrencyLimit;
pub use connection::{
    Auth, Connection, ConnectionSetting, ConnectionSettings, ConnectionStats, Connections, Secret,
    SettingError, Tls,
};
pub use deadline::Deadline;
pub use error::{
    BatchLimit, BucketFeature, CountedSize, Error, FeatureProblem, Kind, NoAnswerReason, ValueLimit,
};
pub use keys::{InvalidKey, KeyEncoding, KeyProblem, MAX_KEY_BYTES, UndecodableKey};
pub use limits::Limits;
pub use list::Page;
pub use outage::{ConnectionError, ErrorHint, LoginKind, Outage};
pub use read_settings::ReadNode;
pub use replica::{FallbackReason, ReplicaMode, ReplicaSettings, ReplicaStats, Replicas};
pub use response_budget::ResponseBudget;
pub use retries::RetryReason;
pub use stream_info::{BucketSpec, BucketTemplate};
pub use text::{CallerText, LogText, shorten};
pub use watch::{
    ChangeHandler, ChangeKind, DeliveryOutcome, InvalidPattern, KeyChange, PatternProblem,
    WatchFrom, WatchPattern, WatchSettings, WatchStats, WatchedChanges, Watcher,
};
pub use write_settings::WriteSettings;
