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

/// How many changes the consumer hands out for each that is in a call. A key whose changes wait does
/// not hold up the others so soon.
const HANDED_OUT_FACTOR: usize = 4;

/// The first message of a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    New,
    /// The last message of each key.
    Last,
    All,
    /// This sequence.
    At(u64),
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
            Start::New => "new",
            Start::Last => "last_per_subject",
            Start::All => "all",
            Start::At(_) => "by_start_sequence",
        },
        "ack_policy": "explicit",
        "max_deliver": -1,
        "replay_policy": "instant",
        // One pull: one instance at a time.
        "max_waiting": 1,
    });
    set_all(&mut config, wanted(settings, names));
    if let Start::At(sequence) = start {
        set(&mut config, "opt_start_seq", json!(sequence));
    }
    if settings.durable {
        set(&mut config, "durable_name", json!(settings.name));
    } else {
        set(&mut config, "inactive_threshold", json!(nanos(INACTIVE)));
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
    let handed_out = settings.max_in_flight * HANDED_OUT_FACTOR;
    wanted.insert("max_ack_pending".to_owned(), json!(handed_out));
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
    if wanted
        .iter()
        .all(|(name, value)| found.get(name) == Some(value))
    {
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
