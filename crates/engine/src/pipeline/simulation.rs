//! Drives the machine through random histories, and checks every promise after each step.
//!
//! A history has one to three batches that share a few permits, a server that knows what it stored,
//! and faults: answers that are late, lost, doubled or bad, connections and clients that end,
//! streams that go away, permissions that are denied, clocks that jump. Every random choice comes
//! from a [`Tape`]. So a history that breaks a promise can be played again, and be made shorter
//! until a person can read it.
//!
//! `cargo xtask simulate --seed 7 --histories 50000000` plays more histories, from any seed.

mod driver;
mod permits;
mod server;
mod setup;
mod shrink;
mod tape;
mod world;

use std::io::Write as _;
use std::time::{Duration, Instant};

use self::driver::Driver;
use self::tape::Tape;
use self::world::{Violation, World};

/// How many histories the test plays by default.
const HISTORIES: u64 = 1_000_000;

/// Plays a history, and returns the world at its end.
fn play(tape: Tape, traced: bool) -> World {
    let mut world = World::new(tape, traced);
    let mut drivers: Vec<Option<Driver>> = world.setup.batches.iter().map(|_| None).collect();
    let mut jumps = world.tape.of(&[0, 0, 0, 1, 2]);
    let jumped = jumps > 0;
    for _ in 0..5_000 {
        for (batch, driver) in drivers.iter_mut().enumerate() {
            if world.setup.batches[batch].starts <= world.now {
                let driver = driver.get_or_insert_with(|| Driver::new(batch, &world));
                driver.turn(&mut world);
            }
        }
        if world.violation.is_some() {
            return world;
        }
        let mut next = world.next_event_at();
        let mut all_finished = true;
        for (batch, driver) in drivers.iter_mut().enumerate() {
            let wakeup = match driver {
                None => world.setup.batches[batch].starts,
                Some(driver) if driver.finished => continue,
                // It may have got permits that another batch has given back.
                Some(_) if world.permits.has_for(batch) => world.now,
                Some(driver) => driver.next_wakeup(),
            };
            all_finished = false;
            next = Some(next.map_or(wakeup, |next| next.min(wakeup)));
        }
        match next {
            // When all batches are over, messages may still be on their way, and find nobody.
            Some(next) if !all_finished || world.tape.one_in(2) => {
                let mut to = next.max(world.now);
                if jumps > 0 && world.tape.one_in(8) {
                    jumps -= 1;
                    to = to.after(setup::millis(world.tape.below(20_000)));
                }
                world.advance(to);
            }
            _ => {
                check_end(&mut world, jumped);
                return world;
            }
        }
    }
    world.break_promise("a history comes to an end");
    world
}

fn check_end(world: &mut World, jumped: bool) {
    let all_free = world.permits.are_all_free(world.setup.permits);
    world.check(all_free, "all permits are free at the end");
    let hurried = world.setup.batches.iter().any(|batch| {
        batch.limits.send_within.saturating_sub(batch.elapsed) < Duration::from_millis(700)
    });
    if world.setup.is_calm() && !jumped && !hurried {
        let mut items = world.records.iter().flat_map(|record| &record.ended);
        let all_done = items.all(|ended| *ended == Some(true));
        world.check(all_done, "if nothing goes wrong, all items are done");
    }
}

/// The seed of one of a run's histories.
fn seed_of(run: u64, history: u64) -> u64 {
    run.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ history.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Plays these histories of a run. `Err` is the text of the first that breaks a promise.
fn search(run: u64, histories: impl Iterator<Item = u64>) -> Result<(), String> {
    for history in histories {
        let seed = seed_of(run, history);
        let world = play(Tape::seeded(seed, false), false);
        if let Some(Violation(promise)) = world.violation {
            let tape = play(Tape::seeded(seed, true), false).tape.into_taken();
            let script = shrink::shrink(tape, promise);
            let world = play(Tape::scripted(script), true);
            return Err(format!(
                "history {history} of seed {run} breaks a promise: {promise}\n\n{}\n",
                world.trace()
            ));
        }
    }
    Ok(())
}

fn setting(name: &str, default: u64) -> u64 {
    let value = std::env::var(name).ok();
    value.map_or(default, |value| value.parse().expect("a number"))
}

#[test]
fn every_promise_is_kept_in_every_history() {
    let (seed, histories) = (
        setting("SIMULATE_SEED", 1),
        setting("SIMULATE_HISTORIES", HISTORIES),
    );
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let started = Instant::now();
    let found = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|first| {
                let mine = (first..histories).step_by(usize::try_from(threads).expect("few"));
                scope.spawn(move || search(seed, mine))
            })
            .collect();
        let mut results = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
        results.try_for_each(|result| result.expect("no panic"))
    });
    if let Err(history) = found {
        panic!("{history}");
    }
    // The test harness hides the output of `println!` if the test passes.
    let count = format!("{histories} histories in {:.1?}\n", started.elapsed());
    std::io::stdout()
        .write_all(count.as_bytes())
        .expect("stdout");
}
