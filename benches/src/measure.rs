//! Sides that take turns, and what their times come to.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures::future::BoxFuture;

/// One of the things that are compared.
pub(crate) struct Side<'a> {
    pub(crate) name: &'static str,
    work: Box<dyn Fn() -> BoxFuture<'a, Result<()>> + 'a>,
    times: Vec<Duration>,
}

impl<'a> Side<'a> {
    pub(crate) fn new<F>(name: &'static str, work: impl Fn() -> F + 'a) -> Self
    where
        F: Future<Output = Result<()>> + Send + 'a,
    {
        Self {
            name,
            work: Box::new(move || Box::pin(work())),
            times: Vec::new(),
        }
    }

    /// The median in milliseconds.
    pub(crate) fn median(&self) -> f64 {
        median(&self.times)
    }
}

/// Lets the sides take turns, to and fro so that none always comes after the same other, until they
/// have had `time` together and each has had a few turns.
pub(crate) async fn take_turns(sides: &mut [Side<'_>], time: Duration) -> Result<()> {
    const FEWEST: usize = 7;
    // The first turns are for caches and buffers to settle.
    for side in sides.iter() {
        turn(side).await?;
    }
    let begun = Instant::now();
    let mut rounds = 0;
    while begun.elapsed() < time || rounds < FEWEST {
        for side in sides.iter_mut() {
            let time = turn(side).await?;
            side.times.push(time);
        }
        sides.reverse();
        rounds += 1;
    }
    if rounds % 2 == 1 {
        sides.reverse();
    }
    Ok(())
}

async fn turn(side: &Side<'_>) -> Result<Duration> {
    let begun = Instant::now();
    (side.work)().await.context(side.name)?;
    Ok(begun.elapsed())
}

/// The median of some times, in milliseconds.
pub(crate) fn median(times: &[Duration]) -> f64 {
    percentile(times, 50)
}

/// A percentile of some times, in milliseconds.
pub(crate) fn percentile(times: &[Duration], percent: usize) -> f64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    let place = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times
        .get(place)
        .map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}
