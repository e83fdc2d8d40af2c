//! Reads that the server answers, of a bucket that has a copy or should have one.

#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use eventual_batch_engine::{Error, FallbackReason, ReplicaMode, ReplicaSettings, ResponseBudget};
use testkit::NatsServer;

use super::setup::{Replicated, STALENESS, stream};
use super::{MODES, within};

on_oldest_and_newest! {
    the_leader_answers_in_place_of_the_copy,
    what_is_read_without_the_copy_is_not_undone_by_it,
    an_answer_from_the_copy_takes_no_more_memory_than_the_budget_has,
}

/// Longer than a test takes, so that the copy learns of nothing unless a reader makes it ask.
const LONG: Duration = Duration::from_secs(3600);

/// A login that may read at the leader only, and may not have a consumer.
const AT_THE_LEADER: &str = r#"
    authorization { users: [
        { user: admin, password: secret }
        { user: reader, password: secret, permissions: {
            subscribe: { allow: ["_INBOX.>"] }
            publish: { allow: ["$JS.API.STREAM.INFO.KV_b", "$JS.API.STREAM.MSG.GET.KV_b"] }
        } }
    ] }
"#;

async fn the_leader_answers_in_place_of_the_copy(version: &str) -> Result<()> {
    testkit::init_tracing();
    let server = NatsServer::builder(version)
        .config(AT_THE_LEADER)
        .start()
        .await?;
    for (mode, bound) in MODES {
        let replicated = Replicated::start_as(&server, "reader", stream("b"), mode, bound).await?;
        for key in ["a", "b"] {
            replicated.put(key, key).await?;
        }
        // A direct get would be refused.
        for _ in 0..3 {
            let read = replicated.read().await?;
            ensure!(read["a"] == "a" && read["b"] == "b", "{mode:?}: {read:?}");
        }
        ensure!(replicated.stats().hits == 0, "{:?}", replicated.stats());
        replicated.delete_stream().await?;
    }
    Ok(())
}

async fn what_is_read_without_the_copy_is_not_undone_by_it(version: &str) -> Result<()> {
    testkit::init_tracing();
    let server = NatsServer::run(version).await?;
    let settings = ReplicaSettings {
        mode: ReplicaMode::Bounded,
        staleness: LONG,
        ..ReplicaSettings::default()
    };
    let replicated = Replicated::start_with(&server, stream("b"), settings, LONG).await?;
    // Another link of the same login, whose reads never use the copy.
    let off = replicated.user(ReplicaMode::Off);
    let copied = &replicated.bucket;
    let keys = |keys: &[&str]| -> Vec<String> { keys.iter().map(|key| (*key).into()).collect() };
    let (a, both) = (keys(&["a"]), keys(&["b", "c"]));
    let from_copy = |hits: u64| ensure_hit(&replicated, hits);
    for key in ["a", "b", "c", "d"] {
        replicated.put(key, "1").await?;
    }
    replicated
        .is_right(&[("a", "1"), ("b", "1"), ("c", "1"), ("d", "1")])
        .await?;
    // A purge has no message to the consumer.
    for (purged, read) in [("a", &a), ("b", &both)] {
        replicated.purge(Some(purged)).await?;
        let values = off.get_many(read, within()).await?;
        ensure!(values[0].is_none(), "{values:?}");
        let hits = replicated.stats().hits;
        let values = copied.get_many(read, within()).await?;
        ensure!(values[0].is_none(), "{purged} is back: {values:?}");
        from_copy(hits)?;
    }
    replicated.purge(Some("c")).await?;
    ensure!(off.keys(within()).await? == ["d"]);
    let listed = copied.keys(within()).await?;
    ensure!(listed == ["d"], "they are back: {listed:?}");
    // A value that the server answered is not older in the copy.
    for number in 0..50 {
        let value = number.to_string();
        replicated.put("d", &value).await?;
        let d = keys(&["d", "none"]);
        let read = if number % 2 == 0 { &d[..1] } else { &d[..] };
        off.get_many(read, within()).await?;
        let values = copied.get_many(&d[..1], within()).await?;
        ensure!(values == [Some(Bytes::from(value))], "{values:?}");
    }
    let stats = replicated.stats();
    ensure!(stats.fallbacks[&FallbackReason::Off] == 0, "{stats:?}");
    Ok(())
}

fn ensure_hit(replicated: &Replicated, before: u64) -> Result<()> {
    let stats = replicated.stats();
    ensure!(stats.hits > before, "not from the copy: {stats:?}");
    Ok(())
}

/// A budget with a bound, which remembers the most that it was asked for.
#[derive(Debug, Default)]
struct Bounded {
    max: usize,
    asked: AtomicUsize,
}

impl ResponseBudget for Bounded {
    fn grow_to(&self, bytes: usize) -> bool {
        self.asked.fetch_max(bytes, Ordering::Relaxed);
        bytes <= self.max
    }
}

async fn an_answer_from_the_copy_takes_no_more_memory_than_the_budget_has(
    version: &str,
) -> Result<()> {
    testkit::init_tracing();
    let server = NatsServer::run(version).await?;
    let (mode, _) = MODES[0];
    let replicated = Replicated::start(&server, stream("b"), mode, STALENESS).await?;
    let bucket = &replicated.bucket;
    let value = "x".repeat(1024);
    replicated.put("a", &value).await?;
    replicated.is_right(&[("a", &value)]).await?;
    let keys = vec!["a".to_owned(); 1000];
    let budget = Bounded {
        max: 10_000,
        ..Bounded::default()
    };
    let hits = replicated.stats().hits;
    let answer = bucket.get_many_budgeted(&keys, &budget, within()).await;
    ensure!(matches!(answer, Err(Error::NoMemory)), "{answer:?}");
    let asked = budget.asked.load(Ordering::Relaxed);
    ensure!(asked < 12_000, "{asked} bytes were collected");
    // A key that is repeated has its value in memory once.
    let values = bucket.get_many(&keys, within()).await?;
    ensure_hit(&replicated, hits)?;
    let first = values[0].as_ref().context("a value")?;
    ensure!(
        values
            .iter()
            .flatten()
            .all(|value| value.as_ptr() == first.as_ptr()),
        "each has a copy of its own"
    );
    Ok(())
}
