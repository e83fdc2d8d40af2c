//! Metrics of the changes that a component is told of.

use anyhow::Result;
use testkit::{LinkDefinition, OtlpCollector, Reply, Stack, ToldComponent};

use super::{BUCKET, exporting, point};

on_version!(
    newest_only,
    testkit::NEWEST,
    [
        tries_that_no_component_takes_are_counted,
        values_that_were_there_before_do_not_count_as_late,
    ]
);

const OF: [(&str, &str); 1] = [(BUCKET, "orders")];

fn link(stack: &Stack) -> LinkDefinition {
    LinkDefinition::to_watcher("index")
        .config("cluster_uri", stack.nats.url())
        .config("bucket", "orders")
        .config("watch", ">")
        .config("watch_from", "last")
        .config("watch_timeout", "300ms")
}

async fn counts(collector: &OtlpCollector, name: &str, least: f64) -> Result<f64> {
    let name = format!("eventual_batch.watch.{name}");
    let counted = point(collector, &name, &OF, |point| point.value >= least).await?;
    Ok(counted.value)
}

async fn tries_that_no_component_takes_are_counted(version: &str) -> Result<()> {
    let collector = OtlpCollector::start().await?;
    let stack = exporting(version, &collector).await?;
    stack.provider.put_link(&link(&stack)).await?;
    let jetstream = stack.nats.jetstream().await?;
    let orders = jetstream.get_key_value("orders").await;
    let orders = orders.map_err(anyhow::Error::from)?;
    orders.put("a", "1".into()).await?;
    // Nobody is there.
    counts(&collector, "redelivered", 2.0).await?;
    assert_eq!(counts(&collector, "delivered", 0.0).await?, 0.0);

    // Then somebody who never returns.
    let (url, lattice) = (stack.lattice().url(), stack.provider.lattice().to_owned());
    let hanging = ToldComponent::serve(&url, &lattice, "index", |_| Reply::Never).await?;
    hanging.wait_for_text("a=1").await?;
    let before = counts(&collector, "redelivered", 2.0).await?;
    counts(&collector, "redelivered", before + 1.0).await?;
    assert_eq!(counts(&collector, "delivered", 0.0).await?, 0.0);
    assert_eq!(counts(&collector, "given_up", 0.0).await?, 0.0);
    drop(hanging);

    let index = ToldComponent::serve(&url, &lattice, "index", |_| Reply::NOW).await?;
    index.wait_for_text("a=1").await?;
    counts(&collector, "delivered", 1.0).await?;
    Ok(())
}

async fn values_that_were_there_before_do_not_count_as_late(version: &str) -> Result<()> {
    let collector = OtlpCollector::start().await?;
    let stack = exporting(version, &collector).await?;
    let jetstream = stack.nats.jetstream().await?;
    let orders = jetstream.get_key_value("orders").await;
    let orders = orders.map_err(anyhow::Error::from)?;
    for key in ["a", "b", "c"] {
        orders.put(key, "1".into()).await?;
    }
    let (url, lattice) = (stack.lattice().url(), stack.provider.lattice().to_owned());
    let index = ToldComponent::serve(&url, &lattice, "index", |_| Reply::NOW).await?;
    let link = link(&stack).config("watch_timeout", "20s");
    stack.provider.put_link(&link).await?;
    index
        .wait_for("the values", |calls| calls.len() >= 3)
        .await?;
    orders.put("a", "2".into()).await?;
    index.wait_for_text("a=2").await?;
    counts(&collector, "delivered", 4.0).await?;
    let lag = "eventual_batch.watch.lag";
    let lag = point(&collector, lag, &OF, |point| point.count >= 1).await?;
    assert_eq!(lag.count, 1);
    assert!(lag.value < 60.0, "{lag:?}");
    Ok(())
}
