//! Asking the leader for all subjects of the stream.
//!
//! The server answers with pages of a sorted list, which it makes anew for each page. Where keys
//! come and go meanwhile, the pages shift. So each page begins before the end of the one before. As
//! long as they overlap, every key that was there all the while is on one of them.

use std::collections::HashSet;

use bytes::Bytes;
use serde_json::json;

use super::machine::{Answered, Listed};
use super::requests::{LIST_TIMEOUT, ReplicaSource};
use super::stream_state::StreamInfoAnswer;
use crate::api_request::ApiResponse;
use crate::connection::Connection;

/// How many subjects of the page before a page has, at first.
const OVERLAP: usize = 1_000;

/// How many times a page is asked for that begins earlier, because it did not overlap.
const STEPS_BACK: u32 = 3;

/// Pages, at most.
const PAGES: usize = 1_000;

/// About what a name takes in the list beside its bytes.
const NAME: usize = 64;

/// The subjects of the pages so far.
#[derive(Debug, Default)]
struct SubjectPages {
    keys: HashSet<String>,
    bytes: usize,
    /// The subjects up to this one are known.
    known_to: Option<String>,
    offset: usize,
    steps_back: u32,
}

/// What follows from a page.
#[derive(Debug, PartialEq, Eq)]
enum AfterPage {
    Done,
    More,
    /// The pages do not overlap.
    Changed,
    TooLarge,
}

impl SubjectPages {
    /// Takes a page. `total`: how many subjects there were when it was made.
    fn add(&mut self, subjects: Vec<String>, prefix: &str, total: usize, max: usize) -> AfterPage {
        let count = subjects.len();
        let overlaps = match &self.known_to {
            Some(known_to) if self.offset > 0 => {
                subjects.iter().min().is_some_and(|first| first <= known_to)
            }
            _ => true,
        };
        if !overlaps {
            self.steps_back += 1;
            self.offset = self.offset.saturating_sub(OVERLAP << (2 * self.steps_back));
            return if self.steps_back > STEPS_BACK {
                AfterPage::Changed
            } else {
                AfterPage::More
            };
        }
        self.known_to = subjects.iter().max().cloned().max(self.known_to.take());
        for subject in subjects {
            if let Some(key) = subject.strip_prefix(prefix)
                && self.keys.insert(key.to_owned())
            {
                self.bytes += key.len() + NAME;
            }
        }
        if self.bytes > max {
            return AfterPage::TooLarge;
        }
        let end = self.offset + count;
        if end >= total {
            return AfterPage::Done;
        }
        if count <= OVERLAP {
            // So small a page would not come further.
            return AfterPage::Changed;
        }
        self.offset = end - OVERLAP;
        AfterPage::More
    }
}

impl ReplicaSource {
    /// All subjects, in at most about `max_bytes` of memory.
    pub(super) async fn list(&self, connection: &Connection, max_bytes: usize) -> Listed {
        let mut pages = SubjectPages::default();
        let mut first: Option<StreamInfoAnswer> = None;
        for _ in 0..PAGES {
            let page = json!({ "subjects_filter": self.subjects(), "offset": pages.offset });
            let page = Bytes::from(page.to_string());
            let ApiResponse::Answer(mut answer) =
                self.stream_info(connection, page, LIST_TIMEOUT).await
            else {
                return Listed::Silent;
            };
            let subjects = answer.take_subjects().into_keys().collect();
            let total = answer.total;
            let is_same = |first: &StreamInfoAnswer| first.is_of_same_leader(&answer);
            if !first.as_ref().is_none_or(is_same) {
                return Listed::Changed;
            }
            let first = first.get_or_insert(answer);
            let Answered::State(state) = first.answered(&self.subjects()) else {
                return Listed::Silent;
            };
            match pages.add(subjects, &self.prefix, total, max_bytes) {
                AfterPage::More => {}
                AfterPage::Changed => return Listed::Changed,
                AfterPage::TooLarge => return Listed::TooLarge,
                AfterPage::Done => {
                    let keys = pages.keys;
                    return Listed::Keys { state, keys };
                }
            }
        }
        Listed::Changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 2_500;

    fn subject(number: usize) -> String {
        format!("$KV.b.{number:06}")
    }

    /// A page as a server makes it of these subjects, which are sorted.
    fn page(all: &[String], offset: usize) -> Vec<String> {
        all.iter().skip(offset).take(PAGE).cloned().collect()
    }

    /// Lists, and changes the subjects after each page.
    fn list(all: &mut Vec<String>, change: impl Fn(&mut Vec<String>)) -> (AfterPage, SubjectPages) {
        let mut pages = SubjectPages::default();
        for _ in 0..20 {
            let subjects = page(all, pages.offset);
            let after = pages.add(subjects, "$KV.b.", all.len(), usize::MAX);
            if after != AfterPage::More {
                return (after, pages);
            }
            change(all);
        }
        panic!("it goes on and on");
    }

    #[test]
    fn no_key_that_stays_is_missed_while_others_come_and_go() {
        for removed in [0, 500, 1_500, 2_400] {
            let mut all: Vec<String> = (0..10_000).map(subject).collect();
            let (after, pages) = list(&mut all, |all| drop(all.drain(..removed.min(all.len()))));
            assert_eq!(after, AfterPage::Done, "{removed}");
            for subject in &all {
                assert!(pages.keys.contains(&subject["$KV.b.".len()..]), "{removed}");
            }
        }
        let mut all: Vec<String> = (5_000..10_000).map(subject).collect();
        let (after, pages) = list(&mut all, |all| {
            all.splice(0..0, (0..100).map(subject));
        });
        assert_eq!(after, AfterPage::Done);
        assert!((5_000..10_000).all(|key| pages.keys.contains(&format!("{key:06}"))));
    }

    #[test]
    fn a_list_ends_whatever_changes_and_takes_bounded_memory() {
        let mut shifting = SubjectPages {
            known_to: Some(subject(200_000)),
            offset: 200_000,
            ..SubjectPages::default()
        };
        let after: Vec<AfterPage> = (0..=STEPS_BACK)
            .map(|_| shifting.add(vec![subject(300_000)], "$KV.b.", 1_000_000, usize::MAX))
            .collect();
        assert!(after.iter().take(3).all(|after| *after == AfterPage::More));
        assert_eq!(after.last(), Some(&AfterPage::Changed));
        let mut pages = SubjectPages::default();
        let all: Vec<String> = (0..PAGE).map(subject).collect();
        let after = pages.add(all, "$KV.b.", 1_000_000, 100_000);
        assert_eq!(after, AfterPage::TooLarge);
        let mut nothing = SubjectPages::default();
        assert_eq!(nothing.add(Vec::new(), "$KV.b.", 0, 0), AfterPage::Done);
    }
}
