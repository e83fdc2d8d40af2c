//! How histograms are kept until they are exported.

use eventual_batch_links::METRICS;
use opentelemetry_sdk::metrics::{Aggregation, Instrument, Stream};

/// How many sets of attributes a histogram has room for. Further ones are measured together, without
/// the bucket's name. The SDK's own number, 2000, is too small for some 300 buckets.
const MAX_ATTRIBUTE_SETS: usize = 20_000;

/// How a histogram is kept. Without bounds of its own, a view would have those of the SDK.
pub(super) fn stream(instrument: &Instrument) -> Option<Stream> {
    let mut metrics = METRICS.iter();
    let metric = metrics.find(|metric| metric.name == instrument.name())?;
    let aggregation = Aggregation::ExplicitBucketHistogram {
        boundaries: metric.boundaries()?.to_vec(),
        record_min_max: true,
    };
    let stream = Stream::builder()
        .with_aggregation(aggregation)
        .with_cardinality_limit(MAX_ATTRIBUTE_SETS);
    stream.build().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use opentelemetry::KeyValue;
    use opentelemetry::metrics::MeterProvider as _;
    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::metrics::data::{
        AggregatedMetrics, MetricData, ResourceMetrics, ScopeMetrics,
    };
    use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
    use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};

    use super::*;

    /// How many points a histogram has, and its bounds.
    type Kept = (usize, Vec<f64>);

    /// Keeps the histograms of seconds, by name.
    #[derive(Clone, Default)]
    struct KeptHistograms(Arc<Mutex<HashMap<String, Kept>>>);

    impl PushMetricExporter for KeptHistograms {
        async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
            for metric in metrics.scope_metrics().flat_map(ScopeMetrics::metrics) {
                if let AggregatedMetrics::F64(MetricData::Histogram(histogram)) = metric.data() {
                    let bounds = histogram.data_points().next();
                    let bounds = bounds.map(|point| point.bounds().collect());
                    let kept = (histogram.data_points().count(), bounds.unwrap_or_default());
                    self.0
                        .lock()
                        .unwrap()
                        .insert(metric.name().to_owned(), kept);
                }
            }
            Ok(())
        }

        fn force_flush(&self) -> OTelSdkResult {
            Ok(())
        }

        fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
            Ok(())
        }

        fn temporality(&self) -> Temporality {
            Temporality::Cumulative
        }
    }

    #[test]
    fn thousands_of_buckets_are_measured_each() {
        const DURATION: &str = "db.client.operation.duration";
        let kept = KeptHistograms::default();
        let reader = PeriodicReader::builder(kept.clone()).build();
        let metrics = SdkMeterProvider::builder().with_reader(reader);
        let metrics = metrics.with_view(stream).build();
        let duration = METRICS.iter().find(|metric| metric.name == DURATION);
        let bounds = duration.unwrap().boundaries().unwrap();
        // As the links make it.
        let meter = metrics.meter("test");
        let duration = meter.f64_histogram(DURATION);
        let duration = duration.with_boundaries(bounds.to_vec()).build();
        for bucket in 0..5000_i64 {
            duration.record(0.1, &[KeyValue::new("db.collection.name", bucket)]);
        }
        metrics.force_flush().unwrap();
        let kept = kept.0.lock().unwrap();
        assert_eq!(kept[DURATION], (5000, bounds.to_vec()));
    }
}
