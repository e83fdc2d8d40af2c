use std::collections::HashMap;
use std::time::Duration;

use super::*;
use eventual_batch_engine::{Auth, Secret};

const DEFAULT_TIMEOUT: Duration = Duration::from_millis(1800);

fn values(pairs: &[(&str, &str)]) -> RawSettings {
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    RawSettings::new(pairs.iter().map(own).collect(), HashMap::new())
}

fn secrets(pairs: &[(&str, &str)]) -> RawSettings {
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), Secret::new((*value).to_owned()));
    RawSettings::new(
        HashMap::from([("bucket".to_owned(), "b".to_owned())]),
        pairs.iter().map(own).collect(),
    )
}

/// A link whose secrets have these names.
fn with_secrets(config: &[(&str, &str)], secrets: &[(&str, &str)]) -> RawSettings {
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let secret = |(key, value): &(&str, &str)| {
        let value = Secret::new((*value).to_owned());
        ((*key).to_owned(), value)
    };
    let bucket = ("bucket".to_owned(), "b".to_owned());
    RawSettings::new(
        config.iter().map(own).chain([bucket]).collect(),
        secrets.iter().map(secret).collect(),
    )
}

fn read(pairs: &[(&str, &str)]) -> Result<LinkSettings, ConfigError> {
    LinkSettings::read(&values(pairs), &RawSettings::default(), DEFAULT_TIMEOUT)
}

fn refusal(pairs: &[(&str, &str)]) -> String {
    let mut all = vec![("bucket", "b")];
    all.extend(pairs);
    read(&all).expect_err("should be refused").to_string()
}

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
fn a_bad_server_url_is_refused_and_not_shown() {
    for uri in ["", "http://a", "nats://user:hunter2@host:port", "a b"] {
        let text = refusal(&[("cluster_uri", uri)]);
        assert!(text.contains("`cluster_uri`"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn a_bad_server_url_is_shown_if_no_login_can_stand_in_it() {
    for uri in ["http://nats:4222", "a b", "nats://a:4222,ws://b:80"] {
        let text = refusal(&[("cluster_uri", uri)]);
        assert!(text.contains(&format!("{uri:?}")), "{text}");
        assert!(text.contains("`nats` or `tls`"), "{text}");
    }
    for uri in [
        "http://user:hunter2@nats",
        "http://hunter2@nats",
        "nats://a:4222,http://user:hunter2@nats",
        "http://user:hunter2",
        "http://nats?token=hunter2",
        "nats://user:hunter2%40nats:x",
    ] {
        let text = refusal(&[("cluster_uri", uri)]);
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn a_password_in_a_url_is_not_shown() {
    let settings = read(&[
        ("bucket", "b"),
        ("cluster_uri", "nats://user:hunter2@host:4222"),
    ])
    .unwrap();
    assert_eq!(settings.connection.display_servers(), "nats://host:4222");
    assert!(matches!(settings.connection.auth, Auth::User { .. }));
    assert!(!format!("{settings:?}").contains("hunter2"));

    let token = read(&[("bucket", "b"), ("cluster_uri", "nats://hunter2@host")]).unwrap();
    assert!(matches!(token.connection.auth, Auth::Token(_)));
    for (uri, more) in [
        ("nats://a:hunter2@host,nats://b:hunter2@host", vec![]),
        ("nats://a:hunter2@host,nats://host", vec![]),
        ("nats://a:hunter2@host", vec![("token", "hunter2")]),
    ] {
        let mut pairs = vec![("cluster_uri", uri)];
        pairs.extend(more);
        let text = refusal(&pairs);
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn one_way_to_log_in_at_most_and_pairs_are_whole() {
    for (pairs, names) in [
        (vec![("client_jwt", "j")], "client_seed"),
        (vec![("client_seed", "s")], "client_jwt"),
        (vec![("username", "u")], "password"),
        (vec![("password", "hunter2")], "username"),
        (vec![("tls_cert", "c")], "tls_key"),
        (vec![("tls_key", "hunter2")], "tls_cert"),
        (
            vec![
                ("token", "hunter2"),
                ("username", "u"),
                ("password", "hunter2"),
            ],
            "one way",
        ),
        (vec![("nkey_seed", "hunter2")], "nkey_seed"),
        (vec![("credentials", "hunter2")], "credentials"),
        (
            vec![("client_jwt", "j"), ("client_seed", "hunter2")],
            "client_seed",
        ),
        (vec![("tls_ca", "not pem")], "tls_ca"),
        (
            vec![("tls_ca", "not pem"), ("tls_ca_file", "f")],
            "tls_ca_file",
        ),
        (vec![("token", "")], "token"),
    ] {
        let text = refusal(&pairs);
        assert!(text.contains(names), "{pairs:?}: {text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn a_device_is_no_file_of_certificates() {
    let text = refusal(&[("tls_ca_file", "/dev/zero")]);
    assert!(text.contains("`tls_ca_file` = \"/dev/zero\""), "{text}");
    assert!(text.contains("regular file"), "{text}");
}

#[test]
fn secrets_come_from_the_secrets_first() {
    let mut config = HashMap::from([("token".to_owned(), "from-config".to_owned())]);
    config.insert("bucket".to_owned(), "b".to_owned());
    let secret = HashMap::from([("token".to_owned(), Secret::new("from-secrets".to_owned()))]);
    let both = RawSettings::new(config, secret);
    let settings = LinkSettings::read(&both, &RawSettings::default(), DEFAULT_TIMEOUT).unwrap();
    assert_eq!(
        settings.connection.auth,
        Auth::Token(Secret::new("from-secrets".to_owned()))
    );
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
    let read = |link: &RawSettings| LinkSettings::read(link, &provider, DEFAULT_TIMEOUT).unwrap();

    let plain = read(&values(&[("bucket", "b")]));
    assert_eq!(plain.connection.display_servers(), "nats://hub:4222");
    assert_eq!(plain.limits.max_concurrency, 7);
    assert!(matches!(plain.connection.auth, Auth::User { .. }));

    let own = read(&values(&[("bucket", "b"), ("max_concurrency", "9")]));
    assert_eq!(own.limits.max_concurrency, 9);

    let token = read(&secrets(&[("token", "t")]));
    assert_eq!(
        token.connection.auth,
        Auth::Token(Secret::new("t".to_owned()))
    );
}

#[test]
fn a_setting_names_which_secret_is_meant() {
    let none = RawSettings::default();
    let auth = |link: &RawSettings| {
        let settings = LinkSettings::read(link, &none, DEFAULT_TIMEOUT).unwrap();
        settings.connection.auth
    };
    let secret = |text: &str| Secret::new(text.to_owned());
    let password = Auth::User {
        username: "u".to_owned(),
        password: secret("right"),
    };
    for (setting, secrets) in [
        ("password_secret", &[("archive-password", "right")][..]),
        // The one of another link may be there too, and the name may be the setting's own.
        (
            "password_secret",
            &[("archive-password", "right"), ("orders-password", "wrong")],
        ),
    ] {
        let link = with_secrets(
            &[("username", "u"), (setting, " archive-password ")],
            secrets,
        );
        assert_eq!(auth(&link), password);
    }
    let own_name = [("username", "u"), ("password_secret", "password")];
    assert_eq!(
        auth(&with_secrets(&own_name, &[("password", "right")])),
        password
    );

    let named = |setting| with_secrets(&[(setting, "archive")], &[("archive", "right")]);
    assert_eq!(auth(&named("token_secret")), Auth::Token(secret("right")));
    // These are found, and then are no key.
    for setting in ["nkey_seed_secret", "credentials_secret"] {
        let error = LinkSettings::read(&named(setting), &none, DEFAULT_TIMEOUT).unwrap_err();
        let key = setting.trim_end_matches("_secret");
        assert!(error.to_string().contains(&format!("`{key}`")), "{error}");
    }
    for (setting, needs) in [
        ("client_seed_secret", "`client_jwt`"),
        ("tls_key_secret", "`tls_cert`"),
    ] {
        let error = LinkSettings::read(&named(setting), &none, DEFAULT_TIMEOUT).unwrap_err();
        assert!(error.to_string().contains(needs), "{error}");
    }
}

#[test]
fn a_named_secret_that_is_not_there_is_told_with_those_that_are() {
    let refusal = |config: &[(&str, &str)], secrets: &[(&str, &str)]| {
        let link = with_secrets(config, secrets);
        let read = LinkSettings::read(&link, &RawSettings::default(), DEFAULT_TIMEOUT);
        let text = read.expect_err("should be refused").to_string();
        assert!(!text.contains("hunter2"), "{text}");
        text
    };
    let login = [("username", "u"), ("password_secret", "archive")];
    assert_eq!(
        refusal(&login, &[("stock", "hunter2"), ("orders", "hunter2")]),
        "`password_secret` names the secret \"archive\", which did not arrive; these did: \"orders\", \
         \"stock\""
    );
    assert_eq!(
        refusal(&login, &[]),
        "`password_secret` names the secret \"archive\", which did not arrive, and no other secret did"
    );
    let many: Vec<_> = (10..22).map(|number| number.to_string()).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), "hunter2")).collect();
    let text = refusal(&login, &many);
    assert!(text.ends_with("\"18\", \"19\" and 2 more"), "{text}");

    // No secret at all, and how one may be named.
    let text = refusal(&[("username", "u")], &[("archive", "hunter2")]);
    let said = "`username` needs `password` beside it: there is no secret of that name, and no \
                `password_secret` that names another one";
    assert_eq!(text, said);

    let text = refusal(&[("token_secret", "  ")], &[]);
    assert!(
        text.contains("`token_secret`") && text.contains("the name of a secret"),
        "{text}"
    );
    // A link says in one way only which secret it means.
    let archive = ("archive", "hunter2");
    let both = "`password_secret` cannot be set together with `password`; keep one of them";
    assert_eq!(refusal(&login, &[archive, ("password", "hunter2")]), both);
    let mut plain = login.to_vec();
    plain.push(("password", "hunter2"));
    assert_eq!(refusal(&plain, &[archive]), both);
}

#[test]
fn the_name_of_a_secret_belongs_to_the_login_it_is_for() {
    let read = |link: &RawSettings, provider: &RawSettings| {
        let settings = LinkSettings::read(link, provider, DEFAULT_TIMEOUT)?;
        Ok::<_, ConfigError>(settings.connection.auth)
    };
    let token = |text: &str| Auth::Token(Secret::new(text.to_owned()));
    let provider = with_secrets(&[("token_secret", "common")], &[("common", "theirs")]);
    assert_eq!(
        read(&values(&[("bucket", "b")]), &provider),
        Ok(token("theirs"))
    );
    // A link that names one takes no login from the defaults, and no secret of theirs.
    let own = with_secrets(&[("token_secret", "mine")], &[("mine", "own")]);
    assert_eq!(read(&own, &provider), Ok(token("own")));
    let theirs = with_secrets(&[("token_secret", "common")], &[]);
    let error = read(&theirs, &provider).unwrap_err();
    assert!(matches!(error, ConfigError::NoSuchSecret { .. }), "{error}");
}
