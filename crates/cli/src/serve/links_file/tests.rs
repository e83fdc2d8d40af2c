use std::time::Duration;

use eventual_batch_engine::Auth;
use eventual_batch_links::LinkSettings;

use super::*;

fn read_link(text: &str, name: &str) -> LinkSettings {
    let file = parse(text).unwrap();
    let link = file.links.iter().find(|link| link.name == name).unwrap();
    let defaults = RawSettings::default();
    LinkSettings::read(&link.settings, &defaults, Duration::from_secs(1)).unwrap()
}

fn refused(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn strings_numbers_and_booleans_are_settings() {
    let text = r#"
        [links.default]
        bucket = "orders"
        max_batch_keys = 17
        enable_bucket_auto_create = true
        timeout = "3s"
    "#;
    let settings = read_link(text, "default");
    assert_eq!(settings.bucket.name, "orders");
    assert_eq!(settings.limits.max_batch_keys, 17);
    assert!(settings.bucket.create.is_some());
    assert_eq!(settings.timeout, Duration::from_secs(3));
}

#[test]
fn secrets_come_from_files_and_variables() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("password");
    std::fs::write(&path, "from a file \r\n").unwrap();
    // Every test process has a PATH, and tests must not set variables for each other.
    let text = format!(
        "[links.default]\nbucket = \"orders\"\nusername = \"shop\"\n\
         [links.default.secrets]\npassword = {{ file = {path:?} }}\n\
         [links.other]\nbucket = \"other\"\n[links.other.secrets]\ntoken.env = \"PATH\"\n"
    );
    let Auth::User { username, password } = read_link(&text, "default").connection.auth else {
        panic!("no user");
    };
    assert_eq!(
        (username.as_str(), password.expose()),
        ("shop", "from a file ")
    );
    let Auth::Token(token) = read_link(&text, "other").connection.auth else {
        panic!("no token");
    };
    assert_eq!(token.expose(), std::env::var("PATH").unwrap());
}

#[test]
fn mistakes_are_named() {
    let link = |rest: &str| refused(&format!("[links.default]\nbucket = \"orders\"\n{rest}"));
    for (said, expected) in [
        (
            refused(""),
            "there is no link in it; begin with a table [links.default]",
        ),
        (
            refused("[link.default]"),
            "`link` has no meaning here; the file has tables [links.NAME] and [watch.NAME] only",
        ),
        (refused("links = 3"), "`links` has no meaning here"),
        (
            refused("[links]\nbucket = \"a\""),
            "`links.bucket` is a string; each link is a table",
        ),
        (
            refused("[links.archive]\nbucket = \"a\""),
            "no link is named `default`",
        ),
        (
            link("max_batch_kexs = 1"),
            "link `default`: `max_batch_kexs` is no setting of a link; did you mean `max_batch_keys`?",
        ),
        (
            link("zzzzzzzzzzzz = 1"),
            "`zzzzzzzzzzzz` is no setting of a link",
        ),
        (
            link("cluster_uri = [\"a\"]"),
            "`cluster_uri` is an array; write a string, a number",
        ),
        (
            link("watch = \"a\""),
            "link `default`: `watch` means nothing to a link; write it in a table [watch.NAME]",
        ),
        (
            link("[watch]\norders = 1"),
            "`watch.orders` is a number; each watch is a table [watch.NAME]",
        ),
        (
            link("[watch.orders]\nwatsh_from = 1"),
            "watch `orders`: `watsh_from` is no setting of a link; did you mean `watch_from`?",
        ),
        (link("secrets = 1"), "`secrets` is a number; it is a table"),
        (
            link("secrets.buckets.env = \"A\""),
            "`buckets` is no secret; write it in the link's own table",
        ),
        (
            link("secrets.pasword.env = \"A\""),
            "`pasword` is no setting of a link; did you mean `password`?",
        ),
        (
            link("secrets.password = \"s3cret\""),
            "secret `password`: say where it is, with { env = \"VARIABLE\" } or",
        ),
        (
            link("secrets.password = { env = \"A\", file = \"B\" }"),
            "secret `password`: say where it is",
        ),
        (
            link("secrets.password = { path = \"B\" }"),
            "secret `password`: say where it is",
        ),
        (
            link("secrets.password.env = \"NO_SUCH_VARIABLE\""),
            "link `default`: secret `password`: the environment variable `NO_SUCH_VARIABLE` is not set",
        ),
        (
            link("secrets.password.file = \"/no/such\""),
            "link `default`: secret `password`: /no/such cannot be read: No such file",
        ),
        (
            link("password = \"s3cret\"\nsecrets.password.env = \"PATH\""),
            "`password` is set in the link's table and among its secrets",
        ),
        (link("password = \"s3cret"), "line 3: this is not TOML:"),
        (
            link("bucket = \"s3cret\""),
            "line 3: this is not TOML: duplicate key",
        ),
    ] {
        assert!(said.contains(expected), "{said:?} is not {expected:?}");
        assert!(!said.contains("s3cret"), "{said}");
    }
}

#[test]
fn watches_stand_beside_links() {
    let file = "[links.default]\nbucket = \"index\"\n[watch.orders]\nbucket = \"orders\"\n\
                watch = \"orders.>\"\nwatch_max_in_flight = 3\n\
                [watch.orders.secrets]\ntoken.env = \"PATH\"\n";
    let file = parse(file).unwrap();
    let names = |links: &[FileLink]| -> Vec<String> {
        links.iter().map(|link| link.name.clone()).collect()
    };
    assert_eq!(names(&file.links), ["default"]);
    assert_eq!(names(&file.watches), ["orders"]);
}
