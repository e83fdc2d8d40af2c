//! The stream, its nodes, its other clients, and the network.

mod network;
mod node;
mod trouble;

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use self::network::Packet;
use super::reader::{KEYS, SimReader, key_name};
use super::store::{SimStore, StoreChange};
use crate::chance::Chance;
use crate::replica::machine::{
    OffReason, Phase, ReplicaAction, ReplicaDemand, ReplicaEvent, ReplicaMachine, StreamState,
};
use crate::replica::memory::ReplicaMemory;

/// How many messages are asked for at once.
const PULL: u64 = 8;

const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
struct SimConsumer {
    number: u64,
    next: u64,
    delivered: u64,
    /// The open requests for messages, and how many each still asks for.
    pulls: VecDeque<(u64, u64)>,
    idle_since: Duration,
    frozen_until: Duration,
}

pub(super) struct ReplicaWorld {
    chance: Chance,
    now: Duration,
    staleness: Duration,
    machine: ReplicaMachine,
    reader: SimReader,
    created: u64,
    leader: SimStore,
    /// The node that leads. 0: the stream has only one.
    node_leads: u64,
    /// Nobody leads until then.
    leaderless_until: Duration,
    /// How far the leader's clock is ahead, in microseconds.
    clock_ahead: u64,
    /// What the node before still believes, and from when to when it says so.
    former: Option<(StreamState, Duration, Duration)>,
    /// The node that has the consumer lags behind by these changes.
    node: SimStore,
    lag: VecDeque<StoreChange>,
    backup: Option<SimStore>,
    max_age: u64,
    max_messages: usize,
    consumer: Option<SimConsumer>,
    connected: bool,
    packets: Vec<(Duration, u64, Packet)>,
    sent: u64,
    /// When the last message of the consumer arrives: they come in order.
    in_order: Duration,
    wanted: u64,
    /// The first request for messages whose answers the client listens to.
    inbox_from: u64,
    values: u64,
    calm: bool,
    /// A promise that was broken elsewhere than in an answer.
    broken: Option<String>,
    log: Option<String>,
}

impl ReplicaWorld {
    pub(super) fn new(seed: u64, traced: bool) -> Self {
        let mut chance = Chance::new(seed);
        let staleness = [100, 300, 1000][chance.place(3)];
        let staleness = Duration::from_millis(staleness);
        let demand = ReplicaDemand {
            staleness,
            max_bytes: 1 << 20,
        };
        let node_leads = chance.below(2);
        let memory = Arc::new(ReplicaMemory::new(1 << 20));
        Self {
            max_age: [0, 0, 700_000][chance.place(3)],
            max_messages: [usize::MAX, usize::MAX, 3][chance.place(3)],
            chance,
            now: Duration::from_secs(1),
            staleness,
            machine: ReplicaMachine::new(memory, demand, PULL, true),
            reader: SimReader::new(),
            created: 1,
            leader: SimStore::default(),
            node_leads,
            leaderless_until: Duration::ZERO,
            clock_ahead: 0,
            former: None,
            node: SimStore::default(),
            lag: VecDeque::new(),
            backup: None,
            consumer: None,
            connected: true,
            packets: Vec::new(),
            sent: 0,
            in_order: Duration::ZERO,
            wanted: 0,
            inbox_from: 0,
            values: 0,
            calm: false,
            broken: None,
            log: traced.then(String::new),
        }
    }

    pub(super) fn answers(&self) -> u64 {
        self.reader.answers
    }

    pub(super) fn trace(&self) -> &str {
        self.log.as_deref().unwrap_or_default()
    }

    pub(super) fn note(&mut self, text: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            let _ = writeln!(log, "{:>10.6} {}", self.now.as_secs_f64(), text());
        }
    }

    pub(super) fn run(&mut self) -> Result<(), String> {
        let steps = 50 + self.chance.below(600);
        for _ in 0..steps {
            self.turn()?;
            self.trouble();
        }
        self.calm = true;
        if !self.connected {
            self.reconnect();
        }
        let mut until = self.now + SECOND * 200;
        let mut minutes_off = 0;
        while self.now < until {
            // It is given up for minutes after it has lost connections.
            if self.machine.phase() == Phase::Off(OffReason::LosesConnection) && minutes_off < 60 {
                minutes_off += 1;
                self.now += SECOND * 60;
                until += SECOND * 60;
            }
            let before = self.reader.answers;
            self.turn()?;
            let is_live = self.machine.phase() == Phase::Live && self.lag.is_empty();
            if is_live && self.reader.answers > before && self.is_equal() {
                return Ok(());
            }
        }
        let phase = self.machine.phase();
        Err(format!("the copy becomes complete in the end: {phase:?}"))
    }

    /// Whether the copy answers exactly what the leader would.
    fn is_equal(&self) -> bool {
        self.machine.copy().is_some_and(|copy| {
            (0..KEYS).all(|key| {
                let record = copy.map.get(&key_name(key));
                let value = record.and_then(|record| record.value());
                let expected = self.leader.value(key).map(u64::to_le_bytes);
                value.as_deref() == expected.as_ref().map(<[u8; 8]>::as_slice)
            })
        })
    }

    /// Lets some time pass, and what is due happen.
    fn turn(&mut self) -> Result<(), String> {
        let to = self.now + self.chance.micros(if self.calm { 60_000 } else { 40_000 });
        loop {
            let next = self
                .packets
                .iter()
                .map(|(at, order, _)| (*at, *order))
                .min();
            let wake = self.machine.wake(self.now).map(|wake| wake.max(self.now));
            let packet = next.filter(|(at, _)| *at <= to);
            match (packet, wake.filter(|wake| *wake <= to)) {
                (Some((at, _)), Some(wake)) if wake < at => self.tick(wake),
                (Some((at, order)), _) => self.arrive(at, order),
                (None, Some(wake)) => self.tick(wake),
                (None, None) => break,
            }
            self.server();
            self.read()?;
            if let Some(broken) = self.broken.take() {
                return Err(broken);
            }
        }
        self.now = to;
        self.server();
        if self.chance.one_in(2) {
            let question = self.chance.one_in(3);
            self.tell(ReplicaEvent::Wanted { question });
        }
        self.read()
    }

    fn tick(&mut self, at: Duration) {
        // A little later each time, or nothing would ever happen after something else.
        self.now = at.max(self.now + Duration::from_micros(1));
        self.tell(ReplicaEvent::Tick);
    }

    fn read(&mut self) -> Result<(), String> {
        let Some(copy) = self.machine.copy().cloned() else {
            return Ok(());
        };
        let answered = self.reader.read(&copy, self.staleness, self.now)?;
        if answered {
            self.note(|| format!("read from the copy of {:?}", copy.complete_as_of()));
        }
        Ok(())
    }

    pub(super) fn tell(&mut self, event: ReplicaEvent<'_>) {
        if self.log.is_some() && !matches!(event, ReplicaEvent::Tick) {
            let text = format!("-> {event:?}");
            self.note(|| text);
        }
        self.machine.handle(event, self.now);
        if let Some(copy) = self.machine.copy() {
            self.reader.floors.forget_met(copy);
        }
        while let Some(action) = self.machine.next_action() {
            self.note(|| format!("   {action:?}"));
            if let ReplicaAction::Create { number } | ReplicaAction::Delete { number } = action {
                self.wanted = match action {
                    ReplicaAction::Create { .. } => number,
                    _ => 0,
                };
            }
            if let ReplicaAction::Pull(pull) = action
                && pull.anew
            {
                self.inbox_from = pull.pull;
            }
            if !self.connected {
                self.no_answer(action);
                continue;
            }
            let delay = self.chance.micros(2_000);
            self.send(delay, Packet::Request(action));
        }
    }

    /// The leader's clock, in microseconds.
    pub(super) fn server_micros(&self) -> u64 {
        self.micros() + self.clock_ahead
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.now.as_micros()).expect("short")
    }
}
