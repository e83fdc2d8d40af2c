//! The engine, called from Rust.

use std::sync::Arc;

use eventual_batch_engine::{
    Auth, Bucket, BucketOptions, BucketSpec, ConcurrencyLimit, Connection, ConnectionSettings,
    KeyEncoding, Limits, Tls,
};

/// Without a login, at this address.
pub(crate) fn settings(url: String) -> ConnectionSettings {
    ConnectionSettings {
        servers: vec![url],
        auth: Auth::None,
        tls: Tls::default(),
    }
}

/// A bucket with the limits that a link has if it says nothing else, but for the sizes of batches.
pub(crate) fn bucket(connection: &Arc<Connection>, name: &str) -> Bucket {
    bucket_with(connection, name, BucketOptions::default())
}

/// The same with these options.
pub(crate) fn bucket_with(
    connection: &Arc<Connection>,
    name: &str,
    options: BucketOptions<'_>,
) -> Bucket {
    let limits = Limits {
        max_concurrency: 1024,
        max_batch_keys: 1_000_000,
        max_batch_bytes: 1 << 30,
    };
    let spec = BucketSpec {
        name: name.to_owned(),
        domain: None,
        create: None,
    };
    let concurrency = Arc::new(ConcurrencyLimit::new(limits.max_concurrency));
    Bucket::with_options(
        Arc::clone(connection),
        spec,
        KeyEncoding::None,
        limits,
        concurrency,
        options,
    )
}
