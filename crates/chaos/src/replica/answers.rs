//! What writers and readers of the copied bucket know together, and whether an answer may be.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::STALENESS;
use super::history::NumberedKey;
use crate::ledger::number;

/// All keys, and what was read of them.
#[derive(Debug, Default)]
pub(super) struct CopiedKeys {
    /// The key that is in use of each name.
    in_use: BTreeMap<String, String>,
    keys: HashMap<String, CopiedKey>,
    abandoned: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct CopiedKey {
    /// Whether it is written through the process that reads.
    is_own: bool,
    history: NumberedKey,
    /// The newest operation that an answer has shown.
    seen: u64,
}

/// A key that is asked for.
#[derive(Debug)]
pub(super) struct AskedKey {
    pub(super) name: String,
    /// The oldest operation that an answer may show.
    floor: u64,
}

/// What is to be said of an answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct AnswerFindings {
    /// What can never have been right.
    pub(super) wrong: Option<String>,
    /// What was right, and is no longer.
    pub(super) old: Option<String>,
    /// How long before the question the oldest value was replaced.
    pub(super) staleness: Duration,
}

impl CopiedKeys {
    /// The key of this name that is in use.
    pub(super) fn key(&mut self, name: &str, is_own: bool) -> String {
        let key = self.in_use.entry(name.to_owned()).or_insert_with(|| {
            self.keys.entry(format!("{name}.0")).or_default().is_own = is_own;
            format!("{name}.0")
        });
        key.clone()
    }

    /// Notes an operation on a key that is about to be sent, and returns its number.
    pub(super) fn begin(&mut self, key: &str, sets: bool) -> u64 {
        let key = self.keys.entry(key.to_owned()).or_default();
        key.history.begin(sets)
    }

    /// Notes that the last operation on the key of this name was acknowledged, or was not. Then
    /// another key takes its place.
    pub(super) fn end(&mut self, name: &str, is_acknowledged: bool) {
        let Some(key) = self.in_use.get_mut(name) else {
            return;
        };
        let copied = self.keys.entry(key.clone()).or_default();
        if is_acknowledged {
            copied.history.acknowledge();
            return;
        }
        let is_own = copied.is_own;
        let generation = key[name.len() + 1..].parse().unwrap_or(0_u64);
        let next = format!("{name}.{}", generation + 1);
        self.keys.entry(next.clone()).or_default().is_own = is_own;
        self.abandoned.insert(std::mem::replace(key, next));
    }

    /// Takes the keys that are not in use any more out.
    pub(super) fn take_abandoned(&mut self) -> BTreeSet<String> {
        for key in &self.abandoned {
            self.keys.remove(key);
        }
        std::mem::take(&mut self.abandoned)
    }

    /// All keys that are in use, to be asked for at this time.
    pub(super) fn ask(&self, now: Instant) -> Vec<AskedKey> {
        let asked = self.in_use.values().filter_map(|name| {
            let key = self.keys.get(name)?;
            let others = now.checked_sub(STALENESS).unwrap_or(now);
            let since = if key.is_own { now } else { others };
            Some(AskedKey {
                name: name.clone(),
                floor: key.history.acknowledged_before(since).max(key.seen),
            })
        });
        asked.collect()
    }

    /// Looks at the values of what was asked for at this time.
    pub(super) fn judge_values(
        &mut self,
        asked: &[AskedKey],
        values: &[Option<Vec<u8>>],
        sent: Instant,
    ) -> AnswerFindings {
        let mut findings = AnswerFindings::default();
        if values.len() != asked.len() {
            let (values, keys) = (values.len(), asked.len());
            findings.wrong = Some(format!("{values} values for {keys} keys"));
        }
        for (AskedKey { name, floor }, value) in asked.iter().zip(values) {
            let key = self.keys.entry(name.clone()).or_default();
            let shown = match value {
                None => key.history.first_from(*floor, false),
                Some(value) => match number(name, value).filter(|&shown| key.history.sets(shown)) {
                    Some(shown) => {
                        if let Some(since) = key.history.outdated_since(shown) {
                            let staleness = sent.saturating_duration_since(since);
                            findings.staleness = findings.staleness.max(staleness);
                        }
                        Some(shown).filter(|shown| shown >= floor)
                    }
                    None => {
                        let start = String::from_utf8_lossy(&value[..value.len().min(30)]);
                        findings.wrong = Some(format!("{name} was read as {start:?}"));
                        continue;
                    }
                },
            };
            match shown {
                Some(shown) => key.seen = key.seen.max(shown),
                None => {
                    let shown = value.as_ref().and_then(|value| number(name, value));
                    let shown = shown.map_or("without a value".to_owned(), |n| n.to_string());
                    findings.old = Some(format!(
                        "{name} was read as {shown}, but {}",
                        key.why(*floor)
                    ));
                }
            }
        }
        findings
    }

    /// Looks at a list of all keys that was asked for together with these.
    pub(super) fn judge_list(&mut self, asked: &[AskedKey], listed: &[String]) -> AnswerFindings {
        let mut findings = AnswerFindings::default();
        let names: BTreeSet<_> = listed.iter().map(String::as_str).collect();
        if names.len() != listed.len() {
            findings.wrong = Some("a key is listed twice".to_owned());
        }
        for AskedKey { name, floor } in asked {
            let key = self.keys.entry(name.clone()).or_default();
            let is_listed = names.contains(name.as_str());
            match key.history.first_from(*floor, is_listed) {
                Some(shown) => key.seen = key.seen.max(shown),
                None => {
                    let listed = if is_listed { "listed" } else { "not listed" };
                    findings.old = Some(format!("{name} was {listed}, but {}", key.why(*floor)));
                }
            }
        }
        findings
    }
}

impl CopiedKey {
    fn why(&self, floor: u64) -> String {
        let of = if self.is_own { "own " } else { "" };
        let set = if self.history.sets(floor) {
            "set"
        } else {
            "deleted"
        };
        format!(
            "{of}operation {floor} ({set}) is known to be done; {} was read",
            self.seen
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::value;

    /// A key with three acknowledged operations: set, deleted, set.
    fn keys(is_own: bool) -> (CopiedKeys, String) {
        let mut keys = CopiedKeys::default();
        let key = keys.key("n", is_own);
        for sets in [true, false, true] {
            keys.begin(&key, sets);
            keys.end("n", true);
        }
        (keys, key)
    }

    fn judge(keys: &mut CopiedKeys, at: Instant, found: Option<u64>) -> AnswerFindings {
        let asked = keys.ask(at);
        let value = found.map(|number| value(&asked[0].name, number, 3, true));
        keys.judge_values(&asked, &[value], at)
    }

    #[test]
    fn what_others_have_written_may_be_missed_for_a_while() {
        let (mut keys, _) = keys(false);
        let now = Instant::now();
        let early = judge(&mut keys, now, Some(1));
        assert_eq!((early.wrong, early.old), (None, None));
        let later = now + STALENESS;
        assert!(judge(&mut keys, later, Some(1)).old.is_some());
        assert!(judge(&mut keys, later, None).old.is_some());
        assert_eq!(judge(&mut keys, later, Some(3)).old, None);
    }

    #[test]
    fn own_writes_are_seen_at_once() {
        let (mut keys, _) = keys(true);
        let now = Instant::now();
        assert!(judge(&mut keys, now, Some(1)).old.is_some());
        assert!(judge(&mut keys, now, None).old.is_some());
        assert_eq!(judge(&mut keys, now, Some(3)), AnswerFindings::default());
    }

    #[test]
    fn no_answer_goes_back() {
        let (mut keys, key) = keys(false);
        let now = Instant::now();
        assert_eq!(judge(&mut keys, now, Some(3)).old, None);
        assert!(judge(&mut keys, now, Some(1)).old.is_some());
        assert!(judge(&mut keys, now, None).old.is_some());
        let asked = keys.ask(now);
        assert!(keys.judge_list(&asked, &[]).old.is_some());
        assert_eq!(keys.judge_list(&asked, &[key]), AnswerFindings::default());
    }

    #[test]
    fn what_was_never_set_is_wrong() {
        let (mut keys, _) = keys(false);
        let now = Instant::now();
        for never in [2, 4] {
            assert!(judge(&mut keys, now, Some(never)).wrong.is_some());
        }
        let asked = keys.ask(now);
        let foreign = Some(b"x 1 ".to_vec());
        assert!(keys.judge_values(&asked, &[foreign], now).wrong.is_some());
        assert!(keys.judge_values(&asked, &[], now).wrong.is_some());
    }

    #[test]
    fn a_key_in_doubt_is_left_alone() {
        let (mut keys, key) = keys(false);
        keys.begin(&key, true);
        keys.end("n", false);
        assert_eq!(keys.key("n", false), "n.1");
        assert_eq!(keys.ask(Instant::now()).len(), 1);
        assert_eq!(keys.take_abandoned(), BTreeSet::from([key]));
    }
}
