//! Makes a history that breaks a promise shorter.

use super::play;
use super::tape::Tape;
use super::world::Violation;

/// How many histories are tried, at most.
const TRIES: usize = 20_000;

/// A shorter script, with smaller numbers, of a history that breaks the same promise.
pub(super) fn shrink(mut script: Vec<u32>, promise: &'static str) -> Vec<u32> {
    let mut tries = 0;
    let mut breaks = |script: &[u32]| {
        tries += 1;
        let world = play(Tape::scripted(script.to_vec()), false);
        let breaks = world.violation == Some(Violation(promise));
        // What was taken is the script without what nobody read.
        (breaks && tries < TRIES).then(|| world.tape.into_taken())
    };
    loop {
        let before = weight(&script);
        let mut size = script.len().div_ceil(2);
        while size > 0 {
            let mut place = 0;
            while place < script.len() {
                let end = (place + size).min(script.len());
                let mut without = script.clone();
                without.drain(place..end);
                let mut calm = script.clone();
                calm[place..end].fill(0);
                let mut half = script.clone();
                for number in &mut half[place..end] {
                    *number /= 2;
                }
                let mut less = script.clone();
                for number in &mut less[place..end] {
                    *number = number.saturating_sub(1);
                }
                let simpler = [without, calm, half, less]
                    .into_iter()
                    .find_map(|candidate| {
                        let taken = breaks(&candidate)?;
                        (weight(&taken) < weight(&script)).then_some(taken)
                    });
                match simpler {
                    Some(simpler) => script = simpler,
                    None => place += size,
                }
            }
            size /= 2;
        }
        if weight(&script) >= before {
            return script;
        }
    }
}

/// The longer and larger, the less simple. Zeros at the end need not be written.
fn weight(script: &[u32]) -> (usize, u64) {
    let length = script.iter().rposition(|number| *number > 0);
    let sum = script.iter().map(|number| u64::from(*number)).sum();
    (length.map_or(0, |last| last + 1), sum)
}
