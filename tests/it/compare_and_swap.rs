//! `compare-and-swap` of the engine: exact among many writers, and whatever is lost on the way.

use std::sync::Arc;
use std::time::Duration;

use crate::support::proxy::Proxy;
use anyhow::{Context as _, Result};
use eventual_batch_engine::{Bucket, Deadline, Kind};
use eventual_batch_links::{Links, RawSettings};
use futures::future::try_join_all;
use testkit::async_nats::jetstream::kv;
use testkit::{Cluster, NatsServer};
use tokio::time::Instant;

on_oldest_and_newest!(
    it_compares_the_number_and_sets_the_other,
    a_value_that_is_no_number_is_an_error_and_stays,
    swaps_and_increments_of_many_callers_are_exact,
    a_lost_acknowledgement_is_no_lost_swap,
    a_lost_acknowledgement_of_three_replicas_is_no_lost_swap,
);

/// The bucket as a process of its own reaches it.
async fn bucket_at(url: &str) -> Result<Arc<Bucket>> {
    let links = Links::new("test", RawSettings::default(), Duration::from_secs(60));
    let config = [("bucket", "orders"), ("cluster_uri", url)];
    let config = config.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let settings = RawSettings::new(config.into(), std::collections::HashMap::new());
    links.put("component", "default", settings).await?;
    Ok(links.resolve("component", "default", "")?.bucket)
}

async fn with_orders(version: &str) -> Result<(NatsServer, kv::Store)> {
    let nats = NatsServer::run(version).await?;
    let bucket = nats.create_bucket("orders", kv::Config::default()).await?;
    Ok((nats, bucket))
}

fn soon() -> Deadline {
    Deadline::new(Instant::now(), Duration::from_secs(60))
}

async fn it_compares_the_number_and_sets_the_other(version: &str) -> Result<()> {
    let (nats, stored) = with_orders(version).await?;
    let bucket = bucket_at(&nats.url()).await?;
    let swap = async |old, new| bucket.compare_and_swap("a", old, new, soon()).await;
    assert!(!swap(1, 2).await?, "a key without a value is 0");
    assert_eq!(stored.get("a").await?, None, "and nothing is written");
    assert!(swap(0, 7).await?);
    assert_eq!(stored.get("a").await?, Some("7".into()));
    assert!(!swap(0, 8).await?);
    assert!(swap(7, u64::MAX).await?);
    assert_eq!(stored.get("a").await?, Some(u64::MAX.to_string().into()));
    stored.put("a", "40".into()).await?;
    assert!(!swap(u64::MAX, 1).await?, "another process has changed it");
    assert!(swap(40, 41).await?);
    assert_eq!(bucket.increment("a", 1, soon()).await?, 42);
    stored.put("a", "42".into()).await?;
    assert!(swap(42, 1).await?, "the same number of another revision");
    stored.delete("a").await?;
    assert!(!swap(1, 5).await?);
    assert!(swap(0, 5).await?, "a deleted key is 0");
    assert_eq!(stored.get("a").await?, Some("5".into()));
    Ok(())
}

async fn a_value_that_is_no_number_is_an_error_and_stays(version: &str) -> Result<()> {
    let (nats, stored) = with_orders(version).await?;
    let bucket = bucket_at(&nats.url()).await?;
    for text in ["seven", "-1", "1.5", "18446744073709551616"] {
        stored.put("a", text.into()).await?;
        let error = bucket.compare_and_swap("a", 0, 1, soon()).await;
        let error = error.err().context("it swapped")?;
        assert_eq!(error.kind(), Kind::InvalidArgument);
        let said = error.to_string();
        assert!(said.contains("not a number"), "{said}");
        assert_eq!(stored.get("a").await?, Some(text.into()));
    }
    let error = bucket.compare_and_swap("a b", 0, 1, soon()).await;
    assert_eq!(
        error.err().context("it swapped")?.kind(),
        Kind::InvalidArgument
    );
    Ok(())
}

/// Each swap adds one, as each increment does, so the number is how often either succeeded.
async fn swaps_and_increments_of_many_callers_are_exact(version: &str) -> Result<()> {
    const EACH: u64 = 50;
    let (nats, stored) = with_orders(version).await?;
    let buckets = [bucket_at(&nats.url()).await?, bucket_at(&nats.url()).await?];
    let swapping = (0..6).map(|number| {
        let bucket = Arc::clone(&buckets[number % 2]);
        tokio::spawn(async move {
            let (mut done, mut seen) = (0, 0);
            while done < EACH {
                if bucket
                    .compare_and_swap("hits", seen, seen + 1, soon())
                    .await?
                {
                    done += 1;
                    seen += 1;
                } else {
                    let value = bucket.get("hits", soon()).await?.unwrap_or_default();
                    seen = std::str::from_utf8(&value)?.parse().unwrap_or(0);
                }
            }
            anyhow::Ok(())
        })
    });
    let adding = (0..2).map(|number| {
        let bucket = Arc::clone(&buckets[number]);
        tokio::spawn(async move {
            for _ in 0..EACH {
                bucket.increment("hits", 1, soon()).await?;
            }
            Ok(())
        })
    });
    let all: Vec<_> = swapping.chain(adding).collect();
    for outcome in try_join_all(all).await? {
        outcome?;
    }
    let total = (EACH * 8).to_string();
    assert_eq!(stored.get("hits").await?, Some(total.into()));
    Ok(())
}

async fn a_lost_acknowledgement_is_no_lost_swap(version: &str) -> Result<()> {
    let (nats, stored) = with_orders(version).await?;
    lost_acknowledgements(nats.port(), &stored).await
}

/// There the server finds that the key has changed before it finds that it knows the write.
async fn a_lost_acknowledgement_of_three_replicas_is_no_lost_swap(version: &str) -> Result<()> {
    let cluster = Cluster::start(version).await?;
    let config = kv::Config {
        bucket: "orders".to_owned(),
        ..kv::Config::default()
    };
    let stored = cluster.create_bucket(config).await?;
    lost_acknowledgements(cluster.node(1).port(), &stored).await
}

async fn lost_acknowledgements(port: u16, stored: &kv::Store) -> Result<()> {
    let proxy = Proxy::start(port).await?;
    let bucket = bucket_at(&proxy.url).await?;
    assert!(bucket.compare_and_swap("a", 0, 1, soon()).await?);
    for round in 1..5 {
        // And of two answers the wrong one first: a node has not noticed that it no longer leads.
        if round % 2 == 0 {
            proxy.lose(1);
        } else {
            proxy.refuse(1);
        }
        let swapped = bucket.compare_and_swap("a", round, round + 1, soon());
        assert!(swapped.await?, "round {round}");
        assert_eq!(proxy.left(), 0, "nothing was lost");
        let now = (round + 1).to_string();
        assert_eq!(stored.get("a").await?, Some(now.into()));
    }
    Ok(())
}
