//! Configuration of a link and of the provider.

use std::collections::HashMap;
use std::time::Duration;

use eventual_batch_engine::Secret;
use eventual_batch_links::{LinkSettings, RawSettings};

/// At the end of each secret, so that it would be seen.
const MARK: &str = "MARKED-SECRET";

const SECRETS: [&str; 6] = [
    "client_seed",
    "credentials",
    "nkey_seed",
    "password",
    "tls_key",
    "token",
];

/// Lines of `key=value`, after `!` secrets; those after an empty line are the provider's. If the
/// first line is `?`, all secrets are marked, and none of them may be seen again.
pub fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (marked, text) = match text.strip_prefix("?\n") {
        Some(text) => (true, text),
        None => (false, text.as_ref()),
    };
    let (link, provider) = text.split_once("\n\n").unwrap_or((text, ""));
    let default_timeout = Duration::from_millis(1800);
    let (link, provider) = (values(link, marked), values(provider, marked));
    let shown = match LinkSettings::read(&link, &provider, default_timeout) {
        Ok(settings) => {
            assert_usable(&settings);
            format!("{settings:?}")
        }
        Err(error) => {
            assert!(error.to_string().contains('`'), "it names no key: {error}");
            format!("{error} {error:?}")
        }
    };
    let shown = format!("{shown} {link:?} {provider:?}");
    assert!(!shown.contains(MARK), "{shown}");
}

fn values(text: &str, marked: bool) -> RawSettings {
    let mut config = HashMap::new();
    let mut secrets = HashMap::new();
    for line in text.lines() {
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        // So that texts of many lines can be values.
        let mut value = value.replace("\\n", "\n");
        let (key, is_secret) = match key.strip_prefix('!') {
            Some(key) => (key, true),
            None => (key, SECRETS.contains(&key)),
        };
        if marked && is_secret {
            value.push_str(MARK);
        }
        if line.starts_with('!') {
            secrets.insert(key.to_owned(), Secret::new(value));
        } else {
            config.insert(key.to_owned(), value);
        }
    }
    RawSettings::new(config, secrets)
}

fn assert_usable(settings: &LinkSettings) {
    let is_token = |name: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        !name.is_empty() && name.bytes().all(allowed)
    };
    assert!(is_token(&settings.bucket.name));
    assert!(settings.bucket.domain.as_deref().is_none_or(is_token));
    for (place, (alias, bucket)) in settings.buckets.iter().enumerate() {
        assert!(is_token(&bucket.name));
        assert!(!alias.is_empty() && alias != "default");
        let before = &settings.buckets[..place];
        assert!(before.iter().all(|(other, _)| other != alias));
    }
    let limits = settings.limits;
    assert!(limits.max_concurrency > 0 && limits.max_batch_keys > 0 && limits.max_batch_bytes > 0);
    assert!((50..=3_600_000).contains(&settings.timeout.as_millis()));
    assert!(!settings.connection.servers.is_empty());
    assert!(!settings.connection.display_servers().contains('@'));
    assert!(settings.connection.check().is_ok());
}
