//! Sides that take turns, and what their times come to.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures::future::BoxFuture;

use crate::figure::Figure;

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

    /// The median.
    pub(crate) fn figure(&self) -> Figure {
        Figure::median(self.name, &self.times)
    }
}

/// The figure of the fastest side of this name, if there is one.
pub(crate) fn fastest(sides: &[Side<'_>], name: &str) -> Option<Figure> {
    let named = sides.iter().filter(|side| side.name == name);
    let figures = named.map(Side::figure);
    figures.min_by(|one, other| one.value.total_cmp(&other.value))
}

/// Lets the sides take turns, and keeps what each turn took.
pub(crate) async fn take_turns(sides: &mut [Side<'_>], time: Duration) -> Result<()> {
    let count = sides.len();
    in_turns(count, time, async |number, counts| {
        let side = &mut sides[number];
        let time = turn(side).await?;
        if counts {
            side.times.push(time);
        }
        Ok(())
    })
    .await
}

/// Lets so many sides take turns until they have had `time` together and each has had a few turns,
/// and has come equally often after each of the others. `turn` is told whose turn it is, and whether
/// it counts.
pub(crate) async fn in_turns(
    sides: usize,
    time: Duration,
    mut turn: impl AsyncFnMut(usize, bool) -> Result<()>,
) -> Result<()> {
    const FEWEST: usize = 8;
    let cycle = 2 * sides.max(1);
    // The first turns are for caches and buffers to settle.
    for side in 0..sides {
        turn(side, false).await?;
    }
    let begun = Instant::now();
    let mut rounds = 0;
    while begun.elapsed() < time || rounds < FEWEST || rounds % cycle != 0 {
        for (place, side) in order(rounds, sides).enumerate() {
            // The first comes after the last of another round, whichever that was.
            turn(side, place > 0).await?;
        }
        rounds += 1;
    }
    Ok(())
}

/// In which order so many sides take their turns of a round. Within the rounds of a cycle each comes
/// equally often after each of the others, and so finds the same behind it: a side that always came
/// after a short or an idle one would be a twentieth slower than one that came after itself.
fn order(round: usize, sides: usize) -> impl Iterator<Item = usize> {
    // To and fro between the ends, in both directions if the number is odd (a Williams design).
    let backwards = sides % 2 == 1 && round % 2 == 1;
    (0..sides).map(move |place| {
        let place = if backwards { sides - 1 - place } else { place };
        let side = if place % 2 == 1 {
            place.div_ceil(2)
        } else {
            sides - place / 2
        };
        (side + round) % sides
    })
}

async fn turn(side: &Side<'_>) -> Result<Duration> {
    let begun = Instant::now();
    (side.work)().await.context(side.name)?;
    Ok(begun.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_comes_equally_often_after_each_of_the_others() {
        for sides in 1..8 {
            let mut after = vec![vec![0; sides]; sides];
            for round in 0..2 * sides {
                let order: Vec<_> = order(round, sides).collect();
                let mut all = order.clone();
                all.sort_unstable();
                assert_eq!(all, (0..sides).collect::<Vec<_>>());
                for pair in order.windows(2) {
                    after[pair[1]][pair[0]] += 1;
                }
            }
            for (side, before) in after.iter().enumerate() {
                for (other, &times) in before.iter().enumerate() {
                    let expected = if other == side { 0 } else { 2 };
                    assert_eq!(times, expected, "{side} after {other} of {sides}");
                }
            }
        }
    }
}
