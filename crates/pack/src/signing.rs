//! The keys that sign an archive.

use std::env::{self, VarError};

use anyhow::{Result, bail};
use nkeys::{KeyPair, KeyPairType};

/// The variables that `wash` takes the same keys from.
const ISSUER: &str = "WASH_ISSUER_KEY";
const SUBJECT: &str = "WASH_SUBJECT_KEY";

/// Who signs the archive, and which provider it is.
pub(crate) struct SigningKeys {
    pub(crate) issuer: KeyPair,
    /// The provider's identity: what mappings of secrets name.
    pub(crate) subject: KeyPair,
}

impl SigningKeys {
    /// The keys whose seeds the environment has, else fresh ones, with a warning.
    ///
    /// # Errors
    ///
    /// If a variable has something else than a seed of the right kind. The error does not say what.
    pub(crate) fn from_env() -> Result<Self> {
        let issuer = key(ISSUER, variable(ISSUER)?.as_deref(), &KeyPairType::Account)?;
        let subject = key(
            SUBJECT,
            variable(SUBJECT)?.as_deref(),
            &KeyPairType::Service,
        )?;
        if issuer.is_none() {
            eprintln!(
                "warning: {ISSUER} is not set: the archive is signed by an account that is made for \
                 it alone. `wash keys gen account` makes one to keep"
            );
        }
        if subject.is_none() {
            eprintln!(
                "warning: {SUBJECT} is not set: the archive gets a new subject, which differs from \
                 that of every earlier release. Secrets that are mapped to an earlier subject are \
                 not found by this provider. `wash keys gen service` makes a key to keep"
            );
        }
        Ok(Self {
            issuer: issuer.unwrap_or_else(KeyPair::new_account),
            subject: subject.unwrap_or_else(KeyPair::new_service),
        })
    }
}

/// What a variable has. An empty one counts as not set: so a workflow passes on a secret that nobody
/// has stored.
fn variable(name: &str) -> Result<Option<String>> {
    match env::var(name) {
        Ok(seed) if seed.trim().is_empty() => Ok(None),
        Ok(seed) => Ok(Some(seed)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => bail!("{name} is no text"),
    }
}

/// The key of a seed. No error holds any of the seed.
fn key(variable: &str, seed: Option<&str>, kind: &KeyPairType) -> Result<Option<KeyPair>> {
    let Some(seed) = seed else {
        return Ok(None);
    };
    let (word, prefix) = match kind {
        KeyPairType::Account => ("account", "SA"),
        _ => ("service", "SV"),
    };
    match KeyPair::from_seed(seed.trim()) {
        Ok(key) if key.key_pair_type() == *kind => Ok(Some(key)),
        _ => bail!(
            "{variable} has no seed of a key of the kind {word}: such a seed is one word of 58 \
             characters that begins with {prefix}, and `wash keys gen {word}` makes one"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pair: &KeyPair, kind: &KeyPairType) -> Result<Option<KeyPair>> {
        key(SUBJECT, Some(&pair.seed()?), kind)
    }

    #[test]
    fn a_seed_gives_the_same_key_each_time() -> Result<()> {
        let service = KeyPair::new_service();
        let found = of(&service, &KeyPairType::Service)?.map(|key| key.public_key());
        assert_eq!(found, Some(service.public_key()));
        let account = KeyPair::new_account();
        let seed = format!(" {}\n", account.seed()?);
        let found = key(ISSUER, Some(&seed), &KeyPairType::Account)?.map(|key| key.public_key());
        assert_eq!(found, Some(account.public_key()));
        Ok(())
    }

    #[test]
    fn no_seed_is_no_key() -> Result<()> {
        assert!(key(SUBJECT, None, &KeyPairType::Service)?.is_none());
        Ok(())
    }

    #[test]
    fn what_is_no_such_seed_is_an_error_that_does_not_repeat_it() -> Result<()> {
        let account = KeyPair::new_account();
        let truncated = account.seed()?[..50].to_owned();
        let public = KeyPair::new_service().public_key();
        for wrong in [account.seed()?, truncated, public, "secret".to_owned()] {
            let error = match key(SUBJECT, Some(&wrong), &KeyPairType::Service) {
                Ok(_) => bail!("accepted what is no seed of a service"),
                Err(error) => format!("{error:#}"),
            };
            assert!(error.contains("wash keys gen service"), "{error}");
            assert!(!error.contains(&wrong), "{error}");
        }
        Ok(())
    }
}
