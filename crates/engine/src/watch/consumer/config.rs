//! The configuration of a watch's consumer.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::StreamNames;
use crate::watch::{WatchSettings, pattern, timing};

/// In the consumer's metadata: the stream's last sequence when the consumer was created.
pub(super) const INITIAL_UNTIL: &str = "eventual-batch-initial-until";

/// In the consumer's metadata: up to which of its messages nothing is under way.
pub(super) const SETTLED_TO: &str = "eventual-batch-settled-to";

const DESCRIPTION: &str = "tells a component of changes (eventual-batch)";

/// After how long without a pull the server drops a consumer that is not durable.
const INACTIVE: Duration = Duration::from_secs(10);

/// How many changes the consumer hands out for each that is in a call. A key whose changes wait
/// does not hold up the others so soon.
const HANDED_OUT_FACTOR: usize = 4;

/// Messages that one pull asks for. The consumer's `max_ack_pending` bounds how many come at once.
/// A pull that is used up leaves a moment for another instance, so it is large.
const PULL: usize = 100_000;

/// What one pull may ask for. A server may set limits (`jetstream.limits`, `consumer_limits`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PullLimits {
    pub(super) messages: usize,
    pub(super) expires: Duration,
}

impl Default for PullLimits {
    fn default() -> Self {
        Self {
            messages: PULL,
            expires: timing::PULL_EXPIRES,
        }
    }
}

impl PullLimits {
    /// Those of a consumer with this configuration.
    pub(super) fn of(config: &Value) -> Self {
        let limit = |name: &str| config.get(name).and_then(Value::as_u64);
        let limit = |name: &str| limit(name).filter(|&limit| limit > 0);
        let own = Self::default();
        let messages = limit("max_batch").and_then(|limit| usize::try_from(limit).ok());
        Self {
            messages: messages.unwrap_or(PULL).min(PULL),
            expires: limit("max_expires").map_or(own.expires, |limit| {
                own.expires.min(Duration::from_nanos(limit))
            }),
        }
    }
}

/// How many changes the consumer hands out at once.
pub(in crate::watch) fn handed_out(settings: &WatchSettings) -> usize {
    settings.max_in_flight * HANDED_OUT_FACTOR
}

/// The first message of a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// What is written from now on: after this sequence.
    After(u64),
    /// The last message of each key.
    Last,
    All,
    /// This sequence, at which the consumer before stood.
    At(u64),
}

impl Start {
    /// Where that is, for the log.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::After(_) => "now",
            Self::Last => "the values that are there",
            Self::All => "the bucket's beginning",
            Self::At(_) => "where the deleted consumer stood",
        }
    }
}

/// The configuration of a consumer that is created.
pub(super) fn new(
    settings: &WatchSettings,
    names: &StreamNames,
    start: Start,
    last_sequence: u64,
) -> Value {
    let mut config = json!({
        "name": settings.name,
        "description": DESCRIPTION,
        "deliver_policy": match start {
            Start::Last => "last_per_subject",
            Start::All => "all",
            // Also for what is new: `new` would begin when the server takes the request.
            Start::After(_) | Start::At(_) => "by_start_sequence",
        },
        // A durable consumer has the stream's replicas. It may have an end, too.
        "durable_name": settings.name,
        "ack_policy": "explicit",
        "max_deliver": -1,
        "replay_policy": "instant",
        // One pull: one instance at a time.
        "max_waiting": 1,
    });
    set_all(&mut config, wanted(settings, names));
    let first = match start {
        Start::After(sequence) => Some(sequence + 1),
        Start::At(sequence) => Some(sequence),
        Start::Last | Start::All => None,
    };
    if let Some(first) = first {
        set(&mut config, "opt_start_seq", json!(first));
    }
    if start == Start::Last {
        config = with_number(&config, INITIAL_UNTIL, last_sequence);
    }
    config
}

/// The settings that can change while the consumer exists.
fn wanted(settings: &WatchSettings, names: &StreamNames) -> Map<String, Value> {
    let filters = pattern::filters(&settings.patterns);
    let filters: Vec<String> = filters
        .into_iter()
        .map(|filter| format!("{}{filter}", names.prefix))
        .collect();
    let mut wanted = Map::new();
    wanted.insert("filter_subjects".to_owned(), json!(filters));
    let ack_wait = timing::ack_wait(settings.call_timeout);
    wanted.insert("ack_wait".to_owned(), json!(nanos(ack_wait)));
    let handed_out = handed_out(settings);
    wanted.insert("max_ack_pending".to_owned(), json!(handed_out));
    let inactive = if settings.durable {
        Duration::ZERO
    } else {
        INACTIVE
    };
    wanted.insert("inactive_threshold".to_owned(), json!(nanos(inactive)));
    wanted
}

/// The configuration with the settings of now; `None`: it has them.
pub(super) fn adjusted(
    settings: &WatchSettings,
    names: &StreamNames,
    found: &Value,
) -> Option<Value> {
    let wanted = wanted(settings, names);
    let mut found = without_servers_own(found);
    if let Some(one) = found.get("filter_subject").cloned() {
        remove(&mut found, "filter_subject");
        set(&mut found, "filter_subjects", json!([one]));
    }
    if let Some(Value::Array(filters)) = found.get_mut("filter_subjects") {
        filters.sort_unstable_by_key(ToString::to_string);
    }
    // The server leaves out what is 0.
    let none = json!(0);
    let is_so = |(name, value): (&String, &Value)| found.get(name).unwrap_or(&none) == value;
    if wanted.iter().all(is_so) {
        return None;
    }
    set_all(&mut found, wanted);
    Some(found)
}

/// Whether the consumer can be one that a watch has made.
pub(super) fn is_of_watch(config: &Value) -> bool {
    config.get("ack_policy") == Some(&json!("explicit"))
        && config.get("max_waiting") == Some(&json!(1))
        && config.get("deliver_subject").is_none()
}

/// How long a consumer with this configuration waits for an acknowledgement.
pub(super) fn ack_wait(config: &Value) -> Duration {
    let nanos = config.get("ack_wait").and_then(Value::as_u64);
    Duration::from_nanos(nanos.unwrap_or_default())
}

/// A number in the metadata; 0 if there is none.
pub(super) fn metadata_number(config: &Value, name: &str) -> u64 {
    let number = config.get("metadata").and_then(|data| data.get(name));
    let number = number.and_then(Value::as_str);
    number.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The configuration with a number in its metadata.
pub(super) fn with_number(config: &Value, name: &str, number: u64) -> Value {
    let mut config = without_servers_own(config);
    let data = config.get("metadata").cloned().unwrap_or_else(|| json!({}));
    let mut data = data;
    set(&mut data, name, json!(number.to_string()));
    set(&mut config, "metadata", data);
    config
}

/// Without the metadata that the server adds to what it shows.
fn without_servers_own(config: &Value) -> Value {
    let mut config = config.clone();
    if let Some(Value::Object(data)) = config.get_mut("metadata") {
        data.retain(|name, _| !name.starts_with("_nats."));
    }
    config
}

fn set(config: &mut Value, name: &str, value: Value) {
    if let Value::Object(config) = config {
        config.insert(name.to_owned(), value);
    }
}

fn set_all(config: &mut Value, values: Map<String, Value>) {
    if let Value::Object(config) = config {
        config.extend(values);
    }
}

fn remove(config: &mut Value, name: &str) {
    if let Value::Object(config) = config {
        config.remove(name);
    }
}

/// A duration as JetStream's API has it.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::KeyEncoding;
    use crate::stream_info::BucketSpec;
    use crate::watch::{WatchFrom, WatchPattern, WatchedChanges};

    fn settings(durable: bool) -> WatchSettings {
        WatchSettings {
            name: "w".to_owned(),
            bucket: BucketSpec {
                name: "b".to_owned(),
                domain: None,
                create: None,
            },
            encoding: KeyEncoding::None,
            patterns: vec![WatchPattern::new(">", KeyEncoding::None, WatchedChanges::All).unwrap()],
            from: WatchFrom::New,
            durable,
            max_in_flight: 16,
            max_deliver: 10,
            call_timeout: Duration::from_secs(2),
        }
    }

    fn names() -> StreamNames {
        StreamNames {
            stream: "KV_b".to_owned(),
            api_prefix: "$JS.API".to_owned(),
            prefix: "$KV.b.".to_owned(),
        }
    }

    /// As the server shows it.
    fn shown(mut config: Value) -> Value {
        if config["inactive_threshold"] == json!(0) {
            remove(&mut config, "inactive_threshold");
        }
        config["metadata"] = json!({"_nats.ver": "2.12.0"});
        config
    }

    #[test]
    fn whether_changes_are_kept_can_change() {
        let found = |durable| shown(new(&settings(durable), &names(), Start::After(0), 0));
        for durable in [true, false] {
            let as_found = adjusted(&settings(durable), &names(), &found(durable));
            assert_eq!(as_found, None, "{durable}");
        }
        let now_durable = adjusted(&settings(true), &names(), &found(false)).unwrap();
        assert_eq!(now_durable["inactive_threshold"], json!(0));
        assert_eq!(now_durable["durable_name"], json!("w"));
        let no_more = adjusted(&settings(false), &names(), &found(true)).unwrap();
        assert_eq!(no_more["inactive_threshold"], json!(nanos(INACTIVE)));
    }

    #[test]
    fn what_is_new_begins_after_the_last_message_that_was_there() {
        let config = new(&settings(true), &names(), Start::After(7), 7);
        assert_eq!(config["deliver_policy"], json!("by_start_sequence"));
        assert_eq!(config["opt_start_seq"], json!(8));
    }

    #[test]
    fn a_pull_keeps_to_the_servers_limits() {
        let limits = PullLimits::of(&json!({"max_batch": 1000, "max_expires": 5_000_000_000_u64}));
        assert_eq!(limits.messages, 1000);
        assert_eq!(limits.expires, Duration::from_secs(5));
        assert_eq!(PullLimits::of(&json!({})), PullLimits::default());
        assert_eq!(
            PullLimits::of(&json!({"max_batch": 0, "max_expires": 0})),
            PullLimits::default()
        );
    }
}
