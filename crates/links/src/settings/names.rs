//! The names of settings: which there are, and which one a misspelt name may mean.

use super::{LOGIN, OTHERS, SECRETS, TLS, WATCH, WITH_WATCH};

/// Which way the calls of a link go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// A component uses buckets.
    Calls,
    /// A component is told of changes.
    Watch,
}

impl LinkKind {
    /// Why a setting does nothing on such a link; `None`: it does something.
    pub(super) fn why_useless(self, key: &str) -> Option<&'static str> {
        let is_watch = WATCH.contains(&key);
        match self {
            Self::Calls if is_watch => Some(
                "this configuration key has a meaning only on a link that begins at the provider \
                 and ends at a component (`--source-config`)",
            ),
            Self::Watch if OTHERS.contains(&key) && !WITH_WATCH.contains(&key) => {
                Some("this configuration key has no meaning on a link that watches a bucket")
            }
            _ => None,
        }
    }
}

/// Whether a link has a setting of this name.
#[must_use]
pub fn is_setting(key: &str) -> bool {
    known().any(|known| known == key)
}

/// Whether this setting is looked up in a link's secrets. Other settings are read from the
/// configuration only.
#[must_use]
pub fn is_secret_setting(key: &str) -> bool {
    let may_be_secret = LOGIN.contains(&key) || key == "tls_key";
    may_be_secret && named_secret_setting(key).is_none()
}

/// The setting whose secret this one names: of `password_secret` it is `password`. `None` if the
/// setting names no secret.
///
/// Its value is the name that the secret has among the link's secrets. Without it, the secret has
/// the name of its setting.
#[must_use]
pub fn named_secret_setting(key: &str) -> Option<&str> {
    let setting = key.strip_suffix("_secret")?;
    SECRETS.contains(&setting).then_some(setting)
}

/// The setting that a misspelt name most likely means. `None` if none is near.
#[must_use]
pub fn nearest_setting(key: &str) -> Option<&'static str> {
    let key = key.to_ascii_lowercase();
    let distance = |known: &&str| strsim::damerau_levenshtein(&key, known);
    known()
        .min_by_key(distance)
        .filter(|nearest| distance(nearest) <= nearest.len() / 2)
}

fn known() -> impl Iterator<Item = &'static str> {
    [LOGIN, TLS, OTHERS, WATCH].into_iter().flatten().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_finds_its_neighbour() {
        assert_eq!(nearest_setting("max_concurency"), Some("max_concurrency"));
        assert_eq!(nearest_setting("Bucket"), Some("bucket"));
        assert_eq!(nearest_setting("entirely_else"), None);
        assert!(is_setting("bucket") && !is_setting("Bucket"));
    }

    #[test]
    fn every_secret_may_be_among_the_secrets() {
        for key in SECRETS {
            assert!(is_setting(key) && is_secret_setting(key), "{key}");
        }
        assert!(!is_secret_setting("bucket") && !is_secret_setting("tls_cert"));
    }

    #[test]
    fn each_secret_has_a_setting_that_names_it_and_is_none_itself() {
        for secret in SECRETS {
            let naming = format!("{secret}_secret");
            assert!(
                is_setting(&naming) && !is_secret_setting(&naming),
                "{naming}"
            );
            assert_eq!(named_secret_setting(&naming), Some(*secret));
        }
        for other in ["password", "username_secret", "_secret", "bucket_secret"] {
            assert_eq!(named_secret_setting(other), None, "{other}");
        }
    }
}
