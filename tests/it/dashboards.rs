//! The dashboard, the alert rules and the table of the documentation name metrics that are exported.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result};
use eventual_batch_links::{METRICS, MetricDefinition, MetricKind};

#[test]
fn the_dashboard_shows_every_metric_and_no_other() -> Result<()> {
    let text = read("docs/dashboards/eventual-batch.json")?;
    serde_json::from_str::<serde_json::Value>(&text)?;
    let all = METRICS.iter().map(prometheus_name);
    assert_eq!(named(&text), all.collect());
    Ok(())
}

#[test]
fn the_alert_rules_name_metrics_that_are_exported() -> Result<()> {
    let named = named(&read("docs/dashboards/alerts.yaml")?);
    assert!(named.len() > 5, "{named:?}");
    let all: BTreeSet<_> = METRICS.iter().map(prometheus_name).collect();
    assert!(named.is_subset(&all), "{:?}", named.difference(&all));
    Ok(())
}

/// A misspelt value would be one that no metric ever has.
#[test]
fn the_values_that_alert_rules_select_are_in_the_documentation() -> Result<()> {
    let documented = read("docs/operations.md")?;
    let rules = read("docs/dashboards/alerts.yaml")?;
    let mut selected = BTreeSet::new();
    for label in ["error_type", "reason", "state"] {
        for (place, _) in rules.match_indices(label) {
            let after = rules[place + label.len()..].trim_start_matches(['=', '!', '~']);
            let value = after
                .strip_prefix('"')
                .and_then(|after| after.split_once('"'));
            selected.extend(value.into_iter().flat_map(|(values, _)| values.split('|')));
        }
    }
    assert!(selected.contains("no-such-bucket"), "{selected:?}");
    for value in selected {
        assert!(documented.contains(&format!("`{value}`")), "{value}");
    }
    Ok(())
}

/// Calls without a bucket are all errors, so a share of them that fails says nothing.
#[test]
fn alert_rules_on_a_share_of_calls_are_about_calls_that_reach_a_bucket() -> Result<()> {
    const COUNT: &str = "db_client_operation_duration_seconds_count{";
    let rules = read("docs/dashboards/alerts.yaml")?;
    let shares = rules.split("- alert:").filter(|rule| {
        let is_share = rule.contains("\n          / ");
        is_share && rule.contains(COUNT)
    });
    let mut count = 0;
    for rule in shares {
        for selector in rule.split(COUNT).skip(1) {
            let selector = selector.split('}').next().unwrap_or_default();
            assert!(selector.contains("db_collection_name!=\"\""), "{rule}");
            count += 1;
        }
    }
    assert_eq!(count, 4);
    Ok(())
}

#[test]
fn the_documentation_lists_every_metric() -> Result<()> {
    let text = read("docs/operations.md")?;
    for metric in METRICS {
        let kind = match metric.kind {
            MetricKind::Counter => "counter",
            MetricKind::UpDownCounter => "up-down counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        let (name, unit) = (metric.name, metric.unit);
        let start = format!(
            "| `{name}` | `{}` | {kind}, {unit} |",
            prometheus_name(metric)
        );
        let line = text.lines().find(|line| line.starts_with(&start));
        let line = line.with_context(|| format!("no line begins with {start}"))?;
        for attribute in metric.attributes {
            assert!(
                line.contains(&format!("`{attribute}`")),
                "{attribute}: {line}"
            );
        }
    }
    // The adapters are files of a release, and have such names too.
    let mut metrics = named(&text);
    metrics.retain(|name| !name.starts_with("eventual_batch_adapter"));
    assert_eq!(metrics.len(), METRICS.len());
    Ok(())
}

fn read(path: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// The name that Prometheus gives it by default, without a histogram's `_bucket`, `_sum` and
/// `_count`: a unit is appended that the name does not have yet, and `_total` to a counter.
fn prometheus_name(metric: &MetricDefinition) -> String {
    let mut name = metric.name.replace('.', "_");
    let unit = match metric.unit {
        "s" => Some("seconds"),
        "By" => Some("bytes"),
        _ => None,
    };
    if let Some(unit) = unit.filter(|unit| !name.split('_').any(|part| part == *unit)) {
        name = format!("{name}_{unit}");
    }
    match metric.kind {
        MetricKind::Counter => format!("{name}_total"),
        _ => name,
    }
}

/// The metrics that a text names, without the suffixes of a histogram's series.
fn named(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_part(c));
    let metrics =
        words.filter(|word| word.starts_with("eventual_batch_") || word.starts_with("db_client_"));
    let series = |word: &str| {
        let base = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|suffix| word.strip_suffix(suffix));
        base.unwrap_or(word).to_owned()
    };
    metrics.map(series).collect()
}
