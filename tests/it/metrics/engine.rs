//! Metrics of what the engine counts: connections, requests that are sent again, copies in memory.

use anyhow::Result;
use testkit::OtlpCollector;
use testkit::async_nats::jetstream::kv;

use super::{BUCKET, exporting, point, set_up};
use crate::support::waiting::{eventually, open};

on_version!(
    newest_only,
    testkit::NEWEST,
    [
        connections_are_counted_by_their_state,
        requests_that_are_sent_again_are_counted,
        copies_in_memory_are_measured,
        counts_of_copies_outlive_them_and_their_sizes_do_not,
    ]
);

async fn connections_are_counted_by_their_state(version: &str) -> Result<()> {
    const CONNECTIONS: &str = "eventual_batch.connections";
    let collector = OtlpCollector::start().await?;
    let stack = crate::support::stack(version).separate_lattice();
    let mut stack = set_up(stack, collector.url().to_owned()).await?;
    // Links that log in alike share a connection.
    stack.linked("shop", "orders").await?;
    let other = stack.link("other", "orders");
    stack.provider.put_link(&other).await?;
    let are = async |up: f64, down: f64| {
        point(&collector, CONNECTIONS, &[("state", "up")], |point| {
            point.value == up
        })
        .await?;
        let state = [("state", "down")];
        point(&collector, CONNECTIONS, &state, |point| point.value == down).await
    };
    are(1.0, 0.0).await?;
    let elsewhere = stack.link("shop", "orders").name("elsewhere");
    let elsewhere = elsewhere.config("cluster_uri", "nats://127.0.0.1:1");
    stack.provider.put_link(&elsewhere).await?;
    are(1.0, 1.0).await?;
    stack.nats.stop().await?;
    are(0.0, 2.0).await?;
    stack.nats.start().await?;
    stack.provider.delete_link(&elsewhere).await?;
    are(1.0, 0.0).await?;
    Ok(())
}

async fn requests_that_are_sent_again_are_counted(version: &str) -> Result<()> {
    const RETRIED: &str = "eventual_batch.requests.retried";
    const CONNECTIONS: &str = "eventual_batch.connections";
    let collector = OtlpCollector::start().await?;
    let stack = crate::support::stack(version).separate_lattice();
    let stack = set_up(stack, collector.url().to_owned()).await?;
    let shop = crate::support::linked_with_long_timeout(&stack, "shop", "orders").await?;
    open(&shop).await?;
    let retried = || Ok(collector.metric(RETRIED)?.map(|retried| retried.sum(&[])));
    // Each reason is there before it occurs.
    let none = eventually("the reasons", async || retried()).await?;
    assert_eq!(none, 0.0);

    // An export from before the connection was made would look like its loss.
    let up = [("state", "up")];
    point(&collector, CONNECTIONS, &up, |point| point.value == 1.0).await?;
    stack.nats.pause().await?;
    let write = tokio::spawn(async move { shop.set_many("default", &[("a", "1")]).await });
    let resume = async {
        // The server takes nothing until the connection is given up, and then the write once more.
        eventually("the connection to be given up", async || {
            let connections = collector.metric(CONNECTIONS)?;
            let down = connections.map(|states| states.sum(&[("state", "down")]));
            Ok((down == Some(1.0)).then_some(()))
        })
        .await?;
        stack.nats.resume()
    };
    resume.await?;
    write.await???;
    eventually("the write to be counted as sent again", async || {
        Ok(retried()?.filter(|count| *count > 0.0))
    })
    .await?;
    Ok(())
}

async fn copies_in_memory_are_measured(version: &str) -> Result<()> {
    let collector = OtlpCollector::start().await?;
    let stack = exporting(version, &collector).await?;
    stack.create_bucket("other", kv::Config::default()).await?;
    let link = stack.link("shop", "orders").config("replica", "bounded");
    stack.provider.put_link(&link).await?;
    let other = stack.linked("other", "other").await?;
    let shop = stack.caller("shop");
    open(&shop).await?;
    open(&other).await?;
    shop.set_many("default", &[("a", "1"), ("b", "2")])
        .await??;
    let of = [(BUCKET, "orders")];
    let hits = "eventual_batch.replica.hits";
    eventually("a read from the copy", async || {
        shop.get_many("default", &["a", "b"]).await??;
        other.get_many("default", &["a"]).await??;
        let hits = collector.metric(hits)?.map(|hits| hits.sum(&of));
        Ok(hits.filter(|hits| *hits > 0.0))
    })
    .await?;
    replica(&collector, "keys", |keys| keys == 2.0).await?;
    replica(&collector, "bytes", |bytes| bytes > 0.0).await?;
    replica(&collector, "lag", |lag| lag < 60.0).await?;
    replica(&collector, "repairs", |repairs| repairs == 0.0).await?;
    let fallbacks = "eventual_batch.replica.fallbacks";
    for reason in ["off", "syncing", "stale", "behind", "expired"] {
        let of = [(BUCKET, "orders"), ("reason", reason)];
        point(&collector, fallbacks, &of, |_| true).await?;
    }
    // A bucket without a copy has none of this.
    let hits = collector.metric(hits)?.map(|hits| hits.points.len());
    assert_eq!(hits, Some(1));
    Ok(())
}

/// Waits until the metric of the bucket's copies has such a value.
async fn replica(
    collector: &OtlpCollector,
    name: &str,
    is_wanted: impl Fn(f64) -> bool,
) -> Result<f64> {
    let (name, of) = (
        format!("eventual_batch.replica.{name}"),
        [(BUCKET, "orders")],
    );
    let point = point(collector, &name, &of, |point| is_wanted(point.value)).await?;
    Ok(point.value)
}

async fn counts_of_copies_outlive_them_and_their_sizes_do_not(version: &str) -> Result<()> {
    let collector = OtlpCollector::start().await?;
    let stack = exporting(version, &collector).await?;
    let link = stack.link("shop", "orders").config("replica", "bounded");
    stack.provider.put_link(&link).await?;
    let shop = stack.caller("shop");
    open(&shop).await?;
    shop.set_many("default", &[("a", "1")]).await??;
    let hits = || {
        let hits = collector.metric("eventual_batch.replica.hits")?;
        Ok::<_, anyhow::Error>(hits.map_or(0.0, |hits| hits.sum(&[(BUCKET, "orders")])))
    };
    eventually("ten reads from the copy", async || {
        shop.get_many("default", &["a"]).await??;
        Ok((hits()? >= 10.0).then_some(()))
    })
    .await?;

    stack.provider.delete_link(&link).await?;
    replica(&collector, "lag", f64::is_nan).await?;
    replica(&collector, "keys", |keys| keys == 0.0).await?;
    replica(&collector, "bytes", |bytes| bytes == 0.0).await?;
    let before = hits()?;
    assert!(before >= 10.0);

    stack.provider.put_link(&link).await?;
    open(&shop).await?;
    eventually("one more read from the copy", async || {
        shop.get_many("default", &["a"]).await??;
        let hits = hits()?;
        anyhow::ensure!(hits >= before, "{hits} after {before}");
        Ok((hits > before).then_some(()))
    })
    .await?;
    replica(&collector, "lag", |lag| lag < 60.0).await?;
    Ok(())
}
