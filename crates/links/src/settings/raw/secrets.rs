//! Which of a link's secrets a setting means.
//!
//! A secret has the name of its setting, unless a setting `KEY_secret` says another name.
//! Deployment tools may keep one secret of each name for a whole lattice or a whole manifest. So a
//! link must be able to say which one is its password.

use tracing::warn;

use super::super::{ConfigError, SECRETS, named_secret_setting};
use super::RawSettings;
use eventual_batch_engine::Secret;

impl RawSettings {
    /// The value of a setting that may be a secret. Warns if it is one and no secret.
    ///
    /// # Errors
    ///
    /// A secret that is named is not there, or is not the only value of its setting.
    pub(super) fn secret(&self, key: &str) -> Result<Option<Secret>, ConfigError> {
        if let Some(secret) = self.named_secret(key)? {
            return Ok(Some(secret));
        }
        if let Some(secret) = self.secrets.get(key) {
            return Ok(Some(secret.clone()));
        }
        let plain = self.config.get(key);
        if plain.is_some() && SECRETS.contains(&key) {
            warn!(
                key,
                "a secret is set as plain configuration; move it to the link's secrets"
            );
        }
        Ok(plain.cloned().map(Secret::new))
    }

    /// The secret that `KEY_secret` names. `None` if it is not set.
    fn named_secret(&self, key: &str) -> Result<Option<Secret>, ConfigError> {
        let setting = format!("{key}_secret");
        if named_secret_setting(&setting).is_none() {
            return Ok(None);
        }
        let Some(name) = self.config.get(&setting).map(|name| name.trim()) else {
            return Ok(None);
        };
        if name.is_empty() {
            let accepted = "the name of a secret; leave the key out for the secret of its own name";
            return Err(ConfigError::bad(&setting, name, accepted));
        }
        let of_own_name = name != key && self.secrets.contains_key(key);
        if of_own_name || self.config.contains_key(key) {
            let reason = format!("cannot be set together with `{key}`; keep one of them");
            return Err(ConfigError::unusable(&setting, reason));
        }
        let secret = self.secrets.get(name).cloned();
        secret.map(Some).ok_or_else(|| {
            let mut arrived: Vec<_> = self.secrets.keys().cloned().collect();
            arrived.sort_unstable();
            ConfigError::NoSuchSecret {
                setting,
                name: name.to_owned(),
                arrived: arrived.into(),
            }
        })
    }

    /// The secrets that no setting names.
    pub(super) fn unnamed_secrets(&self) -> impl Iterator<Item = &String> {
        let is_named = |secret: &str| {
            let mut config = self.config.iter();
            config.any(|(key, name)| named_secret_setting(key).is_some() && name.trim() == secret)
        };
        self.secrets.keys().filter(move |name| !is_named(name))
    }
}
