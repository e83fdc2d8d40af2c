//! The loop of an instance.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::WatchWorld;
use super::request::SimulatedRequest;
use crate::watch::machine::{NewChange, WatchAction, WatchEvent, WatchMachine, WatchPullEnd};
use crate::watch::simulation::server::Sent;
use crate::watch::timing;

/// What an instance knows of the consumer that it found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) stream: u64,
    pub(super) consumer: u64,
    pub(super) ack_floor: u64,
}

#[derive(Debug)]
pub(super) struct Instance {
    pub(super) machine: WatchMachine,
    pub(super) found: Option<Found>,
    /// What is on its way to the server, and when it arrives.
    pub(super) requests: Vec<(Duration, SimulatedRequest)>,
    /// What is on its way here, in order.
    pub(super) messages: VecDeque<(Duration, u64, Sent)>,
    pub(super) answers: Vec<(Duration, WatchEvent)>,
    /// The inbox that is listened to.
    pub(super) inbox: Option<u64>,
    pub(super) last_turn: Duration,
    pub(super) frozen_until: Duration,
    pub(super) is_stopping: bool,
}

impl WatchWorld {
    pub(super) fn start_if_due(&mut self, place: usize, in_trouble: bool) {
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

    /// A turn of an instance's loop.
    pub(super) fn turn(&mut self, place: usize) {
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
}
