//! Addresses, logins and TLS.

use super::*;

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
