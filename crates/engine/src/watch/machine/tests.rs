//! What the machine decides, in histories of a few events.

mod attachment;
mod deliveries;
mod pull;
mod settling;

use std::sync::Arc;

use super::*;

const CALL: Duration = Duration::from_millis(500);
const STEP: Duration = Duration::from_millis(10);

/// A machine whose pull gives signs.
struct Watch {
    machine: WatchMachine,
    now: Duration,
    /// Messages that the consumer has delivered.
    delivered: u64,
    /// What was done and was not looked at yet.
    actions: Vec<WatchAction>,
}

fn attachment() -> Attachment {
    Attachment {
        is_other: true,
        is_other_stream: true,
        settled_to: 0,
        has_pending: false,
        ack_wait: timing::ack_wait(CALL),
        retention: EXACT,
    }
}

const EXACT: ChangeRetention = ChangeRetention {
    history: 1,
    keeps_last_only: true,
};

fn id(sequence: u64) -> ChangeId {
    at(sequence, sequence * 1000)
}

fn at(sequence: u64, time: u64) -> ChangeId {
    ChangeId { sequence, time }
}

impl Watch {
    fn new(attachment: Attachment) -> Self {
        Self::with(attachment, |_| {})
    }

    fn with(attachment: Attachment, change: impl FnOnce(&mut MachineSettings)) -> Self {
        let mut settings = MachineSettings {
            max_in_flight: 4,
            max_deliver: 3,
            retries: true,
            call_timeout: CALL,
            ack_wait: timing::ack_wait(CALL),
            max_held: 20,
        };
        change(&mut settings);
        let mut watch = Self {
            machine: WatchMachine::new(settings),
            now: Duration::ZERO,
            delivered: 0,
            actions: Vec::new(),
        };
        watch.tell(WatchEvent::Attached(attachment));
        watch.tell(WatchEvent::Heard);
        watch
    }

    fn tell(&mut self, event: WatchEvent) {
        self.now += STEP;
        self.machine.handle(event, self.now);
        while let Some(action) = self.machine.next_action() {
            self.actions.push(action);
        }
    }

    fn deliver(&mut self, key: &str, id: ChangeId) {
        self.deliver_again(key, id, 1);
    }

    fn deliver_again(&mut self, key: &str, id: ChangeId, deliveries: u64) {
        self.delivered += 1;
        self.tell(WatchEvent::Delivered(NewChange {
            id,
            key: Arc::from(key),
            consumer_sequence: self.delivered,
            deliveries,
            wanted: true,
            replaces: false,
        }));
    }

    fn end_call(&mut self, id: ChangeId, outcome: CallOutcome) {
        self.tell(WatchEvent::CallEnded { id, outcome });
    }

    /// Lets time pass, and the pull give signs. The consumer answers that it waits for so many.
    fn pass(&mut self, time: Duration, pending: u64) {
        let end = self.now + time;
        while self.now < end {
            self.tell(WatchEvent::Heard);
            self.answer(pending);
            self.now += Duration::from_millis(90);
        }
    }

    fn answer(&mut self, count: u64) {
        let pending = PendingMessages {
            count,
            delivered: self.delivered,
            settled_to: 0,
            ack_wait: timing::ack_wait(CALL),
        };
        self.answer_with(pending);
    }

    fn answer_with(&mut self, pending: PendingMessages) {
        let question = self.actions.iter().find_map(|action| match action {
            WatchAction::AskPending { question } => Some(*question),
            _ => None,
        });
        if let Some(question) = question {
            self.actions
                .retain(|action| !matches!(action, WatchAction::AskPending { .. }));
            let pending = Some(pending);
            self.tell(WatchEvent::Pending { question, pending });
        }
    }

    fn take(&mut self) -> Vec<WatchAction> {
        std::mem::take(&mut self.actions)
    }

    fn calls(&self) -> Vec<ChangeId> {
        let call = |action: &WatchAction| match action {
            WatchAction::Call { id, .. } => Some(*id),
            _ => None,
        };
        self.actions.iter().filter_map(call).collect()
    }

    fn has(&self, action: WatchAction) -> bool {
        self.actions.contains(&action)
    }
}
