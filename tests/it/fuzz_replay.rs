//! What must hold for any input, with inputs made from those of `fuzz/seeds` and a fixed seed, so
//! that a run is like the last. `cargo fuzz` goes on where this ends.

#[allow(unreachable_pub, clippy::cast_possible_truncation)]
#[path = "../../fuzz/src/lib.rs"]
mod fuzz;

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_oneof};
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

const CASES: u32 = 10_000;

#[test]
fn parameters() -> Result<()> {
    check("parameters", fuzz::parameters::check)
}

#[test]
fn configuration() -> Result<()> {
    check("configuration", fuzz::configuration::check)
}

#[test]
fn keys() -> Result<()> {
    check("keys", fuzz::keys::check)
}

fn check(target: &str, check: fn(&[u8])) -> Result<()> {
    let seeds = seeds(target)?;
    for seed in &seeds {
        check(seed);
    }
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let outcome = TestRunner::new_with_rng(config, rng).run(&inputs(seeds), |input| {
        check(&input);
        Ok(())
    });
    Ok(outcome?)
}

fn seeds(target: &str) -> Result<Vec<Vec<u8>>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/seeds")
        .join(target);
    let mut paths = fs::read_dir(&folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    paths.sort();
    ensure!(!paths.is_empty(), "nothing in {}", folder.display());
    paths.iter().map(|path| Ok(fs::read(path)?)).collect()
}

/// A seed after some changes, or anything.
fn inputs(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let changes = vec(change(seeds.clone()), 0..6);
    prop_oneof![
        9 => (select(seeds), changes).prop_map(|(seed, changes)| {
            changes.into_iter().fold(seed, |input, change| change.apply(input))
        }),
        1 => vec(any::<u8>(), 0..200),
    ]
}

#[derive(Clone, Debug)]
enum Change {
    Set(Index, u8),
    Insert(Index, u8),
    Remove(Index),
    CutOff(Index),
    Repeat(Index, Index),
    GoOnLike(Index, Vec<u8>, Index),
}

fn change(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Change> {
    // Those that have a meaning somewhere come more often.
    let byte = || {
        prop_oneof![
            any::<u8>(),
            select(b"\x00\x01\x02\x7f\x80\xff\n=!,.:/*>@ ".to_vec())
        ]
    };
    let place = any::<Index>;
    prop_oneof![
        (place(), byte()).prop_map(|(place, byte)| Change::Set(place, byte)),
        (place(), byte()).prop_map(|(place, byte)| Change::Insert(place, byte)),
        place().prop_map(Change::Remove),
        place().prop_map(Change::CutOff),
        (place(), place()).prop_map(|(from, to)| Change::Repeat(from, to)),
        (place(), select(seeds), place())
            .prop_map(|(place, other, from)| Change::GoOnLike(place, other, from)),
    ]
}

impl Change {
    fn apply(self, mut input: Vec<u8>) -> Vec<u8> {
        let end = input.len() + 1;
        match self {
            Self::Insert(place, byte) => input.insert(place.index(end), byte),
            Self::CutOff(place) => input.truncate(place.index(end)),
            Self::Repeat(one, other) => {
                let (one, other) = (one.index(end), other.index(end));
                input.extend_from_within(one.min(other)..one.max(other));
            }
            Self::GoOnLike(place, other, from) => {
                input.truncate(place.index(end));
                input.extend_from_slice(&other[from.index(other.len() + 1)..]);
            }
            Self::Set(..) | Self::Remove(_) if input.is_empty() => {}
            Self::Set(place, byte) => *place.get_mut(&mut input) = byte,
            Self::Remove(place) => {
                input.remove(place.index(input.len()));
            }
        }
        input
    }
}
