// What the examples in the documentation share: a bucket on the server that the environment
// variable names. Without the variable the examples only compile.
//
// (Included by each example, so that none of this is part of the library.)

#[allow(unused_imports)]
use std::time::Duration;

#[allow(unused_imports)]
use eventual_batch_engine::{
    Bucket, BucketSpec, BucketTemplate, ConcurrencyLimit, ConnectionSettings, Connections, Deadline,
    KeyEncoding, Limits,
};

/// A bucket of this name, which is created if it is missing.
#[allow(dead_code)]
async fn test_bucket(name: &str) -> Option<Bucket> {
    let server = std::env::var("EVENTUAL_BATCH_DOC_TEST_NATS").ok()?;
    let settings = ConnectionSettings {
        servers: vec![server],
        auth: Default::default(),
        tls: Default::default(),
    };
    let connection = Connections::new("doc-test").get(&settings).await.ok()?;
    let spec = BucketSpec {
        name: name.to_owned(),
        domain: None,
        create: Some(BucketTemplate::default()),
    };
    let limits = Limits {
        max_concurrency: 256,
        max_batch_keys: 100_000,
        max_batch_bytes: 64 * 1024 * 1024,
    };
    let concurrency = std::sync::Arc::new(ConcurrencyLimit::new(limits.max_concurrency));
    Some(Bucket::new(connection, spec, KeyEncoding::None, limits, concurrency))
}
