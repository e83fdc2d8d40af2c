//! What is exported when the provider stops.

use anyhow::Result;
use testkit::OtlpCollector;
use testkit::async_nats::jetstream::kv;

use super::{BUCKET, DURATION, OPERATION};
use crate::support::waiting::open;

on_version!(
    newest_only,
    testkit::NEWEST,
    [the_last_metrics_are_exported_before_the_host_knows_of_the_end]
);

async fn the_last_metrics_are_exported_before_the_host_knows_of_the_end(
    version: &str,
) -> Result<()> {
    let collector = OtlpCollector::start().await?;
    let url = collector.url().to_owned();
    let mut stack = crate::support::stack(version)
        .provider(|provider, _| {
            let provider = provider.collector(url);
            provider.env("OTEL_METRIC_EXPORT_INTERVAL", "3600000")
        })
        .start()
        .await?;
    stack.create_bucket("orders", kv::Config::default()).await?;
    let shop = stack.linked("shop", "orders").await?;
    open(&shop).await?;
    shop.set_many("default", &[("a", "1")]).await??;
    assert!(collector.metrics()?.is_empty());
    let status = stack.provider.shutdown().await?;
    assert!(status.success(), "{status}");

    let duration = collector.metric(DURATION)?;
    let written = [(OPERATION, "set-many"), (BUCKET, "orders")];
    let written = duration.as_ref().and_then(|all| all.point(&written));
    assert_eq!(written.map(|point| point.count), Some(1), "{duration:?}");
    Ok(())
}
