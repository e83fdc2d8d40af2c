//! Exports of metrics and spans by OpenTelemetry, as its standard variables say.
//!
//! Both are off unless a variable names a collector. They go by OTLP over HTTP, in the background: a
//! collector that is down or slow delays nobody, and what cannot be kept for it is dropped.

mod histograms;
mod spans;

use std::env;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Meter, MeterProvider as _};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{MetricExporter, SpanExporter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::metrics::periodic_reader_with_async_runtime::PeriodicReader;
use opentelemetry_sdk::runtime::Tokio;
use opentelemetry_sdk::trace::SdkTracerProvider;
use opentelemetry_sdk::trace::span_processor_with_async_runtime::BatchSpanProcessor;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{Subscriber, warn};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterFn, LevelFilter};
use tracing_subscriber::registry::LookupSpan;

pub(super) use spans::{EXPORTED_SPANS, note_status, request_span};

/// The name of the program in what it exports, and of its meter and tracer.
const NAME: &str = "eventual-batch";

/// How long the program waits at its end for the collector to take the rest.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// What one program exports.
#[derive(Debug, Default)]
pub(super) struct Telemetry {
    metrics: Option<SdkMeterProvider>,
    spans: Option<SdkTracerProvider>,
}

/// What can be exported.
#[derive(Clone, Copy, Debug)]
enum Signal {
    Metrics,
    Traces,
}

impl Telemetry {
    /// Exports what the environment says. To be called on the runtime. An error is a sentence.
    pub(super) fn start() -> Result<Self, String> {
        let mut telemetry = Self::default();
        if Signal::Metrics.is_on(variable)? {
            let exporter = MetricExporter::builder().with_http().build();
            let exporter = exporter.map_err(|error| format!("cannot export metrics: {error}"))?;
            let reader = PeriodicReader::builder(exporter, Tokio).build();
            let metrics = SdkMeterProvider::builder().with_resource(resource());
            let metrics = metrics.with_view(histograms::stream);
            telemetry.metrics = Some(metrics.with_reader(reader).build());
        }
        if Signal::Traces.is_on(variable)? {
            let exporter = SpanExporter::builder().with_http().build();
            let exporter = exporter.map_err(|error| format!("cannot export traces: {error}"))?;
            let processor = BatchSpanProcessor::builder(exporter, Tokio).build();
            let spans = SdkTracerProvider::builder().with_resource(resource());
            telemetry.spans = Some(spans.with_span_processor(processor).build());
        }
        Ok(telemetry)
    }

    /// What metrics are made with. `None`: they are off.
    pub(super) fn meter(&self) -> Option<Meter> {
        Some(self.metrics.as_ref()?.meter(NAME))
    }

    /// What takes the spans for the export. `None`: it is off.
    pub(super) fn layer<S>(&self) -> Option<impl Layer<S> + use<S>>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let tracer = self.spans.as_ref()?.tracer(NAME);
        let filter = FilterFn::new(spans::is_exported).with_max_level_hint(LevelFilter::INFO);
        Some(OpenTelemetryLayer::new(tracer).with_filter(filter))
    }

    /// Hands the rest to the collector, if it takes it in time.
    pub(super) async fn stop(self) {
        let Self { metrics, spans } = self;
        // They wait for tasks of the runtime.
        let metrics = spawn_blocking(move || metrics.map(|metrics| metrics.shutdown()));
        let spans = spawn_blocking(move || spans.map(|spans| spans.shutdown()));
        let all = async { tokio::join!(metrics, spans) };
        if timeout(FLUSH_TIMEOUT, all).await.is_err() {
            warn!("the collector did not take the last metrics and spans in time");
        }
    }
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Metrics => "METRICS",
            Self::Traces => "TRACES",
        }
    }

    /// Whether it is to be exported, by these variables. An error is a sentence.
    fn is_on(self, variable: impl Fn(&str) -> Option<String>) -> Result<bool, String> {
        let is_disabled = variable("OTEL_SDK_DISABLED");
        if is_disabled.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(false);
        }
        let signal = self.name();
        let exporter = format!("OTEL_{signal}_EXPORTER");
        match variable(&exporter).as_deref() {
            Some("none") => return Ok(false),
            Some("otlp") | None => {}
            Some(other) => return Err(format!("{exporter} is {other:?}: expected otlp or none")),
        }
        // That of the signal goes before that of all signals.
        let otlp = |what: &str| {
            let names = [
                format!("OTEL_EXPORTER_OTLP_{signal}_{what}"),
                format!("OTEL_EXPORTER_OTLP_{what}"),
            ];
            names
                .into_iter()
                .find_map(|name| variable(&name).map(|value| (name, value)))
        };
        if otlp("ENDPOINT").is_none() {
            return Ok(false);
        }
        match otlp("PROTOCOL") {
            Some((name, protocol)) if protocol != "http/protobuf" => Err(format!(
                "{name} is {protocol:?}: this program exports by http/protobuf only"
            )),
            _ => Ok(true),
        }
    }
}

/// The value of a variable of the environment. One that is empty is not set.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// What describes this process.
fn resource() -> Resource {
    let given = variable("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let is_named = variable("OTEL_SERVICE_NAME").is_some();
    let own = own_attributes(&given, is_named);
    Resource::builder().with_attributes(own).build()
}

/// What the program says of itself: what the operator has not said, who gave these attributes
/// (`OTEL_RESOURCE_ATTRIBUTES`) and maybe a name (`OTEL_SERVICE_NAME`).
fn own_attributes(given: &str, is_named: bool) -> Vec<KeyValue> {
    let is_given = |name: &str| {
        let mut pairs = given.split(',').filter_map(|pair| pair.split_once('='));
        pairs.any(|(given, _)| given.trim() == name)
    };
    let mut own = Vec::new();
    if !is_given("service.version") {
        let version = env!("CARGO_PKG_VERSION");
        own.push(KeyValue::new("service.version", version));
    }
    if !is_named && !is_given("service.name") {
        own.push(KeyValue::new("service.name", NAME));
    }
    if !is_given("service.instance.id") {
        let id = nuid::next().to_string();
        own.push(KeyValue::new("service.instance.id", id));
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_on(variables: &[(&str, &str)]) -> [Result<bool, String>; 2] {
        let variable = |name: &str| {
            let mut variables = variables.iter();
            let (_, value) = variables.find(|(variable, _)| *variable == name)?;
            Some((*value).to_owned())
        };
        [Signal::Metrics, Signal::Traces].map(|signal| signal.is_on(variable))
    }

    #[test]
    fn nothing_is_exported_unless_a_collector_is_named() {
        const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318");
        assert_eq!(is_on(&[]), [Ok(false), Ok(false)]);
        assert_eq!(is_on(&[ENDPOINT]), [Ok(true), Ok(true)]);
        let only_traces = (
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "http://localhost:4318",
        );
        assert_eq!(is_on(&[only_traces]), [Ok(false), Ok(true)]);
        let no_metrics = ("OTEL_METRICS_EXPORTER", "none");
        assert_eq!(is_on(&[ENDPOINT, no_metrics]), [Ok(false), Ok(true)]);
        let disabled = ("OTEL_SDK_DISABLED", "true");
        assert_eq!(is_on(&[ENDPOINT, disabled]), [Ok(false), Ok(false)]);
    }

    #[test]
    fn what_this_program_cannot_do_is_told() {
        const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318");
        let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
        let [metrics, _] = is_on(&[ENDPOINT, grpc]);
        assert!(metrics.is_err_and(|error| error.contains("OTEL_EXPORTER_OTLP_PROTOCOL")));
        let own = ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/protobuf");
        assert_eq!(is_on(&[ENDPOINT, grpc, own])[0], Ok(true));
        let console = ("OTEL_TRACES_EXPORTER", "console");
        let [_, traces] = is_on(&[ENDPOINT, console]);
        assert!(traces.is_err_and(|error| error.contains("OTEL_TRACES_EXPORTER")));
    }
    #[test]
    fn what_the_operator_says_of_the_process_goes_before() {
        let own = |given, is_named| {
            let own = own_attributes(given, is_named).into_iter();
            own.map(|own| own.key.to_string()).collect::<Vec<_>>()
        };
        let all = ["service.version", "service.name", "service.instance.id"];
        assert_eq!(own("", false), all);
        assert_eq!(own("peer.service.name=a,b", false), all);
        let given = "service.version=7, service.name = shop,service.instance.id=1";
        assert_eq!(own(given, false), [""; 0]);
        assert_eq!(own("service.version=7", true), ["service.instance.id"]);
    }
}
