//! What the batches of a history share: the time, the connection, the server, and the link's permits.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::fmt;
use std::ops::Range;

use super::permits::Permits;
use super::setup::{HistorySetup, SimulatedFault, millis};
use super::tape::Tape;
use crate::pipeline::machine::{Reply, Time};

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation(pub(super) &'static str);

/// The simulated error says by itself what it is about.
pub(super) type Error = &'static str;

/// A copy of a request on its way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Copy {
    pub(super) batch: usize,
    pub(super) token: usize,
    pub(super) item: usize,
    /// The version of the stream info that it was made for.
    pub(super) version: u32,
    pub(super) client: u32,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Happening {
    Fault(usize),
    FaultEnds(usize),
    Arrives(Copy),
    /// The copy is answered with the answer of this number.
    Answered(Copy, usize),
    /// The server says that it refuses the copy.
    Complained(Copy),
}

/// What the world knows of a batch.
#[derive(Debug)]
pub(super) struct BatchRecord {
    /// Answers that its driver has not taken yet: token, item, and answer.
    pub(super) inbox: VecDeque<(usize, usize, Reply<Error>)>,
    /// Items that the server has said to refuse, and its driver has not been told.
    pub(super) complaints: Vec<usize>,
    pub(super) inbox_denied: bool,
    /// When each item was applied last, where, and how often all in all.
    pub(super) applied: Vec<Option<(Time, u64, u32)>>,
    /// Whether the driver has taken an acknowledgement of the item.
    pub(super) acknowledged: Vec<bool>,
    /// Whether the item was done (true) or failed (false).
    pub(super) ended: Vec<Option<bool>>,
    pub(super) reads: bool,
    pub(super) ids: Vec<bool>,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) setup: HistorySetup,
    pub(super) tape: Tape,
    pub(super) now: Time,
    pub(super) up: bool,
    pub(super) epoch: u64,
    /// Counts clients: what is for the inbox of an earlier one is lost.
    pub(super) client: u32,
    pub(super) permits: Permits,
    pub(super) small_until: Time,
    active: Vec<SimulatedFault>,
    pub(super) version: u32,
    pub(super) sides: Vec<BatchRecord>,
    pub(super) violation: Option<Violation>,
    pub(super) place: u64,
    happenings: BinaryHeap<Reverse<(Time, u32, Happening)>>,
    happening: u32,
    pub(super) answers: Vec<Reply<Error>>,
    trace: Option<Vec<String>>,
}

impl World {
    pub(super) fn new(mut tape: Tape, traced: bool) -> Self {
        let setup = HistorySetup::draw(&mut tape);
        let sides = setup.batches.iter().map(|batch| BatchRecord {
            inbox: VecDeque::new(),
            complaints: Vec::new(),
            inbox_denied: false,
            applied: vec![None; batch.ids.len()],
            acknowledged: vec![false; batch.ids.len()],
            ended: vec![None; batch.ids.len()],
            reads: batch.reads,
            ids: batch.ids.clone(),
        });
        let mut world = Self {
            sides: sides.collect(),
            permits: Permits::new(setup.permits),
            tape,
            now: Time::START,
            up: true,
            epoch: 1,
            client: 0,
            small_until: Time::START,
            active: Vec::new(),
            version: 0,
            violation: None,
            place: 0,
            happenings: BinaryHeap::new(),
            happening: 0,
            answers: Vec::new(),
            trace: traced.then(Vec::new),
            setup,
        };
        for fault in 0..world.setup.faults.len() {
            let at = world.setup.faults[fault].0;
            world.schedule(at, Happening::Fault(fault));
        }
        let setup = format!("{:?}", traced.then_some(&world.setup));
        world.note(|| setup);
        world
    }

    /// Writes a line of the history down, if anybody is to read it.
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

    /// When something happens next without the batches.
    pub(super) fn next(&self) -> Option<Time> {
        self.happenings.peek().map(|Reverse((at, ..))| *at)
    }

    /// Lets the time pass, and all that happens meanwhile happen.
    pub(super) fn advance(&mut self, to: Time) {
        while self.next().is_some_and(|at| at <= to)
            && let Some(Reverse((at, _, happening))) = self.happenings.pop()
        {
            self.now = self.now.max(at);
            self.happen(happening);
        }
        self.now = self.now.max(to);
    }

    pub(super) fn schedule(&mut self, at: Time, happening: Happening) {
        self.happening += 1;
        self.happenings
            .push(Reverse((at, self.happening, happening)));
    }

    /// Whether something goes wrong now.
    pub(super) fn trouble(&mut self) -> bool {
        self.setup.trouble > 0 && self.tape.one_in(self.setup.trouble)
    }

    fn happen(&mut self, happening: Happening) {
        if !matches!(happening, Happening::Answered(..)) {
            self.note(|| format!("world: {happening:?}"));
        }
        match happening {
            Happening::Fault(fault) => self.begin(fault),
            Happening::FaultEnds(fault) => self.end_fault(self.setup.faults[fault].1),
            Happening::Arrives(copy) => self.arrive(&copy),
            Happening::Answered(copy, answer) => self.hear(&copy, answer),
            Happening::Complained(copy) => {
                if self.up && copy.client == self.client {
                    self.sides[copy.batch].complaints.push(copy.item);
                }
            }
        }
    }

    fn begin(&mut self, fault: usize) {
        let (_, kind, lasts) = self.setup.faults[fault];
        match kind {
            SimulatedFault::SmallBatch => self.small_until = self.now.after(millis(20)),
            SimulatedFault::LinkLost => self.up = false,
            SimulatedFault::ClientEnds => {
                self.up = false;
                self.client += 1;
                for side in &mut self.sides {
                    side.inbox.clear();
                }
            }
            SimulatedFault::MaxMessageChanges => self.version += 1,
            SimulatedFault::InboxDenied => {
                for side in &mut self.sides {
                    side.inbox_denied = true;
                }
            }
            SimulatedFault::StreamGone | SimulatedFault::NoLeader | SimulatedFault::ItemsDenied => {
            }
        }
        self.active.push(kind);
        self.schedule(self.now.after(lasts), Happening::FaultEnds(fault));
    }

    fn end_fault(&mut self, fault: SimulatedFault) {
        if let Some(place) = self.active.iter().position(|active| *active == fault) {
            self.active.swap_remove(place);
        }
        if matches!(fault, SimulatedFault::LinkLost | SimulatedFault::ClientEnds) {
            self.epoch += u64::from(!self.up);
            self.up = true;
        }
    }

    /// Whether this goes wrong now.
    pub(super) fn suffers(&self, fault: SimulatedFault) -> bool {
        self.active.contains(&fault)
    }

    /// A driver says what became of items.
    pub(super) fn end(&mut self, batch: usize, items: Range<usize>, done: bool) {
        for item in items {
            let side = &mut self.sides[batch];
            let first = side.ended[item].replace(done).is_none();
            let acknowledged = side.acknowledged[item];
            self.check(first, "each item ends once");
            self.check(
                !done || acknowledged,
                "an item is done only if it is acknowledged",
            );
        }
    }

    pub(super) fn trace(&self) -> impl fmt::Display {
        self.trace.as_deref().unwrap_or_default().join("\n")
    }
}
