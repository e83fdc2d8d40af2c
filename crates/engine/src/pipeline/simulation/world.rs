//! What the batches of a history share: the time, the connection, the server, and the permits.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::fmt;
use std::ops::Range;

use super::permits::Permits;
use super::setup::{HistorySetup, SimulatedFault, millis};
use super::tape::Tape;
use crate::pipeline::machine::{AnswerOutcome, Time};

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation(pub(super) &'static str);

/// A simulated error is its text.
pub(super) type Error = &'static str;

/// A copy of a request on its way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Copy {
    pub(super) batch: usize,
    pub(super) token: usize,
    pub(super) item: usize,
    /// The version of the stream info that the request was made from.
    pub(super) version: u32,
    pub(super) client: u32,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum WorldEvent {
    Fault(usize),
    FaultEnds(usize),
    Arrives(Copy),
    /// The answer of this number arrives for the copy.
    Answered(Copy, usize),
    /// The permission error of the copy arrives.
    PermissionError(Copy),
}

/// What the world records of a batch.
#[derive(Debug)]
pub(super) struct BatchRecord {
    /// The answers that its driver has not taken yet: token, item, and answer.
    pub(super) inbox: VecDeque<(usize, usize, AnswerOutcome<Error>)>,
    /// The items whose permission errors its driver has not taken yet.
    pub(super) denied_items: Vec<usize>,
    pub(super) inbox_denied: bool,
    /// When each item was stored last, with which sequence, and how often in all.
    pub(super) stored: Vec<Option<(Time, u64, u32)>>,
    /// Whether the driver has taken an acknowledgement of the item.
    pub(super) acknowledged: Vec<bool>,
    /// Whether the item was done (true) or failed (false).
    pub(super) ended: Vec<Option<bool>>,
    /// Whether the item failed, and its error does not say that it may be stored.
    pub(super) not_stored: Vec<bool>,
    pub(super) reads: bool,
    pub(super) ids: Vec<bool>,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) setup: HistorySetup,
    pub(super) tape: Tape,
    pub(super) now: Time,
    pub(super) is_up: bool,
    pub(super) epoch: u64,
    /// Counts clients. Answers to the inbox of an earlier client are lost.
    pub(super) client: u32,
    pub(super) permits: Permits,
    pub(super) small_batches_expected_until: Time,
    active: Vec<SimulatedFault>,
    pub(super) version: u32,
    pub(super) records: Vec<BatchRecord>,
    pub(super) violation: Option<Violation>,
    pub(super) sequence: u64,
    events: BinaryHeap<Reverse<(Time, u32, WorldEvent)>>,
    /// How many events were scheduled. It orders events of the same time.
    event_count: u32,
    pub(super) answers: Vec<AnswerOutcome<Error>>,
    trace: Option<Vec<String>>,
}

impl World {
    pub(super) fn new(mut tape: Tape, traced: bool) -> Self {
        let setup = HistorySetup::draw(&mut tape);
        let records = setup.batches.iter().map(|batch| BatchRecord {
            inbox: VecDeque::new(),
            denied_items: Vec::new(),
            inbox_denied: false,
            stored: vec![None; batch.ids.len()],
            acknowledged: vec![false; batch.ids.len()],
            ended: vec![None; batch.ids.len()],
            not_stored: vec![false; batch.ids.len()],
            reads: batch.reads,
            ids: batch.ids.clone(),
        });
        let mut world = Self {
            records: records.collect(),
            permits: Permits::new(setup.permits),
            tape,
            now: Time::START,
            is_up: true,
            epoch: 1,
            client: 0,
            small_batches_expected_until: Time::START,
            active: Vec::new(),
            version: 0,
            violation: None,
            sequence: 0,
            events: BinaryHeap::new(),
            event_count: 0,
            answers: Vec::new(),
            trace: traced.then(Vec::new),
            setup,
        };
        for fault in 0..world.setup.faults.len() {
            let at = world.setup.faults[fault].0;
            world.schedule(at, WorldEvent::Fault(fault));
        }
        let setup = format!("{:?}", traced.then_some(&world.setup));
        world.note(|| setup);
        world
    }

    /// Adds a line to the trace, if there is one.
    pub(super) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            let at = self.now.since_start().as_secs_f64() * 1000.0;
            trace.push(format!("{at:10.3} ms  {}", line()));
        }
    }

    pub(super) fn break_promise(&mut self, promise: &'static str) {
        self.note(|| format!("BROKEN: {promise}"));
        self.violation.get_or_insert(Violation(promise));
    }

    pub(super) fn check(&mut self, kept: bool, promise: &'static str) {
        if !kept {
            self.break_promise(promise);
        }
    }

    /// When something happens next that no batch does.
    pub(super) fn next_event_at(&self) -> Option<Time> {
        self.events.peek().map(|Reverse((at, ..))| *at)
    }

    /// Lets the time pass, and everything happen that is due.
    pub(super) fn advance(&mut self, to: Time) {
        while self.next_event_at().is_some_and(|at| at <= to)
            && let Some(Reverse((at, _, event))) = self.events.pop()
        {
            self.now = self.now.max(at);
            self.apply_event(event);
        }
        self.now = self.now.max(to);
    }

    pub(super) fn schedule(&mut self, at: Time, event: WorldEvent) {
        self.event_count += 1;
        self.events.push(Reverse((at, self.event_count, event)));
    }

    /// Whether something goes wrong now.
    pub(super) fn trouble(&mut self) -> bool {
        self.setup.trouble > 0 && self.tape.one_in(self.setup.trouble)
    }

    fn apply_event(&mut self, event: WorldEvent) {
        if !matches!(event, WorldEvent::Answered(..)) {
            self.note(|| format!("world: {event:?}"));
        }
        match event {
            WorldEvent::Fault(fault) => self.start_fault(fault),
            WorldEvent::FaultEnds(fault) => self.end_fault(self.setup.faults[fault].1),
            WorldEvent::Arrives(copy) => self.arrive(&copy),
            WorldEvent::Answered(copy, answer) => self.deliver(&copy, answer),
            WorldEvent::PermissionError(copy) => {
                if self.is_up && copy.client == self.client {
                    self.records[copy.batch].denied_items.push(copy.item);
                }
            }
        }
    }

    fn start_fault(&mut self, fault: usize) {
        let (_, kind, lasts) = self.setup.faults[fault];
        match kind {
            SimulatedFault::SmallBatch => {
                self.small_batches_expected_until = self.now.after(millis(20));
            }
            SimulatedFault::LinkLost => self.is_up = false,
            SimulatedFault::ClientEnds => {
                self.is_up = false;
                self.client += 1;
                for record in &mut self.records {
                    record.inbox.clear();
                }
            }
            SimulatedFault::MaxMessageChanges => self.version += 1,
            SimulatedFault::InboxDenied => {
                for record in &mut self.records {
                    record.inbox_denied = true;
                }
            }
            SimulatedFault::StreamGone | SimulatedFault::NoLeader | SimulatedFault::ItemsDenied => {
            }
        }
        self.active.push(kind);
        self.schedule(self.now.after(lasts), WorldEvent::FaultEnds(fault));
    }

    fn end_fault(&mut self, fault: SimulatedFault) {
        if let Some(index) = self.active.iter().position(|active| *active == fault) {
            self.active.swap_remove(index);
        }
        if matches!(fault, SimulatedFault::LinkLost | SimulatedFault::ClientEnds) {
            self.epoch += u64::from(!self.is_up);
            self.is_up = true;
        }
    }

    /// Whether this fault is active now.
    pub(super) fn suffers(&self, fault: SimulatedFault) -> bool {
        self.active.contains(&fault)
    }

    /// Records that a driver's items are done or have failed.
    pub(super) fn end(&mut self, batch: usize, items: Range<usize>, done: bool) {
        for item in items {
            let record = &mut self.records[batch];
            let first = record.ended[item].replace(done).is_none();
            let acknowledged = record.acknowledged[item];
            self.check(first, "each item ends once");
            self.check(
                !done || acknowledged,
                "an item is done only if it is acknowledged",
            );
        }
    }

    /// Records that a driver's items failed, and that their errors do not say that they may be
    /// stored.
    pub(super) fn end_not_stored(&mut self, batch: usize, items: Range<usize>) {
        for item in items {
            let record = &mut self.records[batch];
            record.not_stored[item] = !record.reads;
            let is_right = record.reads || record.stored[item].is_none();
            self.check(
                is_right,
                "an item that may be stored fails with an error that says so",
            );
        }
    }

    pub(super) fn trace(&self) -> impl fmt::Display {
        self.trace.as_deref().unwrap_or_default().join("\n")
    }
}
