//! Tests of the provider as callers on the lattice see it: real servers, and the real provider
//! process. There is one file for each subject, and one binary, so that it is linked once.

#[macro_use]
mod support;

mod atomic;
mod atomic_batch;
mod atomics;
mod bucket_access;
mod cluster_faults;
mod compare_and_swap;
mod concurrency;
mod configuration;
mod credentials;
mod dashboards;
mod eventual;
mod faults;
mod fuzz_replay;
mod handshake;
mod hostile;
mod lattice_client;
mod links;
mod load_shedding;
mod logins;
mod memory;
mod metrics;
mod observability;
mod open_bucket;
mod permissions;
mod provider_faults;
mod random_ops_vs_model;
mod read_settings;
mod replica;
mod rolling_upgrade;
mod secrets;
mod semantics;
mod shutdown;
mod smoke;
mod store;
mod unusual_buckets;
mod value_ttl;
mod values;
mod watcher;
