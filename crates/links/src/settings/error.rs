//! Why a link's configuration is refused.

use std::fmt::Display;

use eventual_batch_engine::SettingError;

use super::SECRETS;
use crate::hints::key_of;

/// Names the key and, unless it is a secret, the value, and says what is accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A required key is not there.
    #[error("`{key}` is missing: set it to {accepted}")]
    Missing {
        /// The configuration key.
        key: &'static str,
        /// What to set it to.
        accepted: &'static str,
    },
    /// A value that is not accepted.
    #[error("`{key}` = {value:?} is not accepted: expected {accepted}")]
    Bad {
        /// The configuration key.
        key: String,
        /// The value.
        value: String,
        /// What is accepted.
        accepted: String,
    },
    /// A value that cannot be used, and is not shown.
    #[error("`{key}` {reason}")]
    Unusable {
        /// The configuration key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The secret that a setting names is not there.
    #[error(
        "`{setting}` names the secret {name:?}, which did not arrive{}",
        names_that_arrived(arrived)
    )]
    NoSuchSecret {
        /// The setting that names it.
        setting: String,
        /// The secret's name.
        name: String,
        /// The names of the secrets that are there, in order.
        arrived: Box<[String]>,
    },
    /// One half of a pair.
    #[error(
        "`{given}` needs `{missing}` beside it{}",
        where_a_secret_is_looked_for(missing)
    )]
    Pair {
        /// The key that is set.
        given: &'static str,
        /// The key that is not.
        missing: &'static str,
    },
    /// More than one way to log in.
    #[error(
        "more than one way to log in is set; keep one of `client_jwt` + `client_seed`, \
         `credentials`, `username` + `password`, `token`, `nkey_seed`"
    )]
    SeveralLogins,
}

impl ConfigError {
    pub(super) fn missing(key: &'static str, accepted: &'static str) -> Self {
        Self::Missing { key, accepted }
    }

    pub(super) fn bad(key: &str, value: &str, accepted: &(impl Display + ?Sized)) -> Self {
        Self::Bad {
            key: key.to_owned(),
            value: value.to_owned(),
            accepted: accepted.to_string(),
        }
    }

    /// A value of `key` that cannot be used, and that is not shown; `reason` continues the
    /// sentence.
    #[must_use]
    pub fn unusable(key: &str, reason: String) -> Self {
        Self::Unusable {
            key: key.to_owned(),
            reason,
        }
    }

    /// The same for a setting of the connection.
    pub(crate) fn of_connection(error: SettingError) -> Self {
        Self::unusable(key_of(error.setting), error.problem)
    }

    pub(super) fn pair(given: &'static str, missing: &'static str) -> Self {
        Self::Pair { given, missing }
    }
}

/// The end of a sentence about a secret that is missing: which ones are not.
fn names_that_arrived(names: &[String]) -> String {
    const SHOWN: usize = 10;
    let shown = names.iter().take(SHOWN).map(|name| format!("{name:?}"));
    let shown = shown.collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => ", and no other secret did".to_owned(),
        1..=SHOWN => format!("; these did: {shown}"),
        all => format!("; these did: {shown} and {} more", all - SHOWN),
    }
}

/// The end of a sentence about a setting that is missing. Empty unless it is a secret.
fn where_a_secret_is_looked_for(key: &str) -> String {
    if SECRETS.contains(&key) {
        format!(": there is no secret of that name, and no `{key}_secret` that names another one")
    } else {
        String::new()
    }
}
