//! Drives machines through random histories, and checks the order in which a component is called.
//!
//! A history has a stream with or without history, a consumer, up to three instances of a program,
//! and a component that is slow, fails or is not there. Instances are started, stopped, killed and
//! frozen. Connections are lost, and the consumer forgets its pull, as when its leader changes. In
//! some histories messages expire, or somebody deletes the consumer, or the bucket is made again.
//!
//! What is checked: no two changes of one key are in a call at the same time. No call is for an
//! older change than one before it, of the same key. No instance holds more than it may. When the
//! trouble is over, all changes have been delivered that the bucket still has.

mod server;
mod world;

use self::world::WatchWorld;

/// How many histories the test plays unless it is told otherwise.
const HISTORIES: u64 = 200;

fn setting(name: &str, default: u64) -> u64 {
    let value = std::env::var(name).ok();
    value.map_or(default, |value| value.parse().expect("a number"))
}

#[test]
fn changes_of_a_key_are_delivered_in_order_through_several_instances() {
    let first = setting("SIMULATE_SEED", 1) << 32;
    let histories = setting("SIMULATE_WATCH_HISTORIES", HISTORIES);
    let mut calls = 0;
    for seed in (0..histories).map(|history| first + history) {
        calls += WatchWorld::new(seed, false)
            .run()
            // Once more, to show how it came to that.
            .or_else(|_| WatchWorld::new(seed, true).run())
            .unwrap_or_else(|broken| panic!("the history of seed {seed}: {broken}"));
    }
    assert!(calls > histories, "changes were delivered");
}
