//! What links' settings mean, and which are refused.

mod login;
mod secrets;
mod values;

use std::collections::HashMap;
use std::time::Duration;

use super::*;
use eventual_batch_engine::{Auth, Secret};

const DEFAULT_TIMEOUT: Duration = Duration::from_millis(1800);

fn values(pairs: &[(&str, &str)]) -> RawSettings {
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    RawSettings::new(pairs.iter().map(own).collect(), HashMap::new())
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

fn read_with(link: &RawSettings, defaults: &RawSettings) -> Result<LinkSettings, ConfigError> {
    LinkSettings::read(link, defaults, DEFAULT_TIMEOUT)
}

fn read(pairs: &[(&str, &str)]) -> Result<LinkSettings, ConfigError> {
    read_with(&values(pairs), &RawSettings::default())
}

fn refusal(pairs: &[(&str, &str)]) -> String {
    let mut all = vec![("bucket", "b")];
    all.extend(pairs);
    read(&all).expect_err("should be refused").to_string()
}
