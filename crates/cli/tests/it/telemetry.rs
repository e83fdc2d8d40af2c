//! What it exports to a collector, and that nothing waits for one.

#![allow(clippy::float_cmp, reason = "whole numbers")]

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use http::{Method, StatusCode};
use testkit::{ExportedPoint, ExportedSpan, OtlpCollector, free_port};
use tokio::time::{sleep, timeout};

use crate::support::{LONG, ServeBuilder, ServeProcess, bucket, example, misbehaving, server};

/// A component with an exporter to this collector.
fn exporter(component: &Path, collector: &str) -> Result<ServeBuilder> {
    let builder = ServeBuilder::new(component)?
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector)
        .env("OTEL_METRIC_EXPORT_INTERVAL", "200")
        .env("OTEL_BSP_SCHEDULE_DELAY", "200");
    Ok(builder)
}

/// The example with the bucket `orders`, and an exporter to this collector.
async fn exporting(nats: &str, collector: &str) -> Result<ServeProcess> {
    exporter(&example()?, collector)?
        .args(&["--bucket", "orders", "--nats", nats])
        .start()
        .await
}

async fn stop(served: ServeProcess) -> Result<()> {
    served.signal("TERM").await?;
    let ended = served.ended().await?;
    ensure!(ended.code == Some(0), "{}", ended.log);
    Ok(())
}

/// The point of a metric with these attributes, as soon as it is as wanted.
async fn point(
    collector: &OtlpCollector,
    name: &str,
    attributes: &[(&str, &str)],
    is_wanted: impl Fn(&ExportedPoint) -> bool,
) -> Result<ExportedPoint> {
    let wait = async {
        loop {
            let metric = collector.metric(name)?;
            let point = metric.as_ref().and_then(|metric| metric.point(attributes));
            if let Some(point) = point.filter(|point| is_wanted(point)) {
                return anyhow::Ok(point.clone());
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = timeout(LONG, wait).await;
    waited.with_context(|| format!("{name} {attributes:?}: {:?}", collector.metric(name)))?
}

async fn write(served: &ServeProcess, key: &str, value: &str) -> Result<()> {
    let mut client = served.connect().await?;
    let body = format!(r#"{{"{key}": "{value}"}}"#);
    let (status, _) = client.request(Method::PUT, "/", &body).await?;
    assert_eq!(status, StatusCode::OK);
    Ok(())
}

#[tokio::test]
async fn calls_are_measured_and_traced_without_keys_and_values() -> Result<()> {
    const KEY: &str = "KEY-that-is-nobodys-business";
    const VALUE: &str = "VALUE-that-is-nobodys-business";
    let (nats, _) = server().await?;
    let collector = OtlpCollector::start().await?;
    let served = exporting(&nats.url(), collector.url()).await?;
    write(&served, KEY, VALUE).await?;
    // The rest is sent at the end.
    stop(served).await?;

    let duration = collector.metric("db.client.operation.duration")?;
    let duration = duration.context("no durations")?;
    let of = [
        ("db.system.name", "nats"),
        ("db.operation.name", "set-many"),
        ("db.collection.name", "orders"),
    ];
    let point = duration.point(&of).context("no such point")?;
    assert_eq!((point.count, point.attribute("error.type")), (1, None));
    let connections = collector.metric("eventual_batch.connections")?;
    assert!(connections.is_some());
    let resource = collector.resource()?;
    let service = resource.iter().find(|(name, _)| name == "service.name");
    assert_eq!(service.map(|(_, value)| &**value), Some("eventual-batch"));
    let spans = collector.spans()?;
    let span = spans.iter().find(|span| span.name == "set-many orders");
    let span = span.context("no span")?;
    assert_eq!(span.attribute("db.collection.name"), Some("orders"));
    for hidden in [KEY, VALUE] {
        assert!(!collector.has_received(hidden.as_bytes())?, "{hidden}");
    }
    Ok(())
}

/// It may print keys and values.
#[tokio::test]
async fn what_a_component_prints_is_not_exported() -> Result<()> {
    const KEY: &str = "KEY-that-is-nobodys-business";
    const VALUE: &str = "VALUE-that-is-nobodys-business";
    let (nats, orders) = server().await?;
    bucket(&nats, "own").await?;
    let collector = OtlpCollector::start().await?;
    let url = nats.url();
    let links = format!(
        "[links.default]\nbucket = \"own\"\ncluster_uri = \"{url}\"\n\
         [watch.orders]\nbucket = \"orders\"\ncluster_uri = \"{url}\"\nwatch = \">\"\n\
         watch_from = \"last\"\n"
    );
    let told = testkit::component("e2e/components", "told")?;
    let served = exporter(&told, collector.url())?
        .links(&links)?
        .start()
        .await?;
    orders.put(KEY, format!("print {VALUE}").into()).await?;
    served.logged(&format!("{KEY} is print {VALUE}")).await?;
    stop(served).await?;

    let spans = collector.spans()?;
    assert!(spans.iter().any(|span| span.name == "tell"), "{spans:?}");
    assert!(
        spans.iter().any(|span| span.name.starts_with("set")),
        "{spans:?}"
    );
    for hidden in [KEY, VALUE] {
        assert!(!collector.has_received(hidden.as_bytes())?, "{hidden}");
    }
    Ok(())
}

#[tokio::test]
async fn a_request_is_a_span_of_its_clients_trace() -> Result<()> {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";
    let (nats, _) = server().await?;
    let collector = OtlpCollector::start().await?;
    // The log has spans of its own at debug, which must not come in between.
    for level in ["info", "debug"] {
        let served = exporter(&example()?, collector.url())?
            .args(&["--bucket", "orders", "--nats", &nats.url()])
            .env("RUST_LOG", level)
            .start()
            .await?;
        let mut client = served.connect().await?;
        let context = format!("00-{TRACE}-{PARENT}-01");
        let headers = [("traceparent", context.as_str())];
        let body = r#"{"a": "b"}"#;
        let answer = client.send_with(Method::PUT, "/", &headers, body).await?;
        assert_eq!(answer.status(), StatusCode::OK);
        // And one whose client names no trace.
        write(&served, "a", "b").await?;
        stop(served).await?;
    }

    let spans = collector.spans()?;
    let named = |name: &str| -> Vec<&ExportedSpan> {
        spans.iter().filter(|span| span.name == name).collect()
    };
    let (requests, writes) = (named("PUT"), named("set-many orders"));
    assert_eq!((requests.len(), writes.len()), (4, 4), "{spans:?}");
    for request in requests {
        let is_clients = request.trace == TRACE;
        assert_eq!(request.parent, if is_clients { PARENT } else { "" });
        assert_eq!(request.attribute("http.request.method"), Some("PUT"));
        assert_eq!(request.attribute("http.response.status_code"), Some("200"));
        let calls = spans.iter().filter(|span| span.parent == request.id);
        let calls: Vec<_> = calls.map(|span| (&*span.name, &*span.trace)).collect();
        assert!(
            calls.contains(&("set-many orders", &request.trace)),
            "{spans:?}"
        );
    }
    let of_client = spans.iter().filter(|span| span.parent == PARENT);
    assert_eq!(of_client.count(), 2);
    Ok(())
}

#[tokio::test]
async fn a_call_that_is_cut_off_with_its_request_is_counted() -> Result<()> {
    let (nats, _) = server().await?;
    let collector = OtlpCollector::start().await?;
    let links = format!(
        "[links.default]\nbucket = \"orders\"\ncluster_uri = \"{}\"\ntimeout = \"10m\"\n",
        nats.url()
    );
    let served = exporter(&example()?, collector.url())?
        .links(&links)?
        .args(&["--request-timeout", "1s"])
        .start()
        .await?;
    nats.pause().await?;
    let (status, _) = served.get("/?key=a").await?;
    assert_eq!(status, StatusCode::GATEWAY_TIMEOUT);
    let cut_off = [
        ("db.collection.name", "orders"),
        ("error.type", "cancelled"),
    ];
    point(
        &collector,
        "db.client.operation.duration",
        &cut_off,
        |point| point.count == 1,
    )
    .await?;
    served.logged("call cut off").await?;
    nats.resume()?;
    Ok(())
}

#[tokio::test]
async fn requests_over_the_bound_are_counted_and_logged_once() -> Result<()> {
    const SHED: &str = "eventual_batch.calls.shed";
    let (nats, _) = server().await?;
    let collector = OtlpCollector::start().await?;
    let served = exporter(&misbehaving()?, collector.url())?
        .args(&["--bucket", "orders", "--nats", &nats.url()])
        .args(&["--max-requests", "1", "--request-timeout", "10m"])
        .start()
        .await?;
    let requests = [("reason", "requests")];
    point(&collector, SHED, &requests, |point| point.value == 0.0).await?;
    let mut client = served.connect().await?;
    let _waiting = tokio::spawn(async move { client.request(Method::GET, "/wait", "").await });
    served.logged("begun").await?;
    for _ in 0..2 {
        let (status, _) = served.get("/ok").await?;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    }
    point(&collector, SHED, &requests, |point| point.value == 2.0).await?;
    assert_eq!(served.log().matches("requests are refused").count(), 1);
    Ok(())
}

#[tokio::test]
async fn a_collector_that_is_down_delays_neither_calls_nor_the_end() -> Result<()> {
    let (nats, _) = server().await?;
    let down = free_port();
    let served = exporting(&nats.url(), &format!("http://127.0.0.1:{down}")).await?;
    for _ in 0..20 {
        write(&served, "a", "b").await?;
    }
    // When the collector is there, it is told what it has missed.
    let collector = OtlpCollector::start_on(down).await?;
    let all = |point: &ExportedPoint| point.count == 20;
    let writes = [("db.operation.name", "set-many")];
    point(&collector, "db.client.operation.duration", &writes, all).await?;
    drop(collector);
    stop(served).await
}

#[tokio::test]
async fn a_protocol_that_it_does_not_speak_is_told_before_it_listens() -> Result<()> {
    let (nats, _) = server().await?;
    let refused = ServeBuilder::new(&example()?)?
        .args(&["--bucket", "orders", "--nats", &nats.url()])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        .refused()
        .await?;
    assert!(refused.contains("http/protobuf"), "{refused}");
    Ok(())
}
