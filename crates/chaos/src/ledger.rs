//! What was asked of each key and how it was answered, to compare with what the bucket has.

use std::collections::{HashMap, VecDeque};
use std::fmt;

/// How many revisions of a key the bucket keeps.
pub const HISTORY: i64 = 16;

/// How many operations of a key are remembered: more than the bucket keeps, because some of them
/// may never have reached it.
const REMEMBERED: usize = 64;

/// The effect of an operation on a key. Each value has a number that is unique for its writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The value of this number.
    Set(u64),
    /// No value.
    Deleted,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set(number) => write!(f, "{number}"),
            Self::Deleted => f.write_str("deleted"),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Op {
    effect: Effect,
    /// Answered `ok`. After an error it may or may not have been carried out.
    ok: bool,
}

/// The operations of one writer on one key, in order. No other writer uses that key.
#[derive(Clone, Debug, Default)]
pub struct KeyLedger {
    ops: VecDeque<Op>,
    /// Older operations that were answered with an error. A frozen node may still carry them out
    /// much later.
    doubtful: Vec<Effect>,
}

/// How the bucket compares with the ledger of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds what was last answered `ok`, or what was answered with an error after that.
    Agrees,
    /// What was last answered `ok` was carried out, and after it a write that had been answered
    /// with an error *before*. docs/guarantees.md says that this can happen: a frozen node may go
    /// on with what was sent to it.
    Overtaken,
    /// A value is lost, outdated, duplicated, or was never written.
    Wrong(String),
}

impl KeyLedger {
    /// Notes an operation that has been answered.
    pub fn record(&mut self, effect: Effect, ok: bool) {
        if self.ops.len() == REMEMBERED
            && let Some(forgotten) = self.ops.pop_front()
            && !forgotten.ok
        {
            self.doubtful.push(forgotten.effect);
        }
        self.ops.push_back(Op { effect, ok });
    }

    /// Whether its last operation set it and was answered `ok`.
    #[must_use]
    pub fn is_set(&self) -> bool {
        let last = self.ops.back();
        last.is_some_and(|op| op.ok && op.effect != Effect::Deleted)
    }

    /// Whether the operation was answered with an error: it may be carried out late, or never.
    #[must_use]
    pub fn is_doubtful(&self, effect: Effect) -> bool {
        let in_doubt = |op: &Op| !op.ok && op.effect == effect;
        self.ops.iter().any(in_doubt) || self.doubtful.contains(&effect)
    }

    /// Compares the revisions that the bucket has of the key, oldest first.
    #[must_use]
    pub fn compare(&self, found: &[Effect]) -> Verdict {
        // A replica that has caught up after a restart may keep some that are older, and not all.
        let kept = usize::try_from(HISTORY).unwrap_or_default();
        let found = &found[found.len().saturating_sub(kept)..];
        match self.trouble(found) {
            Some(trouble) => Verdict::Wrong(format!("{trouble}; {}", self.versus(found))),
            None if self.is_current(found.last().copied()) => Verdict::Agrees,
            None => Verdict::Overtaken,
        }
    }

    /// Whether this may be the key's state if everything was carried out in its order, if at all.
    fn is_current(&self, last: Option<Effect>) -> bool {
        let last = last.unwrap_or(Effect::Deleted);
        match self.last_ok() {
            Some(place) => self.ops.range(place..).any(|op| op.effect == last),
            None => last == Effect::Deleted || self.ops.iter().any(|op| op.effect == last),
        }
    }

    fn last_ok(&self) -> Option<usize> {
        self.ops.iter().rposition(|op| op.ok)
    }

    fn trouble(&self, found: &[Effect]) -> Option<String> {
        for (place, effect) in found.iter().enumerate() {
            if let Effect::Set(number) = effect {
                if found[..place].contains(effect) {
                    return Some(format!("{number} was written twice"));
                }
                if !self.knows(*number) {
                    return Some(format!("{number} was never set"));
                }
            }
        }
        let ok_in_window = self.ok_numbers_since(self.oldest_ok(found));
        let found_ok: Vec<u64> = found.iter().filter_map(|e| self.ok_number(*e)).collect();
        if let Some(lost) = ok_in_window.iter().find(|n| !found_ok.contains(n)) {
            return Some(format!("{lost} is lost"));
        }
        if !found_ok.is_sorted() {
            return Some("an old value was written over a newer one".to_owned());
        }
        let last = self.ops[self.last_ok()?].effect;
        let Some(place) = found.iter().rposition(|&effect| effect == last) else {
            return Some(format!("{last}, which was answered ok, is lost"));
        };
        let wrong = found[place + 1..]
            .iter()
            .find(|&&effect| !self.is_doubtful(effect));
        wrong.map(|wrong| format!("{wrong} is newer than {last}, which was answered ok last"))
    }

    /// Whether the value was set, or so long ago that it is forgotten here.
    fn knows(&self, number: u64) -> bool {
        let number_of = |op: &Op| match op.effect {
            Effect::Set(number) => Some(number),
            Effect::Deleted => None,
        };
        let mut numbers = self.ops.iter().filter_map(number_of);
        let forgotten = self.ops.len() == REMEMBERED
            && numbers.clone().next().is_none_or(|oldest| number < oldest);
        forgotten || numbers.any(|known| known == number)
    }

    /// The number, if it is of a value that was answered `ok`.
    fn ok_number(&self, effect: Effect) -> Option<u64> {
        match effect {
            Effect::Set(number) => self
                .ops
                .iter()
                .any(|op| op.ok && op.effect == effect)
                .then_some(number),
            Effect::Deleted => None,
        }
    }

    /// From which number on the bucket must have all that was answered `ok`.
    fn oldest_ok(&self, found: &[Effect]) -> Option<u64> {
        if found.len() < usize::try_from(HISTORY).unwrap_or_default() {
            return Some(0);
        }
        found.iter().find_map(|&effect| self.ok_number(effect))
    }

    fn ok_numbers_since(&self, oldest: Option<u64>) -> Vec<u64> {
        let Some(oldest) = oldest else {
            return Vec::new();
        };
        let ok = |op: &Op| match op.effect {
            Effect::Set(number) if op.ok && number >= oldest => Some(number),
            _ => None,
        };
        self.ops.iter().filter_map(ok).collect()
    }

    fn versus(&self, found: &[Effect]) -> String {
        let skipped = self.ops.len().saturating_sub(24);
        let asked: Vec<_> = self
            .ops
            .iter()
            .skip(skipped)
            .map(|op| format!("{}{}", op.effect, if op.ok { "" } else { "?" }))
            .collect();
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        format!(
            "asked {} (? = answered with an error), found {}",
            asked.join(" "),
            found.join(" ")
        )
    }
}

/// The keys of one writer.
pub type Ledger = HashMap<String, KeyLedger>;

/// The value of this number for this key: text, or bytes that are none.
#[must_use]
pub fn value(key: &str, number: u64, padding: usize, text: bool) -> Vec<u8> {
    let mut value = format!("{key} {number} {}", "x".repeat(padding)).into_bytes();
    if !text {
        value.extend([0xff, 0x00]);
    }
    value
}

/// The number of a value, if it is one of this key.
#[must_use]
pub fn number(key: &str, value: &[u8]) -> Option<u64> {
    let rest = value.strip_prefix(key.as_bytes())?.strip_prefix(b" ")?;
    let end = rest.iter().position(|&byte| byte == b' ')?;
    std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use Effect::{Deleted, Set};

    /// A ledger, from numbers; those that are negative were answered with an error, 0 deletes.
    fn ledger_of(ops: &[(Effect, bool)]) -> KeyLedger {
        let mut ledger = KeyLedger::default();
        for &(effect, ok) in ops {
            ledger.record(effect, ok);
        }
        ledger
    }

    fn is_wrong(ledger: &KeyLedger, found: &[Effect]) -> bool {
        matches!(ledger.compare(found), Verdict::Wrong(_))
    }

    #[test]
    fn what_was_answered_ok_has_to_be_there() {
        let ledger = ledger_of(&[(Set(1), true), (Set(2), true)]);
        assert_eq!(ledger.compare(&[Set(1), Set(2)]), Verdict::Agrees);
        assert!(is_wrong(&ledger, &[Set(1)]), "the last one is lost");
        assert!(is_wrong(&ledger, &[Set(2)]), "an earlier one is lost");
        assert!(is_wrong(&ledger, &[Set(2), Set(1)]), "old over new");
        assert!(is_wrong(&ledger, &[Set(1), Set(2), Set(2)]), "twice");
        assert!(is_wrong(&ledger, &[Set(1), Set(2), Set(3)]), "made up");
        assert!(is_wrong(&ledger, &[Set(1), Set(2), Deleted]), "deleted");
        assert!(is_wrong(&ledger, &[]), "all is lost");
    }

    #[test]
    fn what_was_deleted_has_to_be_gone() {
        let ledger = ledger_of(&[(Set(1), true), (Deleted, true)]);
        assert_eq!(ledger.compare(&[Set(1), Deleted]), Verdict::Agrees);
        assert!(is_wrong(&ledger, &[Set(1)]));
        assert!(is_wrong(&ledger, &[Deleted, Set(1)]));
    }

    #[test]
    fn after_an_error_either_may_be() {
        let doubt = ledger_of(&[(Set(1), true), (Set(2), false), (Deleted, false)]);
        for found in [
            &[Set(1)][..],
            &[Set(1), Set(2)],
            &[Set(1), Deleted],
            &[Set(1), Set(2), Deleted],
        ] {
            assert_eq!(doubt.compare(found), Verdict::Agrees, "{found:?}");
        }
        assert!(is_wrong(&doubt, &[Set(2)]));
        let never = ledger_of(&[(Set(1), false)]);
        assert_eq!(never.compare(&[]), Verdict::Agrees);
        assert_eq!(never.compare(&[Set(1)]), Verdict::Agrees);
    }

    #[test]
    fn an_error_that_was_carried_out_late_is_told_from_a_loss() {
        let late = ledger_of(&[(Set(1), false), (Set(2), true)]);
        assert_eq!(late.compare(&[Set(1), Set(2)]), Verdict::Agrees);
        assert_eq!(late.compare(&[Set(2), Set(1)]), Verdict::Overtaken);
        assert!(is_wrong(&late, &[Set(1)]));
    }

    #[test]
    fn an_error_is_remembered_however_late_it_is_carried_out() {
        let mut ledger = KeyLedger::default();
        ledger.record(Set(1), false);
        for number in 2..=200 {
            ledger.record(Set(number), true);
        }
        let mut found: Vec<_> = (186..=200).map(Set).collect();
        found.push(Set(1));
        assert_eq!(ledger.compare(&found), Verdict::Overtaken);
    }

    #[test]
    fn what_the_bucket_no_longer_keeps_is_not_missed() {
        let mut ledger = KeyLedger::default();
        let numbers = 1..=100;
        for number in numbers.clone() {
            ledger.record(Set(number), true);
        }
        let all: Vec<_> = numbers.map(Set).collect();
        assert_eq!(ledger.compare(&all[84..]), Verdict::Agrees);
        assert!(is_wrong(&ledger, &all[83..99]));
        let older_ones_left = [&all[70..72], &all[84..]].concat();
        assert_eq!(ledger.compare(&older_ones_left), Verdict::Agrees);
    }

    #[test]
    fn values_bear_their_key_and_number() {
        for text in [true, false] {
            let value = value("w1.h.2", 34, 5, text);
            assert_eq!(number("w1.h.2", &value), Some(34));
            assert_eq!(number("w1.h.", &value), None);
            assert_eq!(number("w1.h.3", &value), None);
        }
    }
}
