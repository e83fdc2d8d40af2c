use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{
    AsyncInstrumentBuilder, Counter, Histogram, HistogramBuilder, InstrumentBuilder,
    InstrumentProvider, Meter, ObservableCounter, ObservableGauge, ObservableUpDownCounter,
    SyncInstrument, UpDownCounter,
};

use super::*;

/// What was made with a meter: kind, unit and description by name.
#[derive(Default)]
struct Made(Mutex<HashMap<String, (MetricKind, String, String)>>);

impl Made {
    fn note(
        &self,
        kind: MetricKind,
        name: &str,
        unit: Option<Cow<'static, str>>,
        description: Option<Cow<'static, str>>,
    ) {
        let texts = [unit, description].map(|text| text.unwrap_or_default().into_owned());
        let [unit, description] = texts;
        let before = self
            .0
            .lock()
            .unwrap()
            .insert(name.to_owned(), (kind, unit, description));
        assert_eq!(before, None, "{name} is made twice");
    }
}

struct Ignored;

impl<T> SyncInstrument<T> for Ignored {
    fn measure(&self, _: T, _: &[KeyValue]) {}
}

impl InstrumentProvider for Made {
    fn u64_counter(&self, made: InstrumentBuilder<'_, Counter<u64>>) -> Counter<u64> {
        self.note(MetricKind::Counter, &made.name, made.unit, made.description);
        Counter::new(Arc::new(Ignored))
    }

    fn i64_up_down_counter(
        &self,
        made: InstrumentBuilder<'_, UpDownCounter<i64>>,
    ) -> UpDownCounter<i64> {
        let kind = MetricKind::UpDownCounter;
        self.note(kind, &made.name, made.unit, made.description);
        UpDownCounter::new(Arc::new(Ignored))
    }

    fn f64_histogram(&self, made: HistogramBuilder<'_, Histogram<f64>>) -> Histogram<f64> {
        self.note(
            MetricKind::Histogram,
            &made.name,
            made.unit,
            made.description,
        );
        Histogram::new(Arc::new(Ignored))
    }

    fn u64_histogram(&self, made: HistogramBuilder<'_, Histogram<u64>>) -> Histogram<u64> {
        self.note(
            MetricKind::Histogram,
            &made.name,
            made.unit,
            made.description,
        );
        Histogram::new(Arc::new(Ignored))
    }

    fn u64_observable_counter(
        &self,
        made: AsyncInstrumentBuilder<'_, ObservableCounter<u64>, u64>,
    ) -> ObservableCounter<u64> {
        self.note(MetricKind::Counter, &made.name, made.unit, made.description);
        ObservableCounter::new()
    }

    fn i64_observable_up_down_counter(
        &self,
        made: AsyncInstrumentBuilder<'_, ObservableUpDownCounter<i64>, i64>,
    ) -> ObservableUpDownCounter<i64> {
        let kind = MetricKind::UpDownCounter;
        self.note(kind, &made.name, made.unit, made.description);
        ObservableUpDownCounter::new()
    }

    fn f64_observable_gauge(
        &self,
        made: AsyncInstrumentBuilder<'_, ObservableGauge<f64>, f64>,
    ) -> ObservableGauge<f64> {
        self.note(MetricKind::Gauge, &made.name, made.unit, made.description);
        ObservableGauge::new()
    }
}

#[test]
fn each_metric_of_the_list_is_made_once_and_as_the_list_says() {
    let made = Arc::new(Made::default());
    let meter = Meter::new(Arc::clone(&made) as Arc<dyn InstrumentProvider + Send + Sync>);
    let connections = Arc::new(Connections::new("test"));
    let _metrics = LinkMetrics::new(&meter, &connections, &Arc::new(Replicas::new(0)));
    let listed = METRICS.iter().map(|metric| {
        let texts = (
            metric.kind,
            metric.unit.to_owned(),
            metric.description.to_owned(),
        );
        (metric.name.to_owned(), texts)
    });
    assert_eq!(*made.0.lock().unwrap(), listed.collect());
}
