//! What it exports to a collector, and that nothing waits for one.

use anyhow::{Context as _, Result};
use http::{Method, StatusCode};
use testkit::{OtlpCollector, free_port};
use tokio::time::{sleep, timeout};

use crate::support::{LONG, ServeBuilder, ServeProcess, example, server};

/// A component with the bucket `orders`, and an exporter to this collector.
async fn exporting(nats: &str, collector: &str) -> Result<ServeProcess> {
    ServeBuilder::new(&example()?)?
        .args(&["--bucket", "orders", "--nats", nats])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector)
        .env("OTEL_METRIC_EXPORT_INTERVAL", "200")
        .env("OTEL_BSP_SCHEDULE_DELAY", "200")
        .start()
        .await
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
    served.signal("TERM").await?;
    let ended = served.ended().await?;
    assert_eq!(ended.code, Some(0), "{}", ended.log);

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
    let span = spans.iter().find(|span| span.name == "set-many");
    let span = span.context("no span")?;
    assert_eq!(span.attribute("db.collection.name"), Some("orders"));
    for hidden in [KEY, VALUE] {
        assert!(!collector.has_received(hidden.as_bytes())?, "{hidden}");
    }
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
    let all = async {
        loop {
            let duration = collector.metric("db.client.operation.duration")?;
            let points = duration.map(|duration| duration.points).unwrap_or_default();
            if points.iter().any(|point| point.count == 20) {
                return anyhow::Ok(());
            }
            sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    timeout(LONG, all).await??;
    drop(collector);
    served.signal("TERM").await?;
    let ended = served.ended().await?;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    Ok(())
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
