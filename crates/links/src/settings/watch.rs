//! The settings of a link over which a component is told of changes.

use std::fmt::Display;
use std::time::Duration;

use eventual_batch_engine::{
    ConnectionSettings, KeyEncoding, WatchFrom, WatchPattern, WatchSettings, WatchedChanges,
};
use sha2::{Digest as _, Sha256};

use super::raw::Lookup;
use super::{
    ConfigError, LOGIN, RawSettings, TLS, bucket_spec, connection, key_encoding, write_settings,
};

const DEFAULT_MAX_IN_FLIGHT: usize = 16;
const DEFAULT_MAX_DELIVER: u32 = 10;

/// The most entries of `watch`.
const MAX_PATTERNS: usize = 256;

/// What tells a link that watches from every other one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchIdentity {
    /// Where the link is: a lattice, or a program.
    pub scope: String,
    /// Who watches: the provider.
    pub source: String,
    /// Who is told: the component.
    pub target: String,
    /// The link's name.
    pub link: String,
}

impl WatchIdentity {
    /// The name of the consumer. All instances find it again under this name, and no other link has
    /// it.
    fn consumer_name(&self, bucket: &str, domain: Option<&str>) -> String {
        let mut hash = Sha256::new();
        let domain = domain.unwrap_or_default();
        for part in [
            &self.scope,
            &self.source,
            &self.target,
            &self.link,
            bucket,
            domain,
        ] {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        let hash = u128::from_be_bytes(hash.finalize()[..16].try_into().unwrap_or_default());
        format!("eventual-batch-watch-{hash:032x}")
    }
}

/// Which changes a component is told of, and how to reach the bucket.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchLinkSettings {
    /// How to reach NATS and log in.
    pub connection: ConnectionSettings,
    /// What is watched, and how.
    pub watch: WatchSettings,
}

impl WatchLinkSettings {
    /// Reads a link's settings. `default_timeout` is how long a call may take unless the link says.
    ///
    /// # Errors
    ///
    /// The first value that cannot be used.
    pub fn read(
        link: &RawSettings,
        defaults: &RawSettings,
        identity: &WatchIdentity,
        default_timeout: Duration,
    ) -> Result<Self, ConfigError> {
        let lookup = Lookup::new(link, defaults, &[LOGIN, TLS]);
        let bucket = bucket_spec(&lookup, &write_settings(&lookup)?)?;
        let encoding = key_encoding(&lookup)?;
        let list = lookup.text("watch")?.ok_or_else(|| {
            ConfigError::missing("watch", "keys or NATS wildcards, comma-separated")
        })?;
        Ok(Self {
            connection: connection(&lookup)?,
            watch: WatchSettings {
                name: identity.consumer_name(&bucket.name, bucket.domain.as_deref()),
                bucket,
                encoding,
                patterns: parse_patterns(list, encoding)?,
                from: lookup
                    .choice(
                        "watch_from",
                        &[("new", WatchFrom::New), ("last", WatchFrom::Last)],
                    )?
                    .unwrap_or(WatchFrom::New),
                durable: lookup.flag("watch_durable")?.unwrap_or(true),
                max_in_flight: lookup
                    .number("watch_max_in_flight", 1, 1024)?
                    .unwrap_or(DEFAULT_MAX_IN_FLIGHT),
                max_deliver: lookup
                    .number("watch_max_deliver", 1, 1_000_000)?
                    .unwrap_or(DEFAULT_MAX_DELIVER),
                call_timeout: lookup
                    .call_timeout("watch_timeout")?
                    .unwrap_or(default_timeout),
            },
        })
    }
}

/// The entries of `watch`: a key or a wildcard, with `SET@` or `DEL@` before it for one kind of
/// change.
fn parse_patterns(list: &str, encoding: KeyEncoding) -> Result<Vec<WatchPattern>, ConfigError> {
    let mut patterns = Vec::new();
    for entry in list.split(',') {
        let entry = entry.trim();
        let (changes, text) = if let Some(text) = entry.strip_prefix("SET@") {
            (WatchedChanges::Sets, text)
        } else if let Some(text) = entry.strip_prefix("DEL@") {
            (WatchedChanges::Deletes, text)
        } else {
            (WatchedChanges::All, entry)
        };
        let refused = |problem: &dyn Display| {
            let accepted = format_args!(
                "keys or NATS wildcards such as `orders.>`, comma-separated, each with `SET@` or \
                 `DEL@` before it or neither; {problem}"
            );
            ConfigError::bad("watch", list, &accepted)
        };
        // The empty text is a key in base64. More likely, there is a comma too many.
        if text.is_empty() {
            return Err(refused(&format_args!("{entry:?} is empty")));
        }
        let pattern =
            WatchPattern::new(text, encoding, changes).map_err(|error| refused(&error))?;
        patterns.push(pattern);
    }
    if patterns.len() > MAX_PATTERNS {
        let accepted = format_args!("at most {MAX_PATTERNS} entries");
        return Err(ConfigError::bad("watch", list, &accepted));
    }
    Ok(patterns)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(2);

    fn identity() -> WatchIdentity {
        WatchIdentity {
            scope: "default".to_owned(),
            source: "VPROVIDER".to_owned(),
            target: "index".to_owned(),
            link: "default".to_owned(),
        }
    }

    fn read(pairs: &[(&str, &str)]) -> Result<WatchLinkSettings, ConfigError> {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let raw = RawSettings::new(pairs.iter().map(own).collect(), HashMap::new());
        WatchLinkSettings::read(&raw, &RawSettings::default(), &identity(), TIMEOUT)
    }

    #[test]
    fn the_bucket_and_what_is_watched_are_required() {
        let settings = read(&[("bucket", "orders"), ("watch", "SET@orders.>, DEL@a,b")]).unwrap();
        let watch = settings.watch;
        let pattern = |text, changes| WatchPattern::new(text, KeyEncoding::None, changes).unwrap();
        assert_eq!(
            watch.patterns,
            [
                pattern("orders.>", WatchedChanges::Sets),
                pattern("a", WatchedChanges::Deletes),
                pattern("b", WatchedChanges::All),
            ]
        );
        assert_eq!((watch.from, watch.durable), (WatchFrom::New, true));
        assert_eq!((watch.max_in_flight, watch.max_deliver), (16, 10));
        assert_eq!(watch.call_timeout, TIMEOUT);
        for (pairs, says) in [
            (&[("watch", "a")][..], "`bucket` is missing"),
            (&[("bucket", "b")], "`watch` is missing"),
        ] {
            let refused = read(pairs).unwrap_err().to_string();
            assert!(refused.contains(says), "{refused}");
        }
    }

    #[test]
    fn a_bad_value_is_named_with_what_is_accepted() {
        for (key, value, says) in [
            ("watch", "a,,b", "is empty"),
            ("watch", "GET@a", "'@'"),
            ("watch", "a.>.b", "not the last part"),
            ("watch", "SET@", "is empty"),
            ("watch_from", "first", "`new` or `last`"),
            ("watch_durable", "maybe", "`true` or `false`"),
            ("watch_max_in_flight", "0", "from 1 to 1024"),
            ("watch_max_deliver", "0", "from 1 to 1000000"),
            ("watch_timeout", "1ms", "from 50ms to 1h"),
        ] {
            let mut pairs = vec![("bucket", "b"), (key, value)];
            if key != "watch" {
                pairs.push(("watch", ">"));
            }
            let refused = read(&pairs).unwrap_err().to_string();
            let names = format!("`{key}` = {value:?}");
            assert!(
                refused.contains(&names) && refused.contains(says),
                "{refused}"
            );
        }
        for (list, says) in [
            ("a.*", "stored as base64"),
            ("a,", "is empty"),
            ("SET@", "is empty"),
        ] {
            let base64 = [("bucket", "b"), ("watch", list), ("key_encoding", "base64")];
            let refused = read(&base64).unwrap_err().to_string();
            assert!(refused.contains(says), "{refused}");
        }
        let many = vec!["a"; MAX_PATTERNS + 1].join(",");
        let refused = read(&[("bucket", "b"), ("watch", &many)]).unwrap_err();
        assert!(refused.to_string().contains("at most 256"), "{refused}");
    }

    #[test]
    fn two_links_never_share_a_consumer() {
        let name = |change: &dyn Fn(&mut WatchIdentity), bucket: &str| {
            let mut identity = identity();
            change(&mut identity);
            identity.consumer_name(bucket, None)
        };
        let own = name(&|_| {}, "b");
        assert_eq!(own, name(&|_| {}, "b"), "it is found again");
        let others = [
            name(&|it| it.scope.push('x'), "b"),
            name(&|it| it.source.push('x'), "b"),
            name(&|it| it.target.push('x'), "b"),
            name(&|it| it.link.push('x'), "b"),
            name(&|_| {}, "c"),
            identity().consumer_name("b", Some("hub")),
        ];
        for other in others {
            assert_ne!(own, other);
        }
    }
}
