//! Many clients at once: a copy that ends equal to the stream, and readers that never go back in time.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::setup::{KEYS, Replicated, STALENESS, stream};
use super::{MODES, within};
use anyhow::{Context as _, Result, ensure};
use eventual_batch_engine::ReplicaMode;
use futures::TryStreamExt as _;
use futures::future::{try_join_all, try_join3};
use testkit::NatsServer;
use tokio::time::Instant;

on_oldest_and_newest! {
    random_changes_by_others_end_in_a_copy_that_is_equal,
    no_reader_goes_back_in_time_when_copy_and_server_take_turns,
}

/// How long the clients write.
const TIME: Duration = Duration::from_secs(3);

const WRITERS: usize = 4;

/// Keys that have numbers, which only grow.
const NUMBERS: usize = 8;

async fn random_changes_by_others_end_in_a_copy_that_is_equal(version: &str) -> Result<()> {
    testkit::init_tracing();
    let server = NatsServer::run(version).await?;
    for (mode, bound) in MODES {
        let config = stream(&format!("{mode:?}"));
        let replicated = Replicated::start(&server, config, mode, bound).await?;
        for round in 0..3 {
            let until = Instant::now() + TIME / 3;
            let writers = (0..WRITERS).map(|_| change_at_random(&replicated, until));
            let reader = async {
                while Instant::now() < until {
                    replicated.read().await?;
                }
                anyhow::Ok(())
            };
            futures::future::try_join(try_join_all(writers), reader).await?;
            let values = replicated.values_at_leader().await?;
            let expected: Vec<_> = values
                .iter()
                .map(|(k, v)| (k.as_str(), v.as_str()))
                .collect();
            let right = replicated.is_right(&expected).await;
            right.with_context(|| format!("{mode:?}, round {round}"))?;
        }
    }
    Ok(())
}

/// Does what other clients may do, until then.
async fn change_at_random(bucket: &Replicated, until: Instant) -> Result<()> {
    while Instant::now() < until {
        let key = KEYS[fastrand::usize(..KEYS.len())];
        match fastrand::u32(0..100) {
            0..70 => drop(bucket.put(key, &fastrand::u32(..).to_string()).await?),
            70..80 => bucket.mark(key, "DEL").await?,
            80..85 => bucket.mark(key, "PURGE").await?,
            85..95 => bucket.purge(Some(key)).await?,
            95..98 => {
                let last = bucket.put(key, "").await?;
                // Somebody else may have overwritten it.
                drop(bucket.delete_message(last).await);
            }
            98 => drop(
                bucket
                    .put_with(key, "all", &[("Nats-Rollup", "all")])
                    .await?,
            ),
            _ => bucket.purge(None).await?,
        }
    }
    Ok(())
}

async fn no_reader_goes_back_in_time_when_copy_and_server_take_turns(version: &str) -> Result<()> {
    testkit::init_tracing();
    let server = NatsServer::run(version).await?;
    for (mode, bound) in MODES {
        let config = stream(&format!("{mode:?}"));
        let replicated = Replicated::start(&server, config, mode, bound).await?;
        numbers_only_grow(&replicated, mode)
            .await
            .with_context(|| format!("{mode:?}"))?;
    }
    Ok(())
}

async fn numbers_only_grow(replicated: &Replicated, mode: ReplicaMode) -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let own = AtomicU64::new(0);
    let others = async {
        let mut number = 0_u64;
        while !stop.load(Ordering::Relaxed) {
            number += 1;
            let key = format!("n{}", fastrand::usize(..NUMBERS));
            replicated.put(&key, &number.to_string()).await?;
        }
        anyhow::Ok(number)
    };
    let writer = async {
        while !stop.load(Ordering::Relaxed) {
            let number = own.load(Ordering::Relaxed) + 1;
            let value = number.to_string();
            let bucket = &replicated.bucket;
            bucket
                .set("own-number".into(), value.into(), within())
                .await?;
            own.store(number, Ordering::Relaxed);
        }
        anyhow::Ok(())
    };
    let readers = async {
        let until = Instant::now() + TIME;
        let readers = (0..3).map(|_| read_numbers(replicated, &own, until));
        let trouble = async {
            // The copy loses its consumer, so the server answers for a while.
            while Instant::now() < until {
                tokio::time::sleep(STALENESS).await;
                replicated.delete_consumers().await?;
            }
            anyhow::Ok(())
        };
        let read = futures::future::try_join(try_join_all(readers), trouble).await;
        stop.store(true, Ordering::Relaxed);
        read
    };
    let (_, (), _) = try_join3(others, writer, readers).await?;
    let stats = replicated.stats();
    let fallbacks: u64 = stats.fallbacks.values().sum();
    ensure!(stats.hits > 0 && fallbacks > 0, "{mode:?}: {stats:?}");
    Ok(())
}

/// Reads by get-many and at the leader in turn, and checks every answer.
async fn read_numbers(replicated: &Replicated, own: &AtomicU64, until: Instant) -> Result<()> {
    let mut keys: Vec<String> = (0..NUMBERS).map(|key| format!("n{key}")).collect();
    keys.push("own-number".to_owned());
    let mut seen: HashMap<&str, u64> = HashMap::new();
    while Instant::now() < until {
        let written = own.load(Ordering::Relaxed);
        let values = if fastrand::u32(..8) == 0 {
            let reads = keys.iter().map(|key| replicated.bucket.get(key, within()));
            let reads: futures::stream::FuturesOrdered<_> = reads.collect();
            reads.try_collect().await?
        } else {
            replicated.bucket.get_many(&keys, within()).await?
        };
        for (key, value) in keys.iter().zip(values) {
            let number = match value {
                None => 0,
                Some(value) => std::str::from_utf8(&value)?.parse()?,
            };
            let before = seen.entry(key).or_default();
            let stats = replicated.stats();
            ensure!(
                number >= *before,
                "{key} was {before} and is {number}: {stats:?}"
            );
            *before = number;
        }
        let read = seen["own-number"];
        ensure!(read >= written, "{written} was written, {read} is read");
    }
    Ok(())
}
