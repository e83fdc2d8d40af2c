//! Which secret a setting means.

use super::*;

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
fn a_setting_names_which_secret_is_meant() {
    let none = RawSettings::default();
    let auth = |link: &RawSettings| {
        let settings = read_with(link, &none).unwrap();
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
        let error = read_with(&named(setting), &none).unwrap_err();
        let key = setting.trim_end_matches("_secret");
        assert!(error.to_string().contains(&format!("`{key}`")), "{error}");
    }
    for (setting, needs) in [
        ("client_seed_secret", "`client_jwt`"),
        ("tls_key_secret", "`tls_cert`"),
    ] {
        let error = read_with(&named(setting), &none).unwrap_err();
        assert!(error.to_string().contains(needs), "{error}");
    }
}

#[test]
fn a_named_secret_that_is_not_there_is_told_with_those_that_are() {
    let refusal = |config: &[(&str, &str)], secrets: &[(&str, &str)]| {
        let link = with_secrets(config, secrets);
        let read = read_with(&link, &RawSettings::default());
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
        let settings = read_with(link, provider)?;
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
