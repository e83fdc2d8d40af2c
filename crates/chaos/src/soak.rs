//! Mixed load for a long time, with a fault every minute: what is held at the end is what was held at
//! the start.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use fastrand::Rng;
use testkit::LinkDefinition;
use tokio::time::{Instant, sleep, sleep_until};

use crate::check::{compare, purge_fresh};
use crate::counts::{Counts, Recorder, Times};
use crate::fault::{Fault, settled};
use crate::load::Workload;
use crate::metrics::Metrics;
use crate::replica::{CopiedBucket, CopiedReads};
use crate::setup::{BUCKET, Setup};
use crate::singles::CounterCaller;

const MINUTE: Duration = Duration::from_secs(60);
/// How long a fault lasts, in seconds.
const SHORTEST_HOLD: f64 = 3.0;
const LONGEST_HOLD: f64 = 15.0;
/// The pause of each caller between two calls.
const PACE: Duration = Duration::from_millis(20);
/// How long the provider may take to free the resources of ended calls.
const REST: Duration = Duration::from_secs(10);
/// Of how many minutes the memory is compared.
const SAMPLES: usize = Fault::EACH.len();
/// Links that are put and deleted each minute.
const LINKS: usize = 50;

/// Runs for this many minutes after a few that warm up, prints each, and returns the promises that
/// were broken: the first few in words.
///
/// # Errors
/// If something does not work that has to.
pub async fn run(
    version: &str,
    provider: &Path,
    mut rng: Rng,
    minutes: u64,
) -> Result<Vec<String>> {
    let setup = Setup::set(version, provider).await?;
    let recorder = Arc::new(Recorder::new(Times::PROMISED));
    let mut soak = Soak {
        load: Workload::new(&setup.links, &recorder, &mut rng, PACE),
        singles: setup
            .links
            .iter()
            .map(|link| CounterCaller::new(link, &recorder))
            .collect(),
        copied: CopiedBucket::set(&setup, &recorder, &mut rng).await?,
        reads: CopiedReads::default(),
        setup,
        recorder,
        all: Counts::default(),
        at_rest: Vec::new(),
    };
    // Each kind as long as later, so that what they make the provider allocate is there from the
    // start. Twice: in the first minutes the allocator has not met every kind yet.
    for fault in Fault::EACH.into_iter().chain(Fault::EACH) {
        soak.minute("warming up", fault, LONGEST_HOLD, MINUTE)
            .await?;
    }
    let start = soak.lowest(SAMPLES);
    println!("start: {start}");
    soak.all = Counts::default();
    soak.reads = CopiedReads::default();
    for minute in 1..=minutes {
        let fault = Fault::random(&mut rng);
        let hold = SHORTEST_HOLD + (LONGEST_HOLD - SHORTEST_HOLD) * rng.f64();
        soak.minute(&format!("{minute}."), fault, hold, MINUTE)
            .await?;
    }
    let end = soak.lowest(SAMPLES);
    println!(
        "start: {start}\nend: {end}\nall: {}; {}",
        soak.all, soak.reads
    );
    soak.copied.delete(&soak.setup).await?;
    let mut broken = soak.recorder.all_broken().0;
    broken.extend(end.grown_since(&start));
    Ok(broken)
}

struct Soak {
    setup: Setup,
    recorder: Arc<Recorder>,
    load: Workload,
    singles: Vec<CounterCaller>,
    copied: CopiedBucket,
    all: Counts,
    reads: CopiedReads,
    /// The provider's resources after each minute.
    at_rest: Vec<Metrics>,
}

impl Soak {
    /// Load with one fault, at least this long; then a comparison, and what is held at rest.
    async fn minute(&mut self, name: &str, fault: Fault, hold: f64, least: Duration) -> Result<()> {
        let begun = Instant::now();
        self.load.start();
        for single in &mut self.singles {
            single.start(PACE);
        }
        self.copied.start(&self.setup, PACE).await?;
        self.churn().await?;
        let hold = Duration::from_secs_f64(hold);
        let recovery = fault.run(&mut self.setup, &self.recorder, hold).await?;
        sleep_until(begun + least.saturating_sub(REST)).await;
        self.load.stop().await?;
        for single in &mut self.singles {
            single.stop().await?;
        }
        self.copied.stop().await?;
        settled(&self.setup).await?;
        let broken = |what| self.recorder.broken(what);
        let compared = compare(&self.setup, self.load.ledger(), broken).await?;
        purge_fresh(&self.setup, self.load.ledger()).await?;
        self.load.forget_fresh();
        let reads = self.copied.compare(&self.setup).await?;
        println!("   {reads}");
        self.reads.add(&reads);
        self.rest().await?;
        let counts = self.recorder.take();
        let metrics = Metrics::read(&self.setup).await?;
        println!(
            "{name} {fault} ({:.0} s): {counts}; succeeded again after {:.1} s; {} keys compared, {} \
             overtaken; {metrics}",
            hold.as_secs_f64(),
            recovery.as_secs_f64(),
            compared.keys,
            compared.overtaken,
        );
        self.all.add(&counts);
        self.at_rest.push(metrics);
        Ok(())
    }

    /// Small calls only: an allocator gives memory back to the system while it is used.
    async fn rest(&self) -> Result<()> {
        let end = Instant::now() + REST;
        while Instant::now() < end {
            for link in &self.setup.links {
                let answer = link.caller.get_many(BUCKET, &["no-such-key"]).await?;
                ensure!(answer.is_ok(), "a read at rest failed: {answer:?}");
            }
            sleep(PACE / 10).await;
        }
        Ok(())
    }

    /// What was held last, with the least memory of so many minutes: how soon an allocator gives
    /// memory back to the system is up to it, but what has leaked it cannot.
    fn lowest(&self, minutes: usize) -> Metrics {
        let last = self.at_rest.iter().rev().take(minutes);
        let memory = last.clone().map(|metrics| metrics.rss_kib).min();
        let last = last.copied().next().unwrap_or_default();
        Metrics {
            rss_kib: memory.unwrap_or_default(),
            ..last
        }
    }

    /// Links with connections of their own, put and deleted.
    async fn churn(&self) -> Result<()> {
        let links = (0..LINKS).map(|number| {
            LinkDefinition::new("churned")
                .name(format!("link-{number}"))
                .config("cluster_uri", self.setup.cluster.url())
                .config("bucket", BUCKET)
                // The servers ask for none.
                .secret("token", format!("token-{number}"))
        });
        let links: Vec<_> = links.collect();
        for link in &links {
            self.setup.provider.put_link(link).await?;
        }
        for link in &links {
            self.setup.provider.delete_link(link).await?;
        }
        Ok(())
    }
}
