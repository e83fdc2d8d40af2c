//! Where values come from: a link's secrets and configuration first, then the defaults.

mod secrets;

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use tracing::warn;

use super::{ConfigError, LONGEST_TTL, LinkKind, is_setting, nearest_setting, parse_in_range};
use eventual_batch_engine::Secret;

/// The strings that a link was given, or that a front end has as defaults.
#[derive(Clone, Default, PartialEq)]
pub struct RawSettings {
    config: HashMap<String, String>,
    secrets: HashMap<String, Secret>,
}

/// Shows which keys are set and no value: a password may stand in the configuration.
impl fmt::Debug for RawSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawSettings")
            .field("config", &self.config.keys())
            .field("secrets", &self.secrets.keys())
            .finish()
    }
}

impl RawSettings {
    /// Takes the strings over.
    #[must_use]
    pub fn new(config: HashMap<String, String>, secrets: HashMap<String, Secret>) -> Self {
        Self { config, secrets }
    }

    /// The same secrets with another configuration.
    #[must_use]
    pub fn with_config(&self, config: HashMap<String, String>) -> Self {
        Self::new(config, self.secrets.clone())
    }

    /// Warns of keys that mean nothing: a misspelt one would otherwise be a silent default. `whose`
    /// says whose values these are.
    pub fn warn_of_unknown_keys(&self, whose: &str) {
        // For telemetry. A host hands them to a process beside its configuration.
        let is_of_sdk = |key: &str| key.to_ascii_uppercase().starts_with("OTEL_");
        for key in self.config.keys().chain(self.unnamed_secrets()) {
            if is_setting(key) || is_of_sdk(key) {
                continue;
            }
            if let Some(nearest) = nearest_setting(key) {
                warn!(
                    key,
                    whose, "unknown configuration key; did you mean `{nearest}`?"
                );
            } else if self.secrets.contains_key(key) {
                warn!(
                    key,
                    whose,
                    "unknown secret: no setting has its name, and none such as `password_secret` \
                     names it"
                );
            } else {
                warn!(key, whose, "unknown configuration key");
            }
        }
    }

    /// Warns of keys that mean nothing on a link of this kind.
    pub(crate) fn warn_of_useless_keys(&self, whose: &str, kind: LinkKind) {
        for key in self.config.keys() {
            if let Some(why) = kind.why_useless(key) {
                warn!(key, whose, "{why}");
            }
        }
    }

    fn has(&self, key: &str) -> bool {
        self.config.contains_key(key) || self.secrets.contains_key(key)
    }
}

/// Looks values up: in the link's first, then in the defaults.
pub(super) struct Lookup<'a> {
    link: &'a RawSettings,
    defaults: &'a RawSettings,
    /// Groups of keys of which the link sets one. No default of such a group counts.
    set_by_link: Vec<&'static [&'static str]>,
}

impl<'a> Lookup<'a> {
    pub(super) fn new(
        link: &'a RawSettings,
        defaults: &'a RawSettings,
        groups: &[&'static [&'static str]],
    ) -> Self {
        let has_one = |group: &&[&str]| group.iter().any(|key| link.has(key));
        Self {
            link,
            defaults,
            set_by_link: groups.iter().copied().filter(has_one).collect(),
        }
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, ConfigError> {
        match self.places(key).find_map(|place| place.config.get(key)) {
            Some(value) if value.trim().is_empty() => Err(ConfigError::bad(
                key,
                value,
                "a value; leave the key out for the default",
            )),
            value => Ok(value.map(|value| value.trim())),
        }
    }

    pub(super) fn secret(&self, key: &str) -> Result<Option<Secret>, ConfigError> {
        let mut found = self.places(key).map(|place| place.secret(key));
        match found.find_map(Result::transpose).transpose()? {
            Some(secret) if secret.expose().trim().is_empty() => Err(ConfigError::unusable(
                key,
                "is empty; leave it out if it is not needed".to_owned(),
            )),
            found => Ok(found),
        }
    }

    pub(super) fn number<T>(&self, key: &str, min: T, max: T) -> Result<Option<T>, ConfigError>
    where
        T: Copy + FromStr + PartialOrd + fmt::Display,
    {
        self.parsed(
            key,
            |text| parse_in_range(text, min, max),
            &format_args!("a whole number from {min} to {max}"),
        )
    }

    pub(super) fn duration(
        &self,
        key: &str,
        min: Duration,
        max: Duration,
    ) -> Result<Option<Duration>, ConfigError> {
        let parse = |text: &str| {
            let duration = humantime::parse_duration(text).ok()?;
            (min..=max).contains(&duration).then_some(duration)
        };
        self.parsed(
            key,
            parse,
            &format_args!(
                "a duration such as `1500ms`, `30s` or `24h`, from {} to {}",
                humantime::format_duration(min),
                humantime::format_duration(max)
            ),
        )
    }

    /// A time to live of a message. The server counts whole seconds, and takes none under one
    /// second (ADR-43).
    pub(super) fn time_to_live(&self, key: &str) -> Result<Option<Duration>, ConfigError> {
        let min = Duration::from_secs(1);
        let parse = |text: &str| {
            let duration = humantime::parse_duration(text).ok()?;
            let is_whole = duration.subsec_nanos() == 0;
            (is_whole && (min..=LONGEST_TTL).contains(&duration)).then_some(duration)
        };
        self.parsed(
            key,
            parse,
            &format_args!(
                "a duration in whole seconds such as `30s` or `24h`, from {} to {}",
                humantime::format_duration(min),
                humantime::format_duration(LONGEST_TTL)
            ),
        )
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, ConfigError> {
        let parse = |text: &str| text.to_ascii_lowercase().parse().ok();
        self.parsed(key, parse, "`true` or `false`")
    }

    /// How long one call may take.
    pub(super) fn call_timeout(&self, key: &str) -> Result<Option<Duration>, ConfigError> {
        self.duration(key, Duration::from_millis(50), Duration::from_secs(3600))
    }

    /// One of these words, and what it stands for.
    pub(super) fn choice<T: Copy>(
        &self,
        key: &str,
        choices: &[(&str, T)],
    ) -> Result<Option<T>, ConfigError> {
        let parse = |text: &str| {
            let chosen = choices.iter().find(|(word, _)| *word == text);
            chosen.map(|(_, meaning)| *meaning)
        };
        self.parsed(key, parse, &Choices(choices))
    }

    fn parsed<T>(
        &self,
        key: &str,
        parse: impl Fn(&str) -> Option<T>,
        accepted: &(impl fmt::Display + ?Sized),
    ) -> Result<Option<T>, ConfigError> {
        self.text(key)?
            .map(|text| parse(text).ok_or_else(|| ConfigError::bad(key, text, accepted)))
            .transpose()
    }

    fn places(&self, key: &str) -> impl Iterator<Item = &'a RawSettings> {
        let link_only = self.set_by_link.iter().any(|group| group.contains(&key));
        let defaults = (!link_only).then_some(self.defaults);
        std::iter::once(self.link).chain(defaults)
    }
}

/// The words of a choice: `a`, `b` or `c`.
struct Choices<'a, T>(&'a [(&'a str, T)]);

impl<T> fmt::Display for Choices<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(choices) = self;
        for (place, (word, _)) in choices.iter().enumerate() {
            let before = match place {
                0 => "",
                place if place + 1 < choices.len() => ", ",
                _ => " or ",
            };
            write!(f, "{before}`{word}`")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_value() {
        let values = RawSettings::new(
            HashMap::from([("password".to_owned(), "hunter2".to_owned())]),
            HashMap::from([("token".to_owned(), Secret::new("s3cret".to_owned()))]),
        );
        let shown = format!("{values:?}");
        assert!(
            shown.contains("password") && shown.contains("token"),
            "{shown}"
        );
        assert!(
            !shown.contains("hunter2") && !shown.contains("s3cret"),
            "{shown}"
        );
    }
}
