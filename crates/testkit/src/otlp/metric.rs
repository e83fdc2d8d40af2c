//! Metrics as they were exported.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point;
use opentelemetry_proto::tonic::metrics::v1::{Metric, NumberDataPoint};

/// A metric.
#[derive(Clone, Debug)]
pub struct ExportedMetric {
    /// Its name.
    pub name: String,
    /// `counter`, `up-down counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Its unit.
    pub unit: String,
    /// Its description.
    pub description: String,
    /// Its points, one for each set of attributes.
    pub points: Vec<ExportedPoint>,
}

/// The value of a metric for a set of attributes.
#[derive(Clone, Debug)]
pub struct ExportedPoint {
    /// The attributes, by name.
    pub attributes: Vec<(String, String)>,
    /// The value. Of a histogram, the sum of all values.
    pub value: f64,
    /// How many values a histogram has; otherwise 1.
    pub count: u64,
}

impl ExportedMetric {
    /// The one point that has all of these attributes, and maybe others.
    #[must_use]
    pub fn point(&self, attributes: &[(&str, &str)]) -> Option<&ExportedPoint> {
        let has = |point: &&ExportedPoint| {
            let mut wanted = attributes.iter();
            wanted.all(|(name, value)| point.attribute(name) == Some(value))
        };
        self.points.iter().find(has)
    }

    /// The sum of the values of all points that have these attributes.
    #[must_use]
    pub fn sum(&self, attributes: &[(&str, &str)]) -> f64 {
        let has = |point: &&ExportedPoint| {
            let mut wanted = attributes.iter();
            wanted.all(|(name, value)| point.attribute(name) == Some(value))
        };
        self.points
            .iter()
            .filter(has)
            .map(|point| point.value)
            .sum()
    }
}

impl ExportedPoint {
    /// The value of an attribute.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let mut attributes = self.attributes.iter();
        let (_, value) = attributes.find(|(attribute, _)| attribute == name)?;
        Some(value)
    }
}

pub(super) fn exported(export: ExportMetricsServiceRequest) -> Vec<ExportedMetric> {
    let scopes = export.resource_metrics.into_iter();
    let scopes = scopes.flat_map(|resource| resource.scope_metrics);
    scopes.flat_map(|scope| scope.metrics).map(metric).collect()
}

fn metric(metric: Metric) -> ExportedMetric {
    let (kind, points) = match metric.data {
        Some(Data::Sum(sum)) if sum.is_monotonic => ("counter", numbers(sum.data_points)),
        Some(Data::Sum(sum)) => ("up-down counter", numbers(sum.data_points)),
        Some(Data::Gauge(gauge)) => ("gauge", numbers(gauge.data_points)),
        Some(Data::Histogram(histogram)) => {
            let points = histogram.data_points.into_iter();
            let points = points.map(|point| ExportedPoint {
                attributes: attributes(&point.attributes),
                value: point.sum(),
                count: point.count,
            });
            ("histogram", points.collect())
        }
        _ => ("none", Vec::new()),
    };
    ExportedMetric {
        name: metric.name,
        kind,
        unit: metric.unit,
        description: metric.description,
        points,
    }
}

fn numbers(points: Vec<NumberDataPoint>) -> Vec<ExportedPoint> {
    let number = |point: NumberDataPoint| ExportedPoint {
        attributes: attributes(&point.attributes),
        value: match point.value {
            Some(number_data_point::Value::AsDouble(value)) => value,
            #[allow(clippy::cast_precision_loss, reason = "tests count to less")]
            Some(number_data_point::Value::AsInt(value)) => value as f64,
            None => f64::NAN,
        },
        count: 1,
    };
    points.into_iter().map(number).collect()
}

pub(super) fn attributes(attributes: &[KeyValue]) -> Vec<(String, String)> {
    let attribute = |attribute: &KeyValue| (attribute.key.clone(), text(attribute.value.as_ref()));
    attributes.iter().map(attribute).collect()
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(value)) => value.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}
