//! Drives the machine through random histories, and checks after each step what a reader would be
//! answered.
//!
//! A history has a stream with a leader and a node that lags behind it and has the consumer, other
//! clients that write, delete and purge, values that expire, a stream that is created again,
//! restored from a backup or loses its last messages, and a network that delays and loses.
//!
//! What is checked: an answer from the copy is, for each key, what the leader had at some time
//! since the copy is said to be complete as of. A reader sees what this process wrote, and never
//! goes back in time. When the trouble is over, the copy becomes complete and equal to the stream.

mod reader;
mod store;
mod world;

use std::io::Write as _;
use std::time::Instant;

use self::world::ReplicaWorld;

/// How many histories the test plays unless it is told otherwise.
const HISTORIES: u64 = 5_000;

fn setting(name: &str, default: u64) -> u64 {
    let value = std::env::var(name).ok();
    value.map_or(default, |value| value.parse().expect("a number"))
}

fn play(seed: u64, traced: bool) -> Result<u64, String> {
    let mut world = ReplicaWorld::new(seed, traced);
    world.run().map_err(|promise| {
        let trace = world.trace();
        format!("the history of seed {seed} breaks a promise: {promise}\n{trace}")
    })?;
    Ok(world.answers())
}

#[test]
fn a_reader_is_never_answered_wrongly_for_long() {
    let first = setting("SIMULATE_SEED", 1) << 32;
    let histories = setting("SIMULATE_REPLICA_HISTORIES", HISTORIES);
    let begun = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let answers: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || {
                    let seeds = (thread..histories).step_by(usize::try_from(threads).expect("few"));
                    let mut answers = 0;
                    for seed in seeds.map(|history| first + history) {
                        let played = play(seed, false);
                        // Once more, to show how it came to that.
                        answers += played
                            .or_else(|_| play(seed, true))
                            .unwrap_or_else(|broken| panic!("{broken}"));
                    }
                    answers
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .sum()
    });
    assert!(answers > histories, "the copies answered something");
    let text = format!(
        "{histories} histories, {answers} answers in {:.1?}\n",
        begun.elapsed()
    );
    std::io::stdout()
        .write_all(text.as_bytes())
        .expect("stdout");
}
