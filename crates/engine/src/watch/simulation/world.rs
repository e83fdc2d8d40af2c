//! Instances, their network, and the component that they call.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use super::server::{OpenPull, Sent, SimulatedConsumer};
use crate::chance::Chance;
use crate::watch::machine::{
    Attachment, CallOutcome, MachineSettings, NewChange, PendingMessages, WatchAction, WatchEvent,
    WatchMachine, WatchPullEnd,
};
use crate::watch::timing;

const STEP: Duration = Duration::from_millis(20);
const TROUBLE: Duration = Duration::from_secs(50);
const LIMIT: Duration = Duration::from_secs(1500);
const CALL_TIMEOUT: Duration = Duration::from_millis(500);

/// What an instance sends, or a request of which it waits for the answer.
#[derive(Clone, Copy, Debug)]
enum SimulatedRequest {
    Attach,
    Pull { inbox: u64 },
    Pending { question: u64 },
    Acknowledge(u64),
    GiveBack(u64),
    Extend(u64),
    Settled(u64),
}

#[derive(Debug)]
struct Instance {
    machine: WatchMachine,
    /// What is on its way to the server, and when it arrives.
    requests: Vec<(Duration, SimulatedRequest)>,
    /// What is on its way here, in order.
    messages: VecDeque<(Duration, u64, Sent)>,
    answers: Vec<(Duration, WatchEvent)>,
    /// The inbox that is listened to.
    inbox: Option<u64>,
    last_turn: Duration,
    frozen_until: Duration,
    is_stopping: bool,
}

/// A call of the component.
#[derive(Clone, Copy, Debug)]
struct SimulatedCall {
    /// The instance that calls, and which life of it.
    caller: (usize, u64),
    key: usize,
    sequence: u64,
    ends: Duration,
    outcome: CallOutcome,
}

pub(super) struct WatchWorld {
    chance: Chance,
    server: SimulatedConsumer,
    settings: MachineSettings,
    instances: Vec<Option<Instance>>,
    lives: Vec<u64>,
    next_start: Vec<Duration>,
    calls: Vec<SimulatedCall>,
    /// The last change of each key that was in a call.
    last_called: BTreeMap<usize, u64>,
    delivered: BTreeSet<u64>,
    all: BTreeMap<u64, usize>,
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
        let keeps_history = chance.one_in(2);
        let max_in_flight = 1 + chance.place(6);
        let settings = MachineSettings {
            max_in_flight,
            // No change is given up, so that each has to be delivered.
            max_deliver: 1_000_000,
            retries: true,
            call_timeout: CALL_TIMEOUT,
            ack_wait: timing::ack_wait(CALL_TIMEOUT),
            keeps_history,
        };
        let history = if keeps_history { 1_000_000 } else { 1 };
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
            keys: 1 + chance.place(5),
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
        let missing = |sequence: &&u64| !self.delivered.contains(sequence);
        let missing: Vec<u64> = self.all.keys().filter(missing).copied().collect();
        Err(format!(
            "not delivered: {missing:?}\n{}",
            self.trace.unwrap_or_default()
        ))
    }

    fn is_done(&self) -> bool {
        if self.settings.keeps_history {
            return self
                .all
                .keys()
                .all(|sequence| self.delivered.contains(sequence));
        }
        let last: BTreeMap<usize, u64> = self.all.iter().map(|(seq, key)| (*key, *seq)).collect();
        last.values()
            .all(|sequence| self.delivered.contains(sequence))
    }

    fn note(&mut self, what: &str) {
        if let Some(trace) = &mut self.trace {
            let _ = writeln!(trace, "{:?} {what}", self.now);
        }
    }

    fn trouble(&mut self) {
        if self.chance.one_in(10) {
            let key = self.chance.place(self.keys);
            let sequence = self.server.put(key);
            self.all.insert(sequence, key);
            self.note(&format!("put {sequence} of key {key}"));
        }
        if self.chance.one_in(350) {
            self.note("the consumer forgets its pull");
            self.server.pull = None;
        }
        let place = self.chance.place(self.instances.len());
        match self.chance.below(700) {
            0 => {
                self.note(&format!("{place} is killed"));
                // What it has sent is on its way.
                if let Some(instance) = self.instances[place].take() {
                    for (_, request) in instance.requests {
                        self.settle(request);
                    }
                }
                self.next_start[place] = self.now + self.chance.micros(8_000_000);
            }
            1 => {
                self.note(&format!("{place} stops"));
                let now = self.now;
                if let Some(instance) = &mut self.instances[place] {
                    instance.is_stopping = true;
                    instance.machine.handle(WatchEvent::Stop, now);
                }
            }
            2 => {
                let time = self.chance.micros(60_000_000);
                self.note(&format!("{place} freezes for {time:?}"));
                if let Some(instance) = &mut self.instances[place] {
                    instance.frozen_until = self.now + time;
                }
            }
            3 => {
                self.note(&format!("{place} loses its connection"));
                let now = self.now;
                if let Some(instance) = &mut self.instances[place] {
                    instance.messages.clear();
                    // Acknowledgements are sent again.
                    let is_lost = |request: &SimulatedRequest| {
                        !matches!(request, SimulatedRequest::Acknowledge(_))
                    };
                    instance.requests.retain(|(_, request)| !is_lost(request));
                    instance.inbox = None;
                    instance.machine.handle(WatchEvent::Disturbed, now);
                }
            }
            _ => {}
        }
    }

    fn start_if_due(&mut self, place: usize, in_trouble: bool) {
        if self.instances[place].is_some() || (in_trouble && self.now < self.next_start[place]) {
            return;
        }
        self.lives[place] += 1;
        self.note(&format!("{place} starts"));
        self.instances[place] = Some(Instance {
            machine: WatchMachine::new(self.settings),
            requests: Vec::new(),
            messages: VecDeque::new(),
            answers: Vec::new(),
            inbox: None,
            last_turn: self.now,
            frozen_until: Duration::ZERO,
            is_stopping: false,
        });
    }

    /// Lets the server take what has arrived.
    fn serve(&mut self, place: usize) {
        let now = self.now;
        let Some(instance) = &mut self.instances[place] else {
            return;
        };
        let arrived = instance.requests.extract_if(.., |(time, _)| *time <= now);
        let arrived: Vec<SimulatedRequest> = arrived.map(|(_, request)| request).collect();
        for request in arrived {
            let at = now + self.chance.micros(30_000);
            let event = match request {
                SimulatedRequest::Attach => WatchEvent::Attached(Attachment {
                    is_other: self.lives[place] > 0
                        && self.instances[place]
                            .as_ref()
                            .is_some_and(|instance| instance.machine.resume_at().is_none()),
                    is_other_stream: false,
                    settled_to: self.server.settled_to,
                    keeps_history: self.settings.keeps_history,
                }),
                SimulatedRequest::Pending { question } => WatchEvent::Pending {
                    question,
                    pending: Some(PendingMessages {
                        count: self.server.pending(),
                        settled_to: self.server.settled_to,
                    }),
                },
                SimulatedRequest::Pull { inbox } => {
                    let listened = self.listened();
                    let times = (timing::PULL_EXPIRES, timing::HEARTBEAT);
                    self.server.open(place, inbox, now, times, |pull| {
                        is_listened(&listened, pull)
                    });
                    continue;
                }
                request => {
                    self.settle(request);
                    continue;
                }
            };
            if let Some(instance) = &mut self.instances[place] {
                instance.answers.push((at, event));
            }
        }
    }

    /// Lets the server take what has no answer.
    fn settle(&mut self, request: SimulatedRequest) {
        match request {
            SimulatedRequest::Acknowledge(sequence) => self.server.acknowledge(sequence),
            SimulatedRequest::GiveBack(sequence) => self.server.give_back(sequence),
            SimulatedRequest::Extend(sequence) => self.server.extend(sequence, self.now),
            SimulatedRequest::Settled(number) => self.server.settled_to = number,
            SimulatedRequest::Attach
            | SimulatedRequest::Pull { .. }
            | SimulatedRequest::Pending { .. } => {}
        }
    }

    fn listened(&self) -> Vec<Option<u64>> {
        let inbox = |instance: &Option<Instance>| instance.as_ref().and_then(|it| it.inbox);
        self.instances.iter().map(inbox).collect()
    }

    fn send(&mut self) {
        let listened = self.listened();
        let listens = |pull: OpenPull| is_listened(&listened, pull);
        while let Some((pull, sent)) = self.server.send(self.now, timing::HEARTBEAT, listens) {
            let delay = self.chance.micros(30_000);
            if let Some(instance) = &mut self.instances[pull.instance] {
                let at = instance
                    .messages
                    .back()
                    .map_or(Duration::ZERO, |(at, _, _)| *at);
                let at = at.max(self.now + delay);
                instance.messages.push_back((at, pull.inbox, sent));
            }
        }
    }

    fn end_calls(&mut self) {
        let now = self.now;
        let ended: Vec<SimulatedCall> =
            self.calls.extract_if(.., |call| call.ends <= now).collect();
        for call in ended {
            if call.outcome == CallOutcome::Delivered {
                self.delivered.insert(call.sequence);
            }
            let (place, life) = call.caller;
            if self.lives[place] != life {
                continue;
            }
            if let Some(instance) = &mut self.instances[place] {
                let (sequence, outcome) = (call.sequence, call.outcome);
                let event = WatchEvent::CallEnded { sequence, outcome };
                instance.answers.push((now, event));
            }
        }
    }

    /// A turn of an instance's loop.
    fn turn(&mut self, place: usize) {
        let now = self.now;
        let Some(mut instance) = self.instances[place].take() else {
            return;
        };
        if now < instance.frozen_until {
            self.instances[place] = Some(instance);
            return;
        }
        if now > instance.last_turn + timing::STANDSTILL {
            instance.inbox = None;
            instance.machine.handle(WatchEvent::Disturbed, now);
        }
        instance.last_turn = now;
        let answers = instance.answers.extract_if(.., |(at, _)| *at <= now);
        for (_, event) in answers.collect::<Vec<_>>() {
            instance.machine.handle(event, now);
        }
        while let Some((_, inbox, sent)) = instance.messages.pop_front_if(|(at, _, _)| *at <= now) {
            if instance.inbox == Some(inbox) {
                self.note(&format!("{place} gets {sent:?}"));
                let event = self.event(sent);
                instance.machine.handle(event, now);
            }
        }
        instance.machine.handle(WatchEvent::Tick, now);
        while let Some(action) = instance.machine.next_action() {
            self.act(place, &mut instance, action);
        }
        if instance.machine.has_ended() {
            // The process goes on until what it has sent has arrived.
            if instance.is_stopping
                && let Some(number) = instance.machine.settled_to()
            {
                instance.is_stopping = false;
                let at = now + Duration::from_millis(100);
                instance
                    .requests
                    .push((at, SimulatedRequest::Settled(number)));
            }
            if instance.requests.is_empty() {
                self.next_start[place] = now + self.chance.micros(8_000_000);
                return;
            }
        }
        self.instances[place] = Some(instance);
    }

    fn event(&self, sent: Sent) -> WatchEvent {
        match sent {
            Sent::Heartbeat => WatchEvent::Heard,
            Sent::Expired => WatchEvent::PullEnded(WatchPullEnd::Expired),
            Sent::Change {
                sequence,
                consumer_sequence,
                deliveries,
            } => WatchEvent::Delivered(NewChange {
                key: Arc::from(self.all[&sequence].to_string()),
                sequence,
                consumer_sequence,
                deliveries,
                wanted: true,
                replaces: false,
            }),
        }
    }

    fn act(&mut self, place: usize, instance: &mut Instance, action: WatchAction) {
        self.note(&format!("{place} does {action:?}"));
        let request = match action {
            WatchAction::Attach => SimulatedRequest::Attach,
            WatchAction::Pull { anew } => {
                if anew || instance.inbox.is_none() {
                    self.inboxes += 1;
                    instance.inbox = Some(self.inboxes);
                }
                let inbox = instance.inbox.unwrap_or(self.inboxes);
                SimulatedRequest::Pull { inbox }
            }
            WatchAction::ClosePull => {
                instance.inbox = None;
                return;
            }
            WatchAction::Forget { .. } => return,
            WatchAction::AskPending { question } => SimulatedRequest::Pending { question },
            WatchAction::Acknowledge { sequence } => SimulatedRequest::Acknowledge(sequence),
            WatchAction::Return { sequence } => SimulatedRequest::GiveBack(sequence),
            WatchAction::GiveUp { sequence, .. } => {
                self.broken = Some(format!("{sequence} was given up"));
                return;
            }
            WatchAction::Extend { sequence } => SimulatedRequest::Extend(sequence),
            WatchAction::Call { sequence, .. } => return self.call(place, sequence),
        };
        let at = self.now + self.chance.micros(30_000);
        instance.requests.push((at, request));
    }

    fn call(&mut self, place: usize, sequence: u64) {
        let key = self.all[&sequence];
        self.note(&format!("{place} calls for {sequence} of key {key}"));
        self.count += 1;
        if let Some(other) = self.calls.iter().find(|call| call.key == key) {
            let other = other.sequence;
            self.broken = Some(format!(
                "{sequence} while {other} of key {key} is in a call"
            ));
        }
        let last = self.last_called.entry(key).or_default();
        if sequence < *last {
            self.broken = Some(format!("{sequence} of key {key} after {last}"));
        }
        *last = sequence;
        let in_trouble = self.now < TROUBLE;
        let outcome = match self.chance.below(8) {
            0 if in_trouble => CallOutcome::Failed,
            1 if in_trouble => CallOutcome::Unreachable,
            _ => CallOutcome::Delivered,
        };
        self.calls.push(SimulatedCall {
            caller: (place, self.lives[place]),
            key,
            sequence,
            ends: self.now + self.chance.micros(500_000),
            outcome,
        });
    }
}

fn is_listened(listened: &[Option<u64>], pull: OpenPull) -> bool {
    listened[pull.instance] == Some(pull.inbox)
}
