//! Single steps of the machine. The simulation checks that the promises hold. These tests say what
//! the machine does where several things would be right.

mod answers;
mod denied;
mod permits;
mod refresh;
mod timing;

use std::sync::Arc;
use std::time::Duration;

use super::{
    Action, AnswerOutcome, Event, Items, Machine, PipelineConfig, RefreshOutcome, SendFailure, Time,
};
use crate::deadline::TimeLimits;
use crate::yield_rule::YieldRule;

const MS: Duration = Duration::from_millis(1);

/// The items of a batch. The call has more of them, if the batch is only a part of it.
struct TestItems {
    len: usize,
    total_items: usize,
    resend_window: Duration,
}

impl TestItems {
    fn new(len: usize, total_items: usize) -> Self {
        let resend_window = 60_000 * MS;
        Self {
            len,
            total_items,
            resend_window,
        }
    }
}

impl Items for TestItems {
    type Info = ();

    fn len(&self) -> usize {
        self.len
    }

    fn total_items(&self) -> usize {
        self.total_items
    }

    fn value_bytes(&self, _item: usize) -> usize {
        1
    }

    fn may_group(&self, _item: usize, _info: &()) -> bool {
        true
    }

    fn resend_window(&self, _item: usize, _info: &()) -> Duration {
        self.resend_window
    }
}

struct TestMachine {
    machine: Machine<(), &'static str>,
    items: TestItems,
    now: Time,
}

impl TestMachine {
    /// The machine of a batch that is connected. Its call has 10 s.
    fn new(len: usize, total_items: usize) -> Self {
        let limits = TimeLimits::new(10_000 * MS);
        let mut test = Self {
            machine: Machine::new(len, Arc::new(()), config(), limits, Duration::ZERO),
            items: TestItems::new(len, total_items),
            now: Time::START,
        };
        test.connect(1, true);
        test
    }

    fn tell(&mut self, event: Event<(), &'static str>) {
        self.machine.handle(self.now, event, &self.items);
    }

    fn connect(&mut self, epoch: u64, is_up: bool) {
        self.tell(Event::Connection { epoch, is_up });
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
        self.tell(Event::Tick);
    }

    fn answer(&mut self, token: usize, outcome: AnswerOutcome<&'static str>) {
        self.tell(Event::Answer { token, outcome });
    }

    fn answer_done(&mut self, token: usize, sequence: u64) {
        let sequence = Some(sequence);
        self.answer(token, AnswerOutcome::Done { sequence });
    }

    /// Does what the machine asks for, and returns it as text. All items are sent. Permits are not
    /// granted, and nothing is fetched or opened.
    fn actions(&mut self) -> Vec<String> {
        let mut actions = Vec::new();
        while let Some(action) = self.machine.next_action(self.now, &self.items) {
            actions.push(match &action {
                Action::Send { token, items, .. } => format!("send {items:?} under {token}"),
                action => format!("{action:?}"),
            });
            if let Action::Send { items, .. } = action {
                let count = items.len();
                let failure = None;
                self.tell(Event::Sent { count, failure });
            }
        }
        actions
    }

    /// Takes the first step: all items are sent.
    fn send_all(&mut self) {
        let acquire = format!("AcquirePermits({})", self.items.len);
        assert_eq!(self.actions(), [acquire]);
        self.tell(Event::PermitsGranted(self.items.len));
        self.actions();
    }
}

fn config() -> PipelineConfig {
    PipelineConfig {
        window: 1000,
        window_bytes: 1000,
        burst: 64,
        group: 256,
        yield_rule: YieldRule {
            large_batch: 2000,
            window_beside_small: 8,
            window_when_late: 32,
        },
        backoff: crate::tuning::BACKOFF,
        window_once_denied: 10,
        answer_timeout_once_denied: 400 * MS,
    }
}

#[test]
fn the_driver_is_told_what_is_in_flight() {
    let mut test = TestMachine::new(100, 100);
    assert!(!test.machine.has_in_flight());
    test.actions();
    test.tell(Event::PermitsGranted(64));
    test.actions();
    assert!(test.machine.has_in_flight());
    assert_eq!(test.machine.tokens(), [100]);
    let group = test.machine.group(100).map(|(items, _)| items);
    assert_eq!(group, Some(0..64));
    test.pass(2_000 * MS);
    assert!(!test.machine.has_in_flight());
    assert!(test.machine.tokens().is_empty());
    test.tell(Event::PermitsGranted(36));
    test.actions();
    assert_eq!(test.machine.tokens(), (0..36).collect::<Vec<_>>());
}

#[test]
fn each_answer_makes_room_for_other_requests_and_their_values() {
    let mut test = TestMachine::new(3, 3);
    test.send_all();
    assert_eq!(test.machine.load(), (3, 3));
    test.answer_done(3, 1);
    assert_eq!(test.machine.load(), (2, 2));
    test.answer_done(3, 2);
    test.answer_done(3, 3);
    assert_eq!(test.machine.load(), (0, 0));
    let mut test = TestMachine::new(1, 1);
    test.send_all();
    test.answer_done(0, 1);
    assert_eq!(test.machine.load(), (0, 0), "not of a group");
}

#[test]
fn a_client_that_ends_is_replaced_and_nothing_is_lost() {
    let mut test = TestMachine::new(3, 3);
    test.actions();
    test.tell(Event::PermitsGranted(3));
    let sent = test.machine.next_action(test.now, &test.items);
    assert!(matches!(sent, Some(Action::Send { .. })), "{sent:?}");
    test.tell(Event::Sent {
        count: 1,
        failure: Some(SendFailure::ClientEnded),
    });
    assert_eq!(test.actions(), ["ReleasePermits(2)", "OpenInbox"]);
    test.tell(Event::InboxOpened(false));
    assert!(test.actions().is_empty());
    assert_eq!(test.machine.next_wakeup(), test.now.after(20 * MS));
    test.pass(20 * MS);
    assert_eq!(test.actions(), ["OpenInbox"]);
    test.tell(Event::InboxOpened(true));
    assert_eq!(test.actions(), ["AcquirePermits(2)"]);
    test.tell(Event::PermitsGranted(2));
    assert_eq!(test.actions(), ["send 1..3 under 4"]);
    test.connect(2, true);
    let expected = ["ConnectionLost", "AcquirePermits(3)", "ReleasePermits(3)"];
    assert_eq!(test.actions(), expected);
}
