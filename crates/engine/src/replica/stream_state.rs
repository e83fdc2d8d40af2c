//! Reading what the leader says of a stream.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use async_nats::jetstream::{self, ErrorCode};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::copy::nanos;
use super::machine::{Answered, StreamState};
use crate::message::is_transient;

/// For how long a leader that hears of no other node is still the only one. A node waits at least
/// four seconds for its leader before it stands for election, and the leader gives a sign each
/// second.
const LEADS_WITHOUT_NEWS: Duration = Duration::from_millis(2500);

/// The answer to `$JS.API.STREAM.INFO`.
#[derive(Deserialize)]
pub(super) struct StreamInfoAnswer {
    #[serde(default)]
    error: Option<jetstream::Error>,
    #[serde(default)]
    config: Option<StreamConfigJson>,
    #[serde(default)]
    created: String,
    #[serde(default)]
    state: StreamStateJson,
    #[serde(default)]
    cluster: ClusterJson,
    #[serde(default)]
    ts: String,
    /// How many subjects there are in all.
    #[serde(default)]
    pub(super) total: usize,
}

#[derive(Default, Deserialize)]
struct ClusterJson {
    #[serde(default)]
    leader: String,
    #[serde(default)]
    replicas: Vec<PeerJson>,
}

/// A node that follows the leader.
#[derive(Deserialize)]
struct PeerJson {
    /// How long ago the leader heard of it, in nanoseconds.
    #[serde(default)]
    active: u64,
    #[serde(default)]
    offline: bool,
}

#[derive(Deserialize)]
struct StreamConfigJson {
    #[serde(default)]
    subjects: Vec<String>,
    #[serde(default)]
    retention: String,
    #[serde(default)]
    max_msgs_per_subject: i64,
    #[serde(default)]
    max_age: u64,
    #[serde(default)]
    mirror: Option<IgnoredAny>,
    #[serde(default)]
    sources: Option<Vec<IgnoredAny>>,
    #[serde(default)]
    subject_transform: Option<IgnoredAny>,
    #[serde(default)]
    allow_msg_ttl: bool,
    #[serde(default)]
    allow_msg_counter: bool,
    #[serde(default)]
    allow_msg_schedules: bool,
}

#[derive(Default, Deserialize)]
struct StreamStateJson {
    #[serde(default)]
    first_seq: u64,
    #[serde(default)]
    last_seq: u64,
    #[serde(default)]
    last_ts: String,
    #[serde(default)]
    bytes: u64,
    #[serde(default)]
    num_subjects: u64,
    #[serde(default)]
    consumer_count: u64,
    #[serde(default)]
    subjects: Option<HashMap<String, u64>>,
}

impl StreamInfoAnswer {
    /// The state, or why there is none. `subject` is that of all keys of the bucket.
    pub(super) fn answered(&self, subject: &str) -> Answered {
        match &self.error {
            None => {}
            Some(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                return Answered::Missing;
            }
            Some(error) if is_transient(error) => return Answered::Silent,
            Some(_) => return Answered::Denied,
        }
        let (Some(config), state) = (&self.config, &self.state) else {
            return Answered::Silent;
        };
        if !self.cluster.follows() {
            return Answered::Silent;
        }
        Answered::State(StreamState {
            created: self.created.clone(),
            leader: self.cluster.leader(),
            first_sequence: state.first_seq,
            last_sequence: state.last_seq,
            last_time: parse_time(&state.last_ts),
            subjects: state.num_subjects,
            bytes: state.bytes,
            consumers: state.consumer_count,
            server_time: parse_time(&self.ts),
            max_age: config.max_age,
            message_ttl: config.allow_msg_ttl,
            unfit: config.unfit(subject),
        })
    }

    /// The subjects of this page.
    pub(super) fn take_subjects(&mut self) -> HashMap<String, u64> {
        self.state.subjects.take().unwrap_or_default()
    }

    /// Whether the same node has answered for the same stream.
    pub(super) fn is_of_same_leader(&self, other: &Self) -> bool {
        self.created == other.created && self.cluster.leader() == other.cluster.leader()
    }
}

impl ClusterJson {
    /// The leader, if others follow it.
    fn leader(&self) -> Option<String> {
        (!self.replicas.is_empty()).then(|| self.leader.clone())
    }

    /// Whether the one that answers still leads: with it, most nodes have been heard of since
    /// another one can have been elected. One that was frozen or cut off goes on for a while as if
    /// it led. One that knows no leader answers as well, with what it had when it last knew one.
    fn follows(&self) -> bool {
        if self.leader.is_empty() && !self.replicas.is_empty() {
            return false;
        }
        // Of a node that it has never heard of the server says 0.
        let of_late = 1..nanos(LEADS_WITHOUT_NEWS);
        let heard = |peer: &&PeerJson| !peer.offline && of_late.contains(&peer.active);
        let heard = self.replicas.iter().filter(heard).count();
        (heard + 1) * 2 > self.replicas.len() + 1
    }
}

impl StreamConfigJson {
    /// Why no copy of such a stream can be kept, if so.
    fn unfit(&self, subject: &str) -> Option<&'static str> {
        Some(if self.mirror.is_some() {
            "the bucket is a mirror"
        } else if self
            .sources
            .as_ref()
            .is_some_and(|sources| !sources.is_empty())
        {
            "the bucket has messages from other streams"
        } else if self.max_msgs_per_subject != 1 {
            "the bucket keeps more than one value for each key (`bucket_history`)"
        } else if self.subjects != [subject] {
            "the bucket's stream has other subjects than those of its keys"
        } else if self.retention != "limits" {
            "the bucket's stream drops messages that were read"
        } else if self.subject_transform.is_some() {
            "the bucket's stream changes subjects"
        } else if self.allow_msg_counter {
            "the bucket's stream has counters"
        } else if self.allow_msg_schedules {
            "the bucket's stream has scheduled messages"
        } else {
            return None;
        })
    }
}

/// A time in nanoseconds since 1970; 0 if it is not after that.
fn parse_time(text: &str) -> u64 {
    let time = humantime::parse_rfc3339(text).ok();
    let since = time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    since.map_or(0, nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBJECT: &str = "$KV.b.>";

    fn answer(config: &str) -> Answered {
        let json = format!(
            r#"{{"config":{{"subjects":["$KV.b.>"],"retention":"limits","max_msgs_per_subject":1,
            "max_age":700{config}}},"created":"2026-11-28T03:11:34.069124184Z",
            "state":{{"messages":8,"bytes":312,"first_seq":1,"first_ts":"2026-11-28T03:11:34.0780454Z",
            "last_seq":10,"last_ts":"1970-01-01T00:00:01.5Z","num_subjects":8,"num_deleted":2,
            "consumer_count":3}},"ts":"1970-01-01T00:00:02.000000001Z"}}"#
        );
        let answer: StreamInfoAnswer = serde_json::from_str(&json).unwrap();
        answer.answered(SUBJECT)
    }

    #[test]
    fn the_state_of_a_bucket_is_read() {
        let expected = StreamState {
            created: "2026-11-28T03:11:34.069124184Z".to_owned(),
            leader: None,
            first_sequence: 1,
            last_sequence: 10,
            last_time: 1_500_000_000,
            subjects: 8,
            bytes: 312,
            consumers: 3,
            server_time: 2_000_000_001,
            max_age: 700,
            message_ttl: true,
            unfit: None,
        };
        let read = answer(r#","allow_msg_ttl":true"#);
        assert!(matches!(read, Answered::State(state) if state == expected));
    }

    #[test]
    fn odd_buckets_are_unfit() {
        for odd in [
            r#","mirror":{"name":"KV_a"}"#,
            r#","sources":[{"name":"KV_a"}]"#,
            r#","subject_transform":{"src":">","dest":">"}"#,
            r#","allow_msg_counter":true"#,
            r#","allow_msg_schedules":true"#,
        ] {
            let Answered::State(state) = answer(odd) else {
                panic!("{odd}");
            };
            assert!(state.unfit.is_some(), "{odd}");
        }
    }

    #[test]
    fn a_leader_that_hears_of_nobody_is_not_believed() {
        let follows = |replicas: &[(u64, bool)]| {
            let peer = |&(millis, offline): &(u64, bool)| PeerJson {
                active: millis * 1_000_000,
                offline,
            };
            let replicas = replicas.iter().map(peer).collect();
            let leader = "a".to_owned();
            ClusterJson { leader, replicas }.follows()
        };
        assert!(follows(&[]), "the only node");
        assert!(follows(&[(900, false), (900, false)]));
        assert!(follows(&[(900, false), (60_000, false)]));
        assert!(!follows(&[(900, true), (3_000, false)]));
        assert!(!follows(&[(3_000, false), (3_000, false)]));
        assert!(!follows(&[(0, false), (3_000, false)]), "never heard of");
        assert!(follows(&[
            (1, false),
            (2, false),
            (9_000, false),
            (9_000, true)
        ]));
        assert!(!follows(&[
            (1, false),
            (9_000, false),
            (9_000, false),
            (9_000, false)
        ]));
    }

    #[test]
    fn a_node_that_knows_no_leader_is_not_believed() {
        // As nats-server 2.15.1 answers when it is cut off from the others.
        let peer = r#"{"name":"a","current":false,"active":0}"#;
        let json = format!(
            r#"{{"config":{{"subjects":["$KV.b.>"],"retention":"limits","max_msgs_per_subject":1}},
            "cluster":{{"name":"c","replicas":[{peer},{peer},{peer}]}}}}"#
        );
        let answer: StreamInfoAnswer = serde_json::from_str(&json).unwrap();
        assert!(matches!(answer.answered(SUBJECT), Answered::Silent));
    }

    #[test]
    fn an_error_is_told_from_a_missing_stream() {
        let answer = |code| {
            let json = format!(r#"{{"error":{{"code":404,"err_code":{code},"description":""}}}}"#);
            let answer: StreamInfoAnswer = serde_json::from_str(&json).unwrap();
            answer.answered(SUBJECT)
        };
        assert!(matches!(answer(10059), Answered::Missing));
        assert!(matches!(answer(10008), Answered::Silent));
        assert!(matches!(answer(10039), Answered::Denied));
    }
}
