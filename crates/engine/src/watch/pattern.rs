//! Which keys and which changes a watch is about.

use std::fmt;

use crate::keys::{KeyEncoding, KeyProblem};

/// All keys.
const ALL: &str = ">";

/// Which changes of a key are delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchedChanges {
    /// A key gets a value.
    Sets,
    /// A key loses its value.
    Deletes,
    /// Both.
    All,
}

/// One key, or a NATS wildcard for keys, and which of their changes are delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchPattern {
    /// As keys stand in the bucket.
    pattern: String,
    changes: WatchedChanges,
}

/// What is wrong with a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatternProblem {
    /// It is no key, and no wildcard either.
    Key(KeyProblem),
    /// `>` stands before the end.
    TailInside,
    /// A wildcard for keys that are stored as base64.
    Encoded,
}

/// A text that is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pattern:?} {problem}")]
pub struct InvalidPattern {
    /// The text.
    pub pattern: String,
    /// What is wrong with it.
    pub problem: PatternProblem,
}

impl fmt::Display for PatternProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(KeyProblem::Character('*' | '>')) => {
                write!(f, "has a wildcard that is not a whole part between dots")
            }
            Self::Key(problem) => problem.fmt(f),
            Self::TailInside => write!(f, "has a `>` that is not the last part"),
            Self::Encoded => write!(
                f,
                "is a wildcard, and the keys of this bucket are stored as base64, in which no \
                 wildcard finds them; name the keys one by one, or all of them by `>`"
            ),
        }
    }
}

impl WatchPattern {
    /// A pattern: a key, or tokens between dots of which some are `*` and the last may be `>`.
    ///
    /// With [`KeyEncoding::Base64`] a text is a key, and only `>` alone is a wildcard.
    ///
    /// # Errors
    ///
    /// [`InvalidPattern`]: the bucket cannot have such keys.
    pub fn new(
        text: &str,
        encoding: KeyEncoding,
        changes: WatchedChanges,
    ) -> Result<Self, InvalidPattern> {
        let invalid = |problem| InvalidPattern {
            pattern: text.to_owned(),
            problem,
        };
        let is_wildcard = |token: &str| matches!(token, "*" | ">");
        let has_wildcard = text.split('.').any(is_wildcard);
        let pattern = match encoding {
            _ if text == ALL => ALL.to_owned(),
            KeyEncoding::Base64 if has_wildcard => return Err(invalid(PatternProblem::Encoded)),
            _ if !has_wildcard => match encoding.encode(text) {
                Ok(key) => key.into_owned(),
                Err(error) => return Err(invalid(PatternProblem::Key(error.problem))),
            },
            _ => {
                let before_last = text.rsplit_once('.').map_or("", |(before, _)| before);
                if before_last.split('.').any(|token| token == ">") {
                    return Err(invalid(PatternProblem::TailInside));
                }
                let plain = |token| if is_wildcard(token) { "x" } else { token };
                let tokens: Vec<&str> = text.split('.').map(plain).collect();
                if let Err(error) = encoding.encode(&tokens.join(".")) {
                    return Err(invalid(PatternProblem::Key(error.problem)));
                }
                text.to_owned()
            }
        };
        Ok(Self { pattern, changes })
    }
}

/// Whether one of the patterns is about such a change of this key, as it stands in the bucket.
pub(super) fn wants(patterns: &[WatchPattern], key: &str, is_set: bool) -> bool {
    patterns.iter().any(|pattern| {
        let is_about = match pattern.changes {
            WatchedChanges::All => true,
            WatchedChanges::Sets => is_set,
            WatchedChanges::Deletes => !is_set,
        };
        is_about && covers(&pattern.pattern, key)
    })
}

/// Whether one of the patterns is about changes of this key.
pub(super) fn covers_key(patterns: &[WatchPattern], key: &str) -> bool {
    patterns.iter().any(|pattern| covers(&pattern.pattern, key))
}

/// The filters of a consumer that delivers what the patterns are about. They may let more through:
/// a server takes no filters that overlap.
pub(super) fn filters(patterns: &[WatchPattern]) -> Vec<String> {
    let mut filters: Vec<String> = Vec::new();
    for pattern in patterns {
        let mut new = pattern.pattern.clone();
        while let Some(at) = filters.iter().position(|known| overlap(known, &new)) {
            let known = filters.swap_remove(at);
            new = join(&known, &new);
        }
        filters.push(new);
    }
    filters.sort_unstable();
    filters
}

/// Whether `wide` matches all that `narrow` matches.
fn covers(wide: &str, narrow: &str) -> bool {
    let mut narrow = narrow.split('.');
    for token in wide.split('.') {
        match (token, narrow.next()) {
            (_, None) | ("*", Some(">")) => return false,
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (token, Some(other)) if token == other => {}
            _ => return false,
        }
    }
    narrow.next().is_none()
}

/// Whether some key matches both.
fn overlap(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('.'), other.split('.'));
    loop {
        match (one.next(), other.next()) {
            (None, None) | (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some("*"), Some(_)) | (Some(_), Some("*")) => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

/// The narrowest pattern that covers two that overlap.
fn join(one: &str, other: &str) -> String {
    let mut tokens = Vec::new();
    for (one, other) in one.split('.').zip(other.split('.')) {
        if one == ">" || other == ">" {
            tokens.push(">");
            break;
        }
        tokens.push(if one == other { one } else { "*" });
    }
    tokens.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> WatchPattern {
        WatchPattern::new(text, KeyEncoding::None, WatchedChanges::All).unwrap()
    }

    #[test]
    fn a_pattern_is_a_key_or_a_wildcard() {
        for text in [
            "a",
            "orders.1",
            ">",
            "*",
            "orders.>",
            "orders.*.open",
            "*.*",
        ] {
            assert_eq!(pattern(text).pattern, text);
        }
        let problem = |text, encoding| {
            let error = WatchPattern::new(text, encoding, WatchedChanges::All).unwrap_err();
            error.to_string()
        };
        for (text, says) in [
            ("", "is empty"),
            ("a b", "' '"),
            ("a*", "whole part"),
            ("a.b>", "whole part"),
            ("a.>.b", "not the last part"),
            (">.b", "not the last part"),
            (".>", "dot"),
            ("a..>", "dot"),
            ("*.a b", "' '"),
        ] {
            let error = problem(text, KeyEncoding::None);
            assert!(error.contains(says), "{text}: {error}");
        }
        for text in ["orders.>", "*", "a.*"] {
            let error = problem(text, KeyEncoding::Base64);
            assert!(error.contains("stored as base64"), "{text}: {error}");
        }
    }

    #[test]
    fn keys_of_a_base64_bucket_are_encoded_and_all_of_them_can_be_watched() {
        let encoded = |text| {
            let pattern = WatchPattern::new(text, KeyEncoding::Base64, WatchedChanges::All);
            pattern.unwrap().pattern
        };
        assert_eq!(encoded("a key"), "YSBrZXk");
        assert_eq!(encoded("a*b"), "YSpi");
        assert_eq!(encoded(">"), ">");
    }

    #[test]
    fn patterns_match_as_nats_subjects_do() {
        for (text, key, matches) in [
            ("a", "a", true),
            ("a", "a.b", false),
            ("a.*", "a.b", true),
            ("a.*", "a", false),
            ("a.*", "a.b.c", false),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            (">", "a.b", true),
            ("*.b", "a.b", true),
        ] {
            assert_eq!(wants(&[pattern(text)], key, true), matches, "{text} {key}");
        }
    }

    #[test]
    fn a_pattern_may_be_about_one_kind_of_change() {
        let sets = WatchPattern::new("a.>", KeyEncoding::None, WatchedChanges::Sets).unwrap();
        let deletes = WatchPattern::new("a.b", KeyEncoding::None, WatchedChanges::Deletes).unwrap();
        let both = [sets, deletes];
        assert!(wants(&both, "a.b", true) && wants(&both, "a.b", false));
        assert!(wants(&both, "a.c", true) && !wants(&both, "a.c", false));
    }

    #[test]
    fn filters_do_not_overlap_and_let_all_through() {
        let texts = [
            "a", "b", "a.b", "a.*", "*.b", "a.>", "*.*.c", "x.y.>", "x.*.z", "x.>",
        ];
        let keys = [
            "a", "b", "a.b", "a.c", "d.b", "p.q.c", "x.y.z", "x.w.z", "x.y", "a.b.c.d",
        ];
        // All sets of three.
        for one in texts {
            for two in texts {
                for three in texts {
                    let patterns = [one, two, three].map(pattern);
                    let filters = filters(&patterns);
                    for (place, filter) in filters.iter().enumerate() {
                        let others = &filters[place + 1..];
                        assert!(
                            others.iter().all(|other| !overlap(filter, other)),
                            "{filters:?}"
                        );
                    }
                    for key in keys.into_iter().filter(|key| wants(&patterns, key, true)) {
                        let through = filters.iter().any(|filter| covers(filter, key));
                        assert!(through, "{patterns:?} {filters:?} {key}");
                    }
                }
            }
        }
        assert_eq!(filters(&["a.b", "a.b", "a.c"].map(pattern)), ["a.b", "a.c"]);
        assert_eq!(filters(&["a.>", "a.b"].map(pattern)), ["a.>"]);
    }
}
