//! Makes a history shorter that breaks a promise.

use super::play;
use super::tape::Tape;
use super::world::Violation;

/// The most histories that are tried.
const TRIES: usize = 20_000;

/// A shorter script, with smaller numbers, of a history that breaks the same promise.
pub(super) fn shrink(mut script: Vec<u32>, promise: &'static str) -> Vec<u32> {
    let mut tries = 0;
    let mut breaks = |script: &[u32]| {
        tries += 1;
        let world = play(Tape::scripted(script.to_vec()), false);
        let breaks = world.violation == Some(Violation(promise));
        // The taken numbers are the script without the numbers that nobody used.
        (breaks && tries < TRIES).then(|| world.tape.into_taken())
    };
    loop {
        let before = complexity(&script);
        let mut size = script.len().div_ceil(2);
        while size > 0 {
            let mut start = 0;
            while start < script.len() {
                let end = (start + size).min(script.len());
                let mut without = script.clone();
                without.drain(start..end);
                let mut calm = script.clone();
                calm[start..end].fill(0);
                let mut half = script.clone();
                for number in &mut half[start..end] {
                    *number /= 2;
                }
                let mut less = script.clone();
                for number in &mut less[start..end] {
                    *number = number.saturating_sub(1);
                }
                let simpler = [without, calm, half, less]
                    .into_iter()
                    .find_map(|candidate| {
                        let taken = breaks(&candidate)?;
                        (complexity(&taken) < complexity(&script)).then_some(taken)
                    });
                match simpler {
                    Some(simpler) => script = simpler,
                    None => start += size,
                }
            }
            size /= 2;
        }
        if complexity(&script) >= before {
            return script;
        }
    }
}

/// The length of the script without zeros at its end, and the sum of its numbers.
fn complexity(script: &[u32]) -> (usize, u64) {
    let length = script.iter().rposition(|number| *number > 0);
    let sum = script.iter().map(|number| u64::from(*number)).sum();
    (length.map_or(0, |last| last + 1), sum)
}
