//! The machine in random histories: lost and late messages, changes of leader, refusals, a server
//! that is slow, and other writers. Each history is checked against the promises.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::{
    AtomicAction, AtomicAnswer, AtomicConfig, AtomicEvent, AtomicMachine, BatchOutcome, FoundBatch,
    SendProblem,
};
use crate::chance::Chance;
use crate::deadline::TimeLimits;

const HISTORIES: u64 = 20_000;

/// How late a message arrives at most, in milliseconds, and how much later if its connection ends.
const LATEST: u64 = 1900;
const FROZEN: u64 = 500;

type E = &'static str;

/// A message on its way to the server.
#[derive(Clone, Debug)]
struct Message {
    attempt: u32,
    item: usize,
    commits: bool,
    arrives: Duration,
}

/// One node that believes it leads.
#[derive(Clone, Debug, Default)]
struct Leader {
    /// How many messages of each attempt are staged.
    staged: HashMap<u32, usize>,
}

/// The server, the network between, and the other writers.
#[derive(Debug)]
struct AtomicWorld {
    chance: Chance,
    len: usize,
    /// How long the server knows an id.
    duplicate_window: Duration,
    leader: Leader,
    /// A node that still believes it leads. What it commits is never stored.
    deposed: Option<Leader>,
    stored_at: Option<Duration>,
    times_stored: u32,
    overwritten: bool,
    full: bool,
    /// What was sent over the connection, in order.
    on_the_way: VecDeque<Message>,
    /// What was sent over earlier connections.
    frozen: VecDeque<Message>,
    answers: Vec<(Duration, AtomicEvent<E>)>,
    epoch: u64,
    is_up: bool,
}

impl AtomicWorld {
    fn new(chance: Chance, len: usize, duplicate_window: Duration) -> Self {
        Self {
            chance,
            len,
            duplicate_window,
            leader: Leader::default(),
            deposed: None,
            stored_at: None,
            times_stored: 0,
            overwritten: false,
            full: false,
            on_the_way: VecDeque::new(),
            frozen: VecDeque::new(),
            answers: Vec::new(),
            epoch: 1,
            is_up: true,
        }
    }

    fn send(&mut self, now: Duration, attempt: u32, item: usize, commits: bool) {
        let delay = match self.chance.below(60) {
            // A frozen node's socket holds it.
            0 => Duration::from_millis(self.chance.below(LATEST)),
            _ => self.chance.micros(3000),
        };
        // What is sent over one connection arrives in order.
        let last = self.on_the_way.back().map_or(now, |last| last.arrives);
        self.on_the_way.push_back(Message {
            attempt,
            item,
            commits,
            arrives: last.max(now + delay),
        });
    }

    fn trouble(&mut self) {
        match self.chance.below(60) {
            0 => {
                let before = std::mem::take(&mut self.leader);
                self.deposed = self.chance.one_in(2).then_some(before);
            }
            1 => {
                // What is on the way may be lost, from some message on.
                let kept = self.chance.place(self.on_the_way.len() + 1);
                self.on_the_way.truncate(kept);
                // The rest may be in the socket of a node that is frozen.
                let later = Duration::from_millis(self.chance.below(FROZEN));
                for message in self.on_the_way.drain(..) {
                    let arrives = message.arrives + later;
                    self.frozen.push_back(Message { arrives, ..message });
                }
                self.answers.clear();
                self.is_up = false;
            }
            2 => self.overwritten |= self.times_stored > 0,
            3 => self.full |= self.chance.one_in(2),
            4 => self.deposed = None,
            5 => self.full = false,
            _ => {}
        }
        if !self.is_up && self.chance.one_in(20) {
            self.is_up = true;
            self.epoch += 1;
        }
    }

    fn deliver(&mut self, now: Duration) {
        while let Some(message) = self.next_message(now) {
            if let Some(mut deposed) = self.deposed.take() {
                if let Some(answer) = deposed.stage(&message, self.len) {
                    self.reply(now, &message, answer);
                }
                self.deposed = Some(deposed);
            }
            if self.chance.one_in(300) {
                self.reply(now, &message, AtomicAnswer::NoResponders);
                continue;
            }
            let answer = match self.leader.stage(&message, self.len) {
                Some(answer) => answer,
                None => self.commit(now),
            };
            self.reply(now, &message, answer);
        }
    }

    fn next_message(&mut self, now: Duration) -> Option<Message> {
        for queue in [&mut self.on_the_way, &mut self.frozen] {
            if queue.front().is_some_and(|first| first.arrives <= now) {
                return queue.pop_front();
            }
        }
        None
    }

    fn next_arrival(&self) -> Option<Duration> {
        let queues = [&self.on_the_way, &self.frozen];
        let firsts = queues.into_iter().filter_map(VecDeque::front);
        firsts.map(|first| first.arrives).min()
    }

    fn commit(&mut self, now: Duration) -> AtomicAnswer<E> {
        let is_known = self
            .stored_at
            .is_some_and(|stored| now < stored + self.duplicate_window);
        if is_known {
            return AtomicAnswer::Stored(None);
        }
        if self.full {
            return AtomicAnswer::Refused("full");
        }
        self.stored_at = Some(now);
        self.times_stored += 1;
        self.overwritten = false;
        AtomicAnswer::Stored(Some(7))
    }

    fn reply(&mut self, now: Duration, message: &Message, answer: AtomicAnswer<E>) {
        if !self.is_up || self.chance.one_in(100) {
            return;
        }
        let attempt = message.attempt;
        let delay = self.chance.micros(3000);
        self.answers
            .push((now + delay, AtomicEvent::Answer { attempt, answer }));
    }
}

impl Leader {
    /// Takes a message. `None`: the batch is complete, and is to be committed.
    fn stage(&mut self, message: &Message, len: usize) -> Option<AtomicAnswer<E>> {
        let staged = self.staged.entry(message.attempt).or_default();
        if *staged != message.item {
            self.staged.remove(&message.attempt);
            return Some(AtomicAnswer::TryAgain("incomplete"));
        }
        *staged += 1;
        if !message.commits {
            return Some(AtomicAnswer::Staged);
        }
        assert_eq!(*staged, len, "the commit is the last message");
        self.staged.remove(&message.attempt);
        None
    }
}

/// Runs one history. Returns which outcome it had.
fn run(seed: u64) -> usize {
    let mut chance = Chance::new(seed);
    let len = 2 + chance.place(12);
    let window = 1 + chance.place(6);
    let timeout = Duration::from_millis(300 + chance.below(3000));
    let limits = TimeLimits::new(timeout);
    // Half of the window is for messages that arrive late.
    let duplicate_window = match chance.below(4) {
        0 => Duration::ZERO,
        _ => Duration::from_millis(2 * (LATEST + FROZEN) + chance.below(3000)),
    };
    let config = AtomicConfig {
        sizes: (0..len).map(|_| chance.place(2000)).collect(),
        window,
        window_bytes: 3000,
        backoff: crate::tuning::BACKOFF,
        resend_window: duplicate_window / 2,
    };
    let sizes = config.sizes.clone();
    let mut world = AtomicWorld::new(chance, len, duplicate_window);
    let mut machine = AtomicMachine::new(config, limits);
    let mut now = Duration::ZERO;
    let outcome = loop {
        world.trouble();
        world.deliver(now);
        let (epoch, is_up) = (world.epoch, world.is_up);
        machine.handle(now, AtomicEvent::Connection { epoch, is_up });
        let mut rest = Vec::new();
        for (when, event) in std::mem::take(&mut world.answers) {
            if when <= now {
                machine.handle(now, event);
            } else {
                rest.push((when, event));
            }
        }
        world.answers.extend(rest);
        machine.handle(now, AtomicEvent::Tick);
        match machine.next_action(now) {
            AtomicAction::Begin { .. } => {
                let begun = match world.chance.below(40) {
                    0 => Err(None),
                    _ => Ok(world.epoch),
                };
                now += world.chance.micros(500);
                machine.handle(now, AtomicEvent::Begun(begun));
            }
            AtomicAction::Send {
                attempt,
                items,
                commits,
            } => {
                let bytes: usize = sizes[items.clone()].iter().sum();
                assert!(items.len() <= window && (items.len() == 1 || bytes <= 3000));
                assert_eq!(commits, items.end == len, "{items:?} of {len}");
                assert!(now < limits.send_within, "sent too late");
                let count = match world.chance.below(300) {
                    0 => world.chance.place(items.len()),
                    _ => items.len(),
                };
                for item in items.clone().take(count) {
                    world.send(now, attempt, item, commits);
                }
                let failure = (count < items.len()).then_some(SendProblem::NotNow);
                machine.handle(now, AtomicEvent::Sent { count, failure });
            }
            AtomicAction::End => {}
            AtomicAction::Refresh => machine.handle(now, AtomicEvent::Refreshed(None)),
            AtomicAction::LookUp => {
                now += world.chance.micros(2000);
                world.deliver(now);
                let found = if world.times_stored > 0 && !world.overwritten {
                    FoundBatch::Whole
                } else {
                    FoundBatch::Nothing
                };
                machine.handle(now, AtomicEvent::LookedUp(found));
            }
            AtomicAction::Wait { until } => {
                assert!(until > now, "seed {seed}: a wait that is over");
                let next = (now + world.chance.micros(8000)).min(until);
                now = next;
            }
            AtomicAction::Finish(outcome) => break outcome,
        }
        assert!(
            now <= limits.finish_within + Duration::from_millis(10),
            "seed {seed}: it goes on after its time"
        );
    };
    judge(world, now, seed, &outcome)
}

/// Lets everything arrive, and compares the outcome with what is stored. Returns which one it is.
fn judge(mut world: AtomicWorld, mut now: Duration, seed: u64, outcome: &BatchOutcome<E>) -> usize {
    let stored_by_now = world.times_stored;
    // What is still on its way arrives.
    while let Some(next) = world.next_arrival() {
        now = now.max(next);
        world.trouble();
        world.deliver(now);
    }
    assert!(world.times_stored <= 1, "seed {seed}: stored twice");
    match outcome {
        BatchOutcome::Stored(_) => {
            assert_eq!(stored_by_now, 1, "seed {seed}: stored, it says");
            0
        }
        BatchOutcome::Failed(_) => {
            assert_eq!(world.times_stored, 0, "seed {seed}: failed, it says");
            1
        }
        BatchOutcome::Unclear(_) => 2,
        BatchOutcome::StoredAlone(_) | BatchOutcome::PartlyStored(_) => {
            panic!("seed {seed}: no server tears a batch here")
        }
    }
}

#[test]
fn no_history_breaks_a_promise() {
    let mut counts = [0_u64; 3];
    for seed in 0..HISTORIES {
        counts[run(seed)] += 1;
    }
    // The histories have something of everything.
    let rare = HISTORIES / 100;
    assert!(counts.iter().all(|&count| count > rare), "{counts:?}");
}
