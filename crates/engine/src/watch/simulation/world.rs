//! Instances, their network, and the component that they call.

mod component;
mod instance;
mod network;
mod request;
mod trouble;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use super::server::SimulatedConsumer;
use crate::chance::Chance;
use crate::watch::machine::{ChangeId, MachineSettings};
use crate::watch::timing;
use component::SimulatedCall;
use instance::Instance;
use trouble::BucketFault;

/// The time between two turns of the world.
const STEP: Duration = Duration::from_millis(20);

/// How long things go wrong. After that all is well.
const TROUBLE: Duration = Duration::from_secs(50);

/// At this time every change has to be delivered.
const LIMIT: Duration = Duration::from_secs(1500);

/// A history from which nothing goes.
const ENDLESS: usize = 1_000_000;

const CALL_TIMEOUT: Duration = Duration::from_millis(500);

pub(super) struct WatchWorld {
    chance: Chance,
    server: SimulatedConsumer,
    settings: MachineSettings,
    instances: Vec<Option<Instance>>,
    lives: Vec<u64>,
    next_start: Vec<Duration>,
    calls: Vec<SimulatedCall>,
    /// When the last change of each key was stored that was in a call.
    last_called: BTreeMap<usize, u64>,
    delivered: BTreeSet<ChangeId>,
    all: BTreeMap<ChangeId, usize>,
    fault: BucketFault,
    /// Whether the component is there only when the trouble is over.
    is_away: bool,
    inboxes: u64,
    now: Duration,
    keys: usize,
    count: u64,
    trace: Option<String>,
    broken: Option<String>,
}

impl WatchWorld {
    pub(super) fn new(seed: u64, traced: bool) -> Self {
        let mut chance = Chance::new(seed);
        let history = [1, ENDLESS, 2, 3][chance.place(4)];
        let fault = match chance.place(8) {
            0 => BucketFault::Expires,
            1 => BucketFault::Ages,
            2 => BucketFault::LosesConsumer,
            3 => BucketFault::IsMadeAgain,
            _ => BucketFault::Stays,
        };
        let max_in_flight = 1 + chance.place(6);
        let settings = MachineSettings {
            max_in_flight,
            // No change is given up, so that each has to be delivered.
            max_deliver: 1_000_000,
            retries: true,
            call_timeout: CALL_TIMEOUT,
            ack_wait: timing::ack_wait(CALL_TIMEOUT),
            max_held: max_in_flight * 5,
        };
        let keys = 1 + chance.place(if fault.ends_messages() { 60 } else { 5 });
        let instances = 1 + chance.place(3);
        Self {
            server: SimulatedConsumer::new(history, max_in_flight * 4, settings.ack_wait),
            settings,
            instances: (0..instances).map(|_| None).collect(),
            lives: vec![0; instances],
            next_start: vec![Duration::ZERO; instances],
            calls: Vec::new(),
            last_called: BTreeMap::new(),
            delivered: BTreeSet::new(),
            all: BTreeMap::new(),
            inboxes: 0,
            now: Duration::ZERO,
            keys,
            fault,
            is_away: chance.one_in(6),
            count: 0,
            chance,
            trace: traced.then(String::new),
            broken: None,
        }
    }

    /// Plays the history. Returns how many calls there were.
    pub(super) fn run(mut self) -> Result<u64, String> {
        while self.now < LIMIT {
            self.now += STEP;
            let in_trouble = self.now < TROUBLE;
            if in_trouble {
                self.trouble();
            } else if self.is_done() {
                return Ok(self.count);
            }
            for place in 0..self.instances.len() {
                self.start_if_due(place, in_trouble);
                self.serve(place);
            }
            self.send();
            self.end_calls();
            for place in 0..self.instances.len() {
                self.turn(place);
            }
            if let Some(broken) = self.broken.take() {
                return Err(format!("{broken}\n{}", self.trace.unwrap_or_default()));
            }
        }
        let missing = self.missing();
        Err(format!(
            "not delivered: {missing:?}\n{}",
            self.trace.unwrap_or_default()
        ))
    }

    fn is_done(&self) -> bool {
        self.missing().is_empty()
    }

    fn note(&mut self, what: &str) {
        if let Some(trace) = &mut self.trace {
            let _ = writeln!(trace, "{:?} {what}", self.now);
        }
    }
}
