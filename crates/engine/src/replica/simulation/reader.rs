//! What the leader had when, and whether an answer from a copy keeps the promises.

use std::time::Duration;

use crate::replica::copy::ReplicaCopy;
use crate::replica::floors::ReplicaFloors;

/// The keys of a history.
pub(super) const KEYS: usize = 6;

pub(super) fn key_name(key: usize) -> String {
    format!("k{key}")
}

/// What a key was from a time on.
#[derive(Clone, Copy, Debug)]
struct Was {
    since: Duration,
    value: Option<u64>,
}

#[derive(Debug)]
struct KeyHistory {
    was: Vec<Was>,
    /// No answer may be from before this place of `was`.
    floor: usize,
}

pub(super) struct SimReader {
    keys: Vec<KeyHistory>,
    pub(super) floors: ReplicaFloors,
    pub(super) answers: u64,
}

impl SimReader {
    pub(super) fn new() -> Self {
        let was = Was {
            since: Duration::ZERO,
            value: None,
        };
        let key = |_| KeyHistory {
            was: vec![was],
            floor: 0,
        };
        Self {
            keys: (0..KEYS).map(key).collect(),
            floors: ReplicaFloors::default(),
            answers: 0,
        }
    }

    /// Records what a key is now.
    pub(super) fn record(&mut self, key: usize, value: Option<u64>, now: Duration) {
        let was = &mut self.keys[key].was;
        let last = was[was.len() - 1];
        if last.value != value {
            was.push(Was { since: now, value });
        }
    }

    /// From now on, no answer may be from before what the key is now.
    pub(super) fn raise(&mut self, key: usize) {
        let history = &mut self.keys[key];
        history.floor = history.was.len() - 1;
    }

    /// Reads all keys from the copy, if that is allowed, and checks the answer.
    pub(super) fn read(
        &mut self,
        copy: &ReplicaCopy,
        staleness: Duration,
        now: Duration,
    ) -> Result<bool, String> {
        let Some(as_of) = copy.complete_as_of() else {
            return Ok(false);
        };
        if as_of + staleness < now || !self.floors.now().are_met(copy) {
            return Ok(false);
        }
        self.answers += 1;
        let time = copy.server_time(now);
        for (key, history) in self.keys.iter_mut().enumerate() {
            let record = copy.map.get(&key_name(key));
            if record.as_ref().is_some_and(|it| it.may_have_expired(time)) {
                // The leader answers.
                continue;
            }
            let answer = record.and_then(|record| record.value());
            let answer = answer
                .map(|value| u64::from_le_bytes(value.as_ref().try_into().expect("eight bytes")));
            let first = history.was.partition_point(|was| was.since <= as_of);
            let first = first.saturating_sub(1);
            let is_answer = |was: &Was| was.value == answer;
            let found = |from: usize| {
                let place = history.was[from..].iter().position(is_answer);
                place.map(|place| from + place)
            };
            if found(first).is_none() {
                return Err(format!(
                    "key {key} is answered as {answer:?}, which it was not since {as_of:?}: {:?}",
                    &history.was[first..]
                ));
            }
            match found(first.max(history.floor)) {
                Some(place) => history.floor = place,
                None => {
                    return Err(format!(
                        "key {key} goes back in time to {answer:?}, before {:?}",
                        history.was[history.floor]
                    ));
                }
            }
        }
        Ok(true)
    }
}
