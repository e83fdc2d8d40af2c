//! Comparing the copy with what the leader says, and dropping what has gone without an event.
//!
//! An answer tells how far the stream went after the question was sent, and how many subjects it
//! had. It is conclusive if the consumer has skipped no sequence since the question was sent. A
//! skipped message has been overwritten, and the message that took its place may still be to come.

use std::collections::HashSet;
use std::time::Duration;

use super::ReplicaMachine;
use super::interface::{Listed, OffReason, Phase, StreamState};
use super::questions::{Answer, Question};
use crate::replica::copy::ReplicaCopy;
use crate::replica::map::SHARDS;
use crate::replica::record::{Record, RecordParts};

/// Answers in a row that are not conclusive, before the next question waits for its turn.
const HASTY: u32 = 3;

/// Answers in a row by which the leader is behind the copy, before the stream counts as another
/// one.
const LEADER_BEHIND: u32 = 3;

/// Subjects are listed at most for one part in so many of the time.
const LISTING_SHARE: u32 = 8;

/// Lists in a row that cannot be put together, before the copy is read anew.
const LISTS_OF_CHANGES: u32 = 3;

/// How long after its time is over a message may still be there, before its time counts as wrong.
const LINGERING: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Audit {
    /// Answers to questions of lower numbers may be from before keys were dropped.
    dropped_before: u64,
    inconclusive: u32,
    leader_behind: u32,
    /// Whether there may be records that expire.
    pub(super) has_expiring: bool,
    /// When records were last looked through for expiries that are wrong.
    expiries_checked: Duration,
    listing: SubjectListing,
}

#[derive(Debug, Default)]
struct SubjectListing {
    /// When to list all subjects.
    due: Option<Duration>,
    /// Not before this.
    earliest: Duration,
    /// Lists in a row that could not be put together.
    changed: u32,
    open: Option<Question>,
    /// A list that waits until the copy has come as far.
    waiting: Option<SubjectList>,
}

#[derive(Debug)]
struct SubjectList {
    question: Question,
    last_sequence: u64,
    keys: HashSet<String>,
}

/// What follows from an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AuditVerdict {
    Complete,
    /// Ask again.
    Inconclusive,
    /// Find out what is gone.
    List,
    /// The copy is not one of this stream.
    Broken,
}

impl Audit {
    /// When subjects are to be listed.
    pub(super) fn due(&self) -> Option<Duration> {
        self.listing.due
    }

    pub(super) fn begin_listing(&mut self, question: Question) {
        self.listing.due = None;
        self.listing.open = Some(question);
    }

    fn list_soon(&mut self, now: Duration) {
        if self.listing.open.is_none() && self.listing.waiting.is_none() {
            let earliest = self.listing.earliest.max(now);
            self.listing.due.get_or_insert(earliest);
        }
    }
}

impl ReplicaMachine {
    /// Looks at the answers that the copy has come as far as.
    pub(super) fn judge(&mut self, now: Duration) {
        while let Some(copy) = self.copy.clone() {
            if let Some(answer) = self.questions.reached(copy.position()) {
                let verdict = self.verdict(&copy, &answer);
                self.follow(&copy, verdict, &answer, now);
            } else if self.list_is_reached(&copy) {
                self.compare_list(&copy, now);
            } else {
                return;
            }
        }
    }

    fn verdict(&mut self, copy: &ReplicaCopy, answer: &Answer) -> AuditVerdict {
        let Answer { question, state } = answer;
        if state.last_sequence < question.position {
            self.audit.leader_behind += 1;
            return if self.audit.leader_behind >= LEADER_BEHIND {
                AuditVerdict::Broken
            } else {
                AuditVerdict::Inconclusive
            };
        }
        self.audit.leader_behind = 0;
        let stored = self.history.time_at(state.last_sequence);
        if stored.is_some_and(|time| state.last_time > 0 && time != state.last_time) {
            return AuditVerdict::Broken;
        }
        let Some(keys) = self.history.keys_at(state.last_sequence) else {
            return AuditVerdict::Inconclusive;
        };
        if copy.skipped() > question.position || question.number < self.audit.dropped_before {
            return AuditVerdict::Inconclusive;
        }
        if state.subjects == keys {
            return AuditVerdict::Complete;
        }
        if state.subjects > keys {
            return AuditVerdict::Broken;
        }
        let gone = |record: &Record| record.sequence() < state.first_sequence;
        self.drop_records(copy, gone);
        if copy.position() != state.last_sequence {
            return match self.audit.inconclusive {
                0 => AuditVerdict::Inconclusive,
                _ => AuditVerdict::List,
            };
        }
        match (copy.map.len() as u64).cmp(&state.subjects) {
            std::cmp::Ordering::Equal => AuditVerdict::Complete,
            std::cmp::Ordering::Greater => AuditVerdict::List,
            std::cmp::Ordering::Less => AuditVerdict::Broken,
        }
    }

    fn follow(
        &mut self,
        copy: &ReplicaCopy,
        verdict: AuditVerdict,
        answer: &Answer,
        now: Duration,
    ) {
        match verdict {
            AuditVerdict::Complete => self.complete(copy, answer, now),
            AuditVerdict::Inconclusive => {
                self.audit.inconclusive += 1;
                if self.audit.inconclusive <= HASTY {
                    self.questions.ask(now);
                }
            }
            AuditVerdict::List => {
                self.audit.inconclusive += 1;
                self.audit.list_soon(now);
            }
            AuditVerdict::Broken => self.resync(now),
        }
    }

    fn complete(&mut self, copy: &ReplicaCopy, answer: &Answer, now: Duration) {
        copy.complete(answer.question.sent);
        self.audit.inconclusive = 0;
        self.losses = 0;
        if self.phase == Phase::Syncing {
            self.phase = Phase::Live;
            copy.release_reserve();
        }
        let since = *self.live_since.get_or_insert(now);
        self.pauses.has_been_live(since, now);
        self.correct_expiries(copy, &answer.state, now);
    }

    fn drop_records(&mut self, copy: &ReplicaCopy, gone: impl Fn(&Record) -> bool) {
        if copy.map.retain(|record| !gone(record)) > 0 {
            self.repairs += 1;
            self.audit.dropped_before = self.next_number;
            self.history.set_keys(copy.map.len() as u64);
            copy.count_memory();
        }
    }

    /// The leader still had as many subjects as the copy when it answered. So a message was still
    /// there then whose time had long been over by the copy's reckoning, and the reckoning is
    /// wrong.
    fn correct_expiries(&mut self, copy: &ReplicaCopy, state: &StreamState, now: Duration) {
        let checked = self.audit.expiries_checked;
        if !self.audit.has_expiring || state.server_time == 0 || now < checked + LINGERING {
            return;
        }
        self.audit.expiries_checked = now;
        let long_ago = state
            .server_time
            .saturating_sub(crate::replica::copy::nanos(LINGERING));
        let is_wrong = |record: &Record| {
            let is_over = record.expires() > 0 && record.expires() < long_ago;
            is_over && record.sequence() <= state.last_sequence
        };
        let records = (0..SHARDS).flat_map(|shard| copy.map.records(shard));
        let wrong: Vec<Record> = records.filter(is_wrong).collect();
        for record in wrong {
            copy.map.put(&RecordParts {
                key: record.key(),
                value: record.raw_value(),
                sequence: record.sequence(),
                expires: 0,
            });
        }
    }

    pub(super) fn on_listed(&mut self, number: u64, listed: Listed, now: Duration) {
        let open = self
            .audit
            .listing
            .open
            .take_if(|open| open.number == number);
        let Some(question) = open else {
            return;
        };
        let took = now.saturating_sub(question.sent);
        self.audit.listing.earliest = now + took * (LISTING_SHARE - 1);
        match listed {
            Listed::Keys { state, .. } if self.is_of_another_stream(&state) => self.resync(now),
            Listed::Keys { state, .. }
                if self
                    .leadership
                    .answered(state.leader.as_deref(), now)
                    .is_err() =>
            {
                self.questions.ask(now);
            }
            Listed::Keys { state, keys } => {
                self.audit.listing.changed = 0;
                self.audit.listing.waiting = Some(SubjectList {
                    question,
                    last_sequence: state.last_sequence,
                    keys,
                });
                self.judge(now);
            }
            Listed::Changed => {
                self.audit.listing.changed += 1;
                if self.audit.listing.changed > LISTS_OF_CHANGES {
                    return self.resync(now);
                }
                self.audit.list_soon(now);
            }
            Listed::TooLarge => self.turn_off(OffReason::TooLarge, now),
            Listed::Silent => self.questions.ask(now),
        }
    }

    fn list_is_reached(&self, copy: &ReplicaCopy) -> bool {
        let waiting = self.audit.listing.waiting.as_ref();
        waiting.is_some_and(|list| list.last_sequence <= copy.position())
    }

    /// Drops every key that the leader did not have at some time while it listed them.
    ///
    /// That does not make the copy complete: another key may have gone before, and have come again
    /// while the list was made. So the leader is asked again.
    fn compare_list(&mut self, copy: &ReplicaCopy, now: Duration) {
        let Some(list) = self.audit.listing.waiting.take() else {
            return;
        };
        if list.last_sequence < list.question.position {
            // The leader is behind the copy. The next answer tells what that means.
            return self.questions.ask(now);
        }
        let gone = |record: &Record| {
            record.sequence() <= list.last_sequence && !list.keys.contains(record.key())
        };
        self.drop_records(copy, gone);
        self.questions.ask(now);
    }
}
