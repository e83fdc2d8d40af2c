//! Each way in which a stream can change: with a message to the consumer, and without one.

use std::time::Duration;

use super::in_each_mode;
use anyhow::Result;
use testkit::NATS_VERSIONS;
use testkit::async_nats::jetstream::stream::{Config, DiscardPolicy};

on_all_versions! {
    writes_and_deletes_of_other_clients_are_followed,
    values_that_expire_by_age_are_gone,
    values_that_expire_by_their_own_time_are_gone,
    markers_of_expired_values_come_and_go,
    values_that_are_discarded_are_gone,
    values_that_are_purged_are_gone,
    messages_that_are_deleted_are_gone,
    a_message_that_replaces_all_leaves_nothing_else,
    a_bucket_that_is_created_again_is_followed,
}

/// Whether the server has times to live for single messages.
fn has_message_ttl(version: &str) -> bool {
    version != NATS_VERSIONS[0]
}

async fn writes_and_deletes_of_other_clients_are_followed(version: &str) -> Result<()> {
    in_each_mode(
        version,
        |_| {},
        async |bucket| {
            bucket.put("a", "1").await?;
            bucket.put("b", "2").await?;
            bucket.is_right(&[("a", "1"), ("b", "2")]).await?;
            bucket.put("a", "3").await?;
            bucket.put("empty", "").await?;
            bucket
                .is_right(&[("a", "3"), ("b", "2"), ("empty", "")])
                .await?;
            bucket.mark("b", "DEL").await?;
            bucket.is_right(&[("a", "3"), ("empty", "")]).await?;
            bucket.mark("a", "PURGE").await?;
            bucket.is_right(&[("empty", "")]).await?;
            bucket.put("b", "4").await?;
            bucket.is_right(&[("b", "4"), ("empty", "")]).await
        },
    )
    .await
}

async fn values_that_expire_by_age_are_gone(version: &str) -> Result<()> {
    let age = Duration::from_secs(2);
    in_each_mode(
        version,
        |config| config.max_age = age,
        async |bucket| {
            bucket.put("old", "1").await?;
            bucket.is_right(&[("old", "1")]).await?;
            bucket.until_gone("old").await?;
            bucket.put("new", "2").await?;
            bucket.is_right(&[("new", "2")]).await?;
            bucket.until_gone("new").await?;
            bucket.is_right(&[]).await
        },
    )
    .await
}

async fn values_that_expire_by_their_own_time_are_gone(version: &str) -> Result<()> {
    if !has_message_ttl(version) {
        return Ok(());
    }
    let ttl = |config: &mut Config| config.allow_message_ttl = true;
    in_each_mode(version, ttl, async |bucket| {
        bucket.put("stays", "1").await?;
        bucket.put_with("goes", "2", &[("Nats-TTL", "1s")]).await?;
        bucket
            .put_with("minutes", "3", &[("Nats-TTL", "5m")])
            .await?;
        bucket
            .put_with("never", "4", &[("Nats-TTL", "never")])
            .await?;
        bucket.until_gone("goes").await?;
        bucket
            .is_right(&[("stays", "1"), ("minutes", "3"), ("never", "4")])
            .await
    })
    .await
}

async fn markers_of_expired_values_come_and_go(version: &str) -> Result<()> {
    if !has_message_ttl(version) {
        return Ok(());
    }
    let markers = |config: &mut Config| {
        config.allow_message_ttl = true;
        config.subject_delete_marker_ttl = Some(Duration::from_secs(1));
        config.max_age = Duration::from_secs(2);
    };
    in_each_mode(version, markers, async |bucket| {
        bucket.put("a", "1").await?;
        bucket.put("b", "1").await?;
        bucket.is_right(&[("a", "1"), ("b", "1")]).await?;
        bucket.put("b", "2").await?;
        // The marker's time is over, too.
        bucket.until_gone("a").await?;
        bucket.until_gone("b").await?;
        bucket.is_right(&[]).await
    })
    .await
}

async fn values_that_are_discarded_are_gone(version: &str) -> Result<()> {
    let small = |config: &mut Config| {
        config.discard = DiscardPolicy::Old;
        config.max_messages = 3;
    };
    in_each_mode(version, small, async |bucket| {
        for key in ["a", "b", "c"] {
            bucket.put(key, key).await?;
        }
        bucket
            .is_right(&[("a", "a"), ("b", "b"), ("c", "c")])
            .await?;
        bucket.put("d", "d").await?;
        bucket.is_right(&[("b", "b"), ("c", "c"), ("d", "d")]).await
    })
    .await
}

async fn values_that_are_purged_are_gone(version: &str) -> Result<()> {
    in_each_mode(
        version,
        |_| {},
        async |bucket| {
            for key in ["a", "b", "c.d"] {
                bucket.put(key, "1").await?;
            }
            bucket
                .is_right(&[("a", "1"), ("b", "1"), ("c.d", "1")])
                .await?;
            // In the middle, at the end, and everything.
            bucket.purge(Some("b")).await?;
            bucket.is_right(&[("a", "1"), ("c.d", "1")]).await?;
            bucket.purge(Some("c.>")).await?;
            bucket.is_right(&[("a", "1")]).await?;
            bucket.put("e", "2").await?;
            bucket.purge(None).await?;
            bucket.is_right(&[]).await?;
            bucket.put("f", "3").await?;
            bucket.is_right(&[("f", "3")]).await
        },
    )
    .await
}

async fn messages_that_are_deleted_are_gone(version: &str) -> Result<()> {
    in_each_mode(
        version,
        |_| {},
        async |bucket| {
            let first = bucket.put("a", "1").await?;
            bucket.put("b", "2").await?;
            let last = bucket.put("c", "3").await?;
            bucket
                .is_right(&[("a", "1"), ("b", "2"), ("c", "3")])
                .await?;
            bucket.delete_message(last).await?;
            bucket.is_right(&[("a", "1"), ("b", "2")]).await?;
            bucket.delete_message(first).await?;
            bucket.is_right(&[("b", "2")]).await
        },
    )
    .await
}

async fn a_message_that_replaces_all_leaves_nothing_else(version: &str) -> Result<()> {
    in_each_mode(
        version,
        |_| {},
        async |bucket| {
            bucket.put("a", "1").await?;
            bucket.put("b", "2").await?;
            bucket.is_right(&[("a", "1"), ("b", "2")]).await?;
            bucket.put_with("c", "3", &[("Nats-Rollup", "all")]).await?;
            bucket.is_right(&[("c", "3")]).await
        },
    )
    .await
}

async fn a_bucket_that_is_created_again_is_followed(version: &str) -> Result<()> {
    in_each_mode(
        version,
        |_| {},
        async |bucket| {
            for number in 0..5 {
                bucket.put("a", &number.to_string()).await?;
            }
            bucket.put("b", "old").await?;
            bucket.is_right(&[("a", "4"), ("b", "old")]).await?;
            // The sequences of before are used again.
            bucket.create_again().await?;
            for number in 0..6 {
                bucket.put("c", &number.to_string()).await?;
            }
            bucket.is_right(&[("c", "5")]).await
        },
    )
    .await
}
