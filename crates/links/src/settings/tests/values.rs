//! Values, and the defaults of the provider.

use super::*;

#[test]
fn only_the_bucket_is_required() {
    let settings = read(&[("bucket", "orders")]).unwrap();
    assert_eq!(settings.bucket.name, "orders");
    assert_eq!(settings.bucket.create, None);
    assert_eq!(settings.bucket.domain, None);
    assert!(settings.buckets.is_empty());
    assert_eq!(settings.key_encoding, KeyEncoding::None);
    assert_eq!(settings.timeout, DEFAULT_TIMEOUT);
    assert_eq!(settings.replica, ReplicaSettings::default());
    assert_eq!(settings.replica.mode, ReplicaMode::Off);
    assert_eq!(settings.connections, 1);
    assert_eq!(settings.single_reads, ReadNode::Leader);
    assert_eq!(
        settings.limits,
        Limits {
            max_concurrency: 1024,
            max_batch_keys: 100_000,
            max_batch_bytes: 64 * 1024 * 1024,
        }
    );
    assert_eq!(
        settings.connection.display_servers(),
        "nats://127.0.0.1:4222"
    );
    assert_eq!(settings.connection.auth, Auth::None);

    let missing = read(&[]).unwrap_err().to_string();
    assert!(missing.contains("`bucket` is missing"), "{missing}");
}

#[test]
fn every_setting_is_read() {
    let settings = read(&[
        ("bucket", "orders"),
        ("buckets", "stock=warehouse_stock, carts"),
        ("cluster_uri", "nats://a:4222, tls://b:4333"),
        ("js_domain", "hub"),
        ("enable_bucket_auto_create", "True"),
        ("bucket_replicas", "3"),
        ("bucket_storage", "memory"),
        ("bucket_history", "64"),
        ("bucket_ttl", "24h"),
        ("bucket_max_bytes", "1000000"),
        ("bucket_max_value_size", "1024"),
        ("bucket_allow_batched", "true"),
        ("timeout", "30s"),
        ("max_concurrency", "1"),
        ("connections", "8"),
        ("single_reads", "nearest"),
        ("max_batch_keys", "10"),
        ("max_batch_bytes", "4096"),
        ("key_encoding", "base64"),
        ("replica", "bounded"),
        ("replica_staleness", "250ms"),
        ("replica_max_bytes", "1000"),
        ("tls_first", "true"),
    ])
    .unwrap();
    let names: Vec<_> = settings
        .buckets
        .iter()
        .map(|(alias, spec)| (alias.as_str(), spec.name.as_str()))
        .collect();
    assert_eq!(names, [("stock", "warehouse_stock"), ("carts", "carts")]);
    assert_eq!(
        settings.connection.display_servers(),
        "nats://a:4222,tls://b:4333"
    );
    assert_eq!(settings.bucket.domain.as_deref(), Some("hub"));
    assert_eq!(
        settings.bucket.create,
        Some(BucketTemplate {
            replicas: Some(3),
            storage: Some(StorageType::Memory),
            history: Some(64),
            ttl: Some(Duration::from_secs(24 * 3600)),
            max_bytes: Some(1_000_000),
            max_value_size: Some(1024),
            allow_value_ttl: false,
            marker_ttl: None,
            allow_atomic: false,
            allow_batched: true,
        })
    );
    assert_eq!(settings.timeout, Duration::from_secs(30));
    assert_eq!(settings.limits.max_concurrency, 1);
    assert_eq!(settings.connections, 8);
    assert_eq!(settings.single_reads, ReadNode::Nearest);
    assert_eq!(settings.limits.max_batch_keys, 10);
    assert_eq!(settings.limits.max_batch_bytes, 4096);
    assert_eq!(settings.key_encoding, KeyEncoding::Base64);
    assert_eq!(
        settings.replica,
        ReplicaSettings {
            mode: ReplicaMode::Bounded,
            staleness: Duration::from_millis(250),
            max_bytes: 1000,
        }
    );
    assert!(settings.connection.tls.first);
}

#[test]
fn a_bad_value_names_key_value_and_what_is_accepted() {
    for (key, value, accepted) in [
        ("bucket", "a.b", "letters"),
        ("buckets", "x=a b", "letters"),
        ("buckets", "x=", "alias=bucket"),
        ("buckets", "a,a", "once"),
        ("buckets", "default=a", "default"),
        ("buckets", "b=a", "own"),
        ("js_domain", "a.b", "letters"),
        ("enable_bucket_auto_create", "yes", "`true` or `false`"),
        ("bucket_replicas", "0", "1 to 5"),
        ("bucket_replicas", "6", "1 to 5"),
        ("bucket_storage", "disk", "`file` or `memory`"),
        ("bucket_history", "65", "1 to 64"),
        ("bucket_ttl", "tomorrow", "24h"),
        ("value_ttl", "999ms", "from 1s to"),
        ("value_ttl", "30", "30s"),
        ("value_ttl", "1500ms", "whole seconds"),
        ("atomic", "yes", "`true` or `false`"),
        ("bucket_allow_atomic", "1", "`true` or `false`"),
        ("bucket_marker_ttl", "500ms", "from 1s to"),
        ("bucket_marker_ttl", "1s 1ms", "whole seconds"),
        ("bucket_max_bytes", "-1", "whole number"),
        ("bucket_max_value_size", "1MB", "whole number"),
        ("timeout", "0s", "50ms"),
        ("timeout", "5", "30s"),
        ("max_concurrency", "0", "1 to"),
        ("max_concurrency", "many", "whole number"),
        ("max_batch_keys", "0", "whole number"),
        ("max_batch_bytes", "", "leave the key out"),
        ("key_encoding", "hex", "`none` or `base64`"),
        ("replica", "on", "`off`, `bounded` or `fresh`"),
        ("replica_staleness", "99ms", "from 100ms to 1h"),
        ("replica_staleness", "2h", "from 100ms to 1h"),
        ("replica_max_bytes", "64MiB", "whole number"),
        ("tls_first", "1", "`true` or `false`"),
        ("tls_ca_file", "no-such-file.pem", "file"),
    ] {
        let text = match key {
            "bucket" => read(&[(key, value)]).unwrap_err().to_string(),
            _ => refusal(&[(key, value)]),
        };
        assert!(text.contains(&format!("`{key}`")), "{key}: {text}");
        assert!(text.contains(value), "{key}: {text}");
        assert!(text.contains(accepted), "{key}: {text}");
    }
}

#[test]
fn values_and_markers_that_end() {
    let settings = read(&[
        ("bucket", "b"),
        ("enable_bucket_auto_create", "true"),
        ("value_ttl", "30s"),
        ("bucket_marker_ttl", "1h"),
        ("bucket_history", "1"),
    ])
    .unwrap();
    assert_eq!(settings.writes.value_ttl, Some(Duration::from_secs(30)));
    let template = settings.bucket.create.unwrap();
    assert!(template.allow_value_ttl);
    assert_eq!(template.marker_ttl, Some(Duration::from_secs(3600)));

    let plain = read(&[("bucket", "b"), ("enable_bucket_auto_create", "true")]).unwrap();
    assert_eq!(plain.writes, WriteSettings::default());
    assert!(!plain.bucket.create.unwrap().allow_value_ttl);

    for key in ["value_ttl", "bucket_marker_ttl"] {
        let text = refusal(&[(key, "30s"), ("bucket_history", "2")]);
        assert!(text.contains("`bucket_history`"), "{text}");
        assert!(text.contains(&format!("1 beside `{key}`")), "{text}");
    }
}

#[test]
fn a_link_of_atomic_batches_creates_a_bucket_that_takes_them() {
    let allows = |pairs: &[(&str, &str)]| {
        let mut all = vec![("bucket", "b"), ("enable_bucket_auto_create", "true")];
        all.extend(pairs);
        let settings = read(&all).unwrap();
        (
            settings.writes.atomic,
            settings.bucket.create.unwrap().allow_atomic,
        )
    };
    assert_eq!(allows(&[]), (false, false));
    assert_eq!(allows(&[("atomic", "true")]), (true, true));
    assert_eq!(allows(&[("bucket_allow_atomic", "true")]), (false, true));
    let text = refusal(&[
        ("enable_bucket_auto_create", "true"),
        ("atomic", "true"),
        ("bucket_allow_atomic", "false"),
    ]);
    assert!(text.contains("`bucket_allow_atomic`"), "{text}");
    assert!(text.contains("beside `atomic`"), "{text}");
}

#[test]
fn the_provider_gives_defaults_and_its_login_is_taken_as_a_whole() {
    let provider = RawSettings::new(
        HashMap::from([
            ("cluster_uri".to_owned(), "nats://hub:4222".to_owned()),
            ("max_concurrency".to_owned(), "7".to_owned()),
            ("username".to_owned(), "u".to_owned()),
        ]),
        HashMap::from([("password".to_owned(), Secret::new("p".to_owned()))]),
    );
    let read = |link: &RawSettings| read_with(link, &provider).unwrap();

    let plain = read(&values(&[("bucket", "b")]));
    assert_eq!(plain.connection.display_servers(), "nats://hub:4222");
    assert_eq!(plain.limits.max_concurrency, 7);
    assert!(matches!(plain.connection.auth, Auth::User { .. }));

    let own = read(&values(&[("bucket", "b"), ("max_concurrency", "9")]));
    assert_eq!(own.limits.max_concurrency, 9);

    let token = read(&with_secrets(&[], &[("token", "t")]));
    assert_eq!(
        token.connection.auth,
        Auth::Token(Secret::new("t".to_owned()))
    );
}
