//! Instances, their network, and the component that they call.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use super::server::{OpenPull, Sent, SimulatedConsumer};
use crate::chance::Chance;
use crate::watch::machine::{
    Attachment, CallOutcome, ChangeId, ChangeRetention, MachineSettings, NewChange,
    PendingMessages, WatchAction, WatchEvent, WatchMachine, WatchPullEnd,
};
use crate::watch::timing;

const STEP: Duration = Duration::from_millis(20);
const TROUBLE: Duration = Duration::from_secs(50);
const LIMIT: Duration = Duration::from_secs(1500);
const ENDLESS: usize = 1_000_000;
const CALL_TIMEOUT: Duration = Duration::from_millis(500);

/// What an instance sends, or a request of which it waits for the answer.
#[derive(Clone, Copy, Debug)]
enum SimulatedRequest {
    Attach,
    Pull { inbox: u64 },
    Pending { question: u64 },
    Acknowledge(u64),
    GiveBack(u64),
    InProgress(u64),
    Settled(u64),
}

/// What an instance knows of the consumer that it found.
#[derive(Clone, Copy, Debug)]
struct Found {
    stream: u64,
    consumer: u64,
    ack_floor: u64,
}

/// What happens to the bucket and to the consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BucketFault {
    /// Nothing.
    Stays,
    /// Messages expire, the oldest first.
    Ages,
    /// Messages expire, each in its own time.
    Expires,
    /// Somebody deletes the consumer.
    LosesConsumer,
    /// Somebody deletes the bucket, and creates it again.
    IsMadeAgain,
}

impl BucketFault {
    fn ends_messages(self) -> bool {
        matches!(self, Self::Ages | Self::Expires)
    }

    /// Whether instances start and end. One that starts when the consumer is gone knows of nothing.
    fn lets_instances_end(self) -> bool {
        matches!(self, Self::Stays | Self::Ages | Self::Expires)
    }
}

#[derive(Debug)]
struct Instance {
    machine: WatchMachine,
    found: Option<Found>,
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
    id: ChangeId,
    ends: Duration,
    outcome: CallOutcome,
    /// Whether the caller waits for its end.
    is_awaited: bool,
}

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

    /// What the stream has and the component was not told of.
    fn missing(&self) -> Vec<ChangeId> {
        let mut messages = self.server.messages();
        messages.retain(|id| !self.delivered.contains(id));
        messages
    }

    fn note(&mut self, what: &str) {
        if let Some(trace) = &mut self.trace {
            let _ = writeln!(trace, "{:?} {what}", self.now);
        }
    }

    fn trouble(&mut self) {
        let expires = self.fault.ends_messages();
        if self.chance.one_in(if expires { 2 } else { 10 }) {
            let key = self.chance.place(self.keys);
            let id = self.server.put(key);
            self.all.insert(id, key);
            self.note(&format!("put {id:?} of key {key}"));
        }
        if expires && self.chance.one_in(2) {
            let messages = self.server.messages();
            if !messages.is_empty() {
                let id = match self.fault {
                    BucketFault::Ages => messages[0],
                    _ => messages[self.chance.place(messages.len())],
                };
                self.note(&format!("{id:?} expires"));
                self.server.remove(id.sequence);
            }
        }
        if self.fault == BucketFault::LosesConsumer && self.chance.one_in(500) {
            self.note("the consumer is deleted");
            let pull = self.server.delete();
            self.end_pull(pull);
        }
        if self.fault == BucketFault::IsMadeAgain && self.chance.one_in(500) {
            self.note("the bucket is made again");
            let pull = self.server.create_stream_again();
            self.end_pull(pull);
        }
        if self.chance.one_in(350) {
            self.note("the consumer forgets its pull");
            self.server.pull = None;
        }
        let place = self.chance.place(self.instances.len());
        let lets_end = self.fault.lets_instances_end();
        // An instance that does not notice that the bucket is another one may acknowledge a change of
        // the new one for one of the old one. It has only a sequence to say which it means.
        let notices = self.fault != BucketFault::IsMadeAgain || self.instances.len() == 1;
        match self.chance.below(700) {
            0 if lets_end => {
                self.note(&format!("{place} is killed"));
                // What it has sent is on its way.
                if let Some(instance) = self.instances[place].take() {
                    for (_, request) in instance.requests {
                        self.deliver_one_way(request);
                    }
                }
                self.next_start[place] = self.now + self.chance.micros(8_000_000);
            }
            1 if lets_end => {
                self.note(&format!("{place} stops"));
                let now = self.now;
                if let Some(instance) = &mut self.instances[place] {
                    instance.is_stopping = true;
                    instance.machine.handle(WatchEvent::Stop, now);
                }
            }
            2 if notices => {
                let time = self.chance.micros(60_000_000);
                self.note(&format!("{place} freezes for {time:?}"));
                if let Some(instance) = &mut self.instances[place] {
                    instance.frozen_until = self.now + time;
                }
            }
            3 if notices => {
                self.note(&format!("{place} loses its connection"));
                let now = self.now;
                if let Some(instance) = &mut self.instances[place] {
                    instance.messages.clear();
                    // Acknowledgements are sent again.
                    let is_lost = |request: &SimulatedRequest| {
                        !matches!(request, SimulatedRequest::Acknowledge(_))
                    };
                    let is_attach = |(_, request): &(Duration, SimulatedRequest)| {
                        matches!(request, SimulatedRequest::Attach)
                    };
                    if instance.requests.iter().any(is_attach) {
                        // Its answer is waited for in vain.
                        let at = now + Duration::from_secs(2);
                        instance.answers.push((at, WatchEvent::NotAttached));
                    }
                    instance.requests.retain(|(_, request)| !is_lost(request));
                    instance.inbox = None;
                    instance.machine.handle(WatchEvent::Disturbed, now);
                }
            }
            _ => {}
        }
    }

    fn end_pull(&mut self, pull: Option<OpenPull>) {
        if let Some(pull) = pull {
            self.send_to(pull, Sent::Gone);
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
            found: None,
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
                SimulatedRequest::Attach => self.attach(place),
                SimulatedRequest::Pending { question } if !self.server.exists => {
                    WatchEvent::Pending {
                        question,
                        pending: None,
                    }
                }
                SimulatedRequest::Pending { question } => {
                    let (life, ack_floor) = (self.server.life, self.server.ack_floor());
                    if let Some(found) = self.found_mut(place)
                        && found.consumer == life
                    {
                        found.ack_floor = found.ack_floor.max(ack_floor);
                    }
                    WatchEvent::Pending {
                        question,
                        pending: Some(PendingMessages {
                            count: self.server.pending(),
                            delivered: self.server.consumer_sequence,
                            settled_to: self.server.settled_to,
                            ack_wait: self.server.ack_wait,
                        }),
                    }
                }
                SimulatedRequest::Pull { inbox } => {
                    let listened = self.listened();
                    let times = (timing::PULL_EXPIRES, timing::HEARTBEAT);
                    self.server.open(place, inbox, now, times, |pull| {
                        is_listened(&listened, pull)
                    });
                    continue;
                }
                request => {
                    self.deliver_one_way(request);
                    continue;
                }
            };
            if let Some(instance) = &mut self.instances[place] {
                instance.answers.push((at, event));
            }
        }
    }

    /// As `WatchConsumer::attach` does it.
    fn attach(&mut self, place: usize) -> WatchEvent {
        let Some(instance) = &mut self.instances[place] else {
            return WatchEvent::NotAttached;
        };
        let server = &mut self.server;
        let is_other_stream = instance.found.is_none_or(|found| {
            found.stream != server.stream.life || server.stream.last < instance.machine.highest()
        });
        if !server.exists {
            server.create(match instance.found {
                Some(found) if !is_other_stream => {
                    let least = found.ack_floor + 1;
                    instance.machine.resume_at().unwrap_or(least).max(least)
                }
                _ => 1,
            });
        }
        let is_other = instance.found.is_none_or(|found| {
            found.stream != server.stream.life || found.consumer != server.life
        });
        instance.found = Some(Found {
            stream: server.stream.life,
            consumer: server.life,
            ack_floor: server.ack_floor(),
        });
        WatchEvent::Attached(Attachment {
            is_other,
            is_other_stream,
            settled_to: server.settled_to,
            has_pending: server.pending() > 0,
            ack_wait: server.ack_wait,
            retention: ChangeRetention {
                history: match self.fault {
                    BucketFault::Expires if server.stream.history > 1 => usize::MAX,
                    _ => server.stream.history,
                },
                // Of a history without an end nothing goes.
                keeps_last_only: !self.fault.ends_messages()
                    && [1, ENDLESS].contains(&server.stream.history),
            },
        })
    }

    /// Lets the server take what has no answer.
    fn deliver_one_way(&mut self, request: SimulatedRequest) {
        match request {
            SimulatedRequest::Acknowledge(sequence) => self.server.acknowledge(sequence),
            SimulatedRequest::GiveBack(sequence) => self.server.give_back(sequence),
            SimulatedRequest::InProgress(sequence) => self.server.extend(sequence, self.now),
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
            self.send_to(pull, sent);
        }
    }

    fn send_to(&mut self, pull: OpenPull, sent: Sent) {
        let delay = self.chance.micros(30_000);
        if let Some(instance) = &mut self.instances[pull.instance] {
            let last = instance.messages.back();
            let at = last.map_or(Duration::ZERO, |(at, _, _)| *at);
            let at = at.max(self.now + delay);
            instance.messages.push_back((at, pull.inbox, sent));
        }
    }

    fn end_calls(&mut self) {
        let now = self.now;
        let ended: Vec<SimulatedCall> =
            self.calls.extract_if(.., |call| call.ends <= now).collect();
        for call in ended {
            if call.outcome == CallOutcome::Delivered {
                self.delivered.insert(call.id);
            }
            let (place, life) = call.caller;
            if self.lives[place] != life || !call.is_awaited {
                continue;
            }
            if let Some(instance) = &mut self.instances[place] {
                let (id, outcome) = (call.id, call.outcome);
                let event = WatchEvent::CallEnded { id, outcome };
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
        let held = instance.machine.held();
        if held > 4 * self.settings.max_held + 1 {
            self.broken = Some(format!("{place} holds {held} changes"));
        }
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
            Sent::Gone => WatchEvent::PullEnded(WatchPullEnd::Gone),
            Sent::Change {
                id,
                consumer_sequence,
                deliveries,
            } => WatchEvent::Delivered(NewChange {
                id,
                key: Arc::from(self.all[&id].to_string()),
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
            WatchAction::Acknowledge { id } => SimulatedRequest::Acknowledge(id.sequence),
            WatchAction::NakAndDrop { id } | WatchAction::NakAndKeep { id } => {
                SimulatedRequest::GiveBack(id.sequence)
            }
            WatchAction::Terminate { id, .. } => {
                self.broken = Some(format!("{id:?} was given up"));
                return;
            }
            WatchAction::DropCalls => {
                for call in &mut self.calls {
                    call.is_awaited &= call.caller.0 != place;
                }
                let is_call = |event: &WatchEvent| matches!(event, WatchEvent::CallEnded { .. });
                return instance.answers.retain(|(_, event)| !is_call(event));
            }
            WatchAction::InProgress { id } => SimulatedRequest::InProgress(id.sequence),
            WatchAction::Call { id, .. } => return self.call(place, id),
        };
        let at = self.now + self.chance.micros(30_000);
        instance.requests.push((at, request));
    }

    fn call(&mut self, place: usize, id: ChangeId) {
        let key = self.all[&id];
        self.note(&format!("{place} calls for {id:?} of key {key}"));
        self.count += 1;
        if let Some(other) = self.calls.iter().find(|call| call.key == key) {
            let other = other.id;
            self.broken = Some(format!("{id:?} while {other:?} of key {key} is in a call"));
        }
        let last = self.last_called.entry(key).or_default();
        // After a consumer that somebody has deleted, the last changes come again, in order.
        if id.time < *last && self.fault != BucketFault::LosesConsumer {
            self.broken = Some(format!("{id:?} of key {key} after the one of {last}"));
        }
        *last = id.time;
        let in_trouble = self.now < TROUBLE;
        let outcome = match self.chance.below(8) {
            _ if in_trouble && self.is_away => CallOutcome::Unreachable,
            0 if in_trouble => CallOutcome::Failed,
            1 if in_trouble => CallOutcome::Unreachable,
            _ => CallOutcome::Delivered,
        };
        self.calls.push(SimulatedCall {
            caller: (place, self.lives[place]),
            key,
            id,
            ends: self.now + self.chance.micros(500_000),
            outcome,
            is_awaited: true,
        });
    }

    fn found_mut(&mut self, place: usize) -> Option<&mut Found> {
        self.instances[place].as_mut()?.found.as_mut()
    }
}

fn is_listened(listened: &[Option<u64>], pull: OpenPull) -> bool {
    listened[pull.instance] == Some(pull.inbox)
}
