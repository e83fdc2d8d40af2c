//! Single steps of the machine. The simulation checks that the promises hold; these say what the
//! machine does where several things would be right.

use std::sync::Arc;
use std::time::Duration;

use super::{Action, Event, Items, Machine, Refreshed, Reply, Sizes, Time, Unsent};
use crate::deadline::TimeLimits;

const MS: Duration = Duration::from_millis(1);

/// So many items, of a call of so many.
struct TestItems(usize, usize);

impl Items for TestItems {
    type Info = ();

    fn len(&self) -> usize {
        self.0
    }

    fn call_len(&self) -> usize {
        self.1
    }

    fn weight(&self, _item: usize) -> usize {
        1
    }

    fn groups(&self, _item: usize, _info: &()) -> bool {
        true
    }

    fn repeat_within(&self, _item: usize, _info: &()) -> Duration {
        60_000 * MS
    }
}

struct TestMachine {
    machine: Machine<(), &'static str>,
    items: TestItems,
    now: Time,
}

impl TestMachine {
    /// A batch of `len` items, of a call of `call_len`, that is connected. Its call has 10 s.
    fn new(len: usize, call_len: usize) -> Self {
        let sizes = Sizes {
            window: 1000,
            window_bytes: 1000,
            burst: 64,
            group: 256,
            large: 2000,
            window_beside_small: 8,
            window_of_late: 32,
            backoff: (20 * MS, 400 * MS),
            window_once_denied: 10,
            patience_once_denied: 400 * MS,
        };
        let limits = TimeLimits::new(10_000 * MS);
        let mut test = Self {
            machine: Machine::new(len, Arc::new(()), sizes, limits, Duration::ZERO),
            items: TestItems(len, call_len),
            now: Time::START,
        };
        test.connect(1, true);
        test
    }

    fn tell(&mut self, event: Event<(), &'static str>) {
        self.machine.handle(self.now, event, &self.items);
    }

    fn connect(&mut self, epoch: u64, up: bool) {
        self.tell(Event::Connection { epoch, up });
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
        self.tell(Event::Tick);
    }

    fn answer(&mut self, token: usize, reply: Reply<&'static str>) {
        self.tell(Event::Answer { token, reply });
    }

    /// Does all that is to be done, but for sending nothing and never granting a permit, and says what
    /// it was.
    fn actions(&mut self) -> Vec<String> {
        let mut actions = Vec::new();
        while let Some(action) = self.machine.next_action(self.now, &self.items) {
            actions.push(match &action {
                Action::Send { token, items, .. } => format!("send {items:?} under {token}"),
                action => format!("{action:?}"),
            });
            if let Action::Send { items, .. } = action {
                let count = items.len();
                let stopped = None;
                self.tell(Event::Sent { count, stopped });
            }
        }
        actions
    }

    /// Takes the first step: all items are sent.
    fn send_all(&mut self) {
        let asked = format!("Ask({})", self.items.0);
        assert_eq!(self.actions(), [asked]);
        self.tell(Event::Granted(self.items.0));
        self.actions();
    }
}

#[test]
fn a_batch_keeps_its_place_for_permits_when_it_wants_another_number() {
    let mut test = TestMachine::new(40, 40);
    assert_eq!(test.actions(), ["Ask(40)"]);
    test.tell(Event::Granted(40));
    assert_eq!(test.actions(), ["send 0..40 under 40"]);
    let mut test = TestMachine::new(200, 3000);
    assert_eq!(test.actions(), ["Ask(64)"]);
    // It gives way to small batches from now on, and wants only a few.
    test.tell(Event::SmallBatchesUntil(test.now.after(1000 * MS)));
    assert!(test.actions().is_empty(), "it goes on waiting for 64");
    test.tell(Event::Granted(64));
    assert_eq!(
        test.actions(),
        ["Release(60)", "send 0..4 under 200", "Ask(4)"]
    );
}

#[test]
fn a_batch_that_wants_no_permits_does_not_wait_for_any() {
    let mut test = TestMachine::new(3, 3);
    assert_eq!(test.actions(), ["Ask(3)"]);
    test.connect(1, false);
    assert_eq!(test.actions(), ["StopAsking"]);
    test.tell(Event::Granted(3));
    assert_eq!(test.actions(), ["Release(3)"]);
    test.connect(2, true);
    assert_eq!(test.actions(), ["Ask(3)"]);
    test.pass(9_000 * MS);
    let failed = "Failed { items: 0..3, unanswered: false, why: TimeOver }";
    let finish = "Finish { all_answered: true }";
    assert_eq!(test.actions(), [failed, "StopAsking", finish]);
}

#[test]
fn what_is_left_over_of_a_large_call_gives_way_to_small_batches() {
    let asked = |len, call_len| {
        let mut test = TestMachine::new(len, call_len);
        test.tell(Event::SmallBatchesUntil(test.now.after(1000 * MS)));
        test.actions()
    };
    assert_eq!(asked(20, 20), ["Ask(20)"], "a small batch");
    assert_eq!(asked(20, 1999), ["Ask(20)"]);
    assert_eq!(asked(20, 2000), ["Ask(4)"], "left over of a large one");
    let mut test = TestMachine::new(20, 2000);
    test.tell(Event::SmallBatchesUntil(test.now.after(10 * MS)));
    test.pass(10 * MS);
    assert_eq!(test.actions(), ["Ask(20)"], "no small ones come any more");
}

#[test]
fn the_driver_is_told_what_is_in_flight() {
    let mut test = TestMachine::new(100, 100);
    assert!(!test.machine.has_in_flight());
    test.actions();
    test.tell(Event::Granted(64));
    test.actions();
    assert!(test.machine.has_in_flight());
    assert_eq!(test.machine.tokens(), [100]);
    let group = test.machine.group(100).map(|(items, _)| items);
    assert_eq!(group, Some(0..64));
    test.pass(2_000 * MS);
    assert!(!test.machine.has_in_flight());
    assert!(test.machine.tokens().is_empty());
    test.tell(Event::Granted(36));
    test.actions();
    assert_eq!(test.machine.tokens(), (0..36).collect::<Vec<_>>());
}

#[test]
fn whoever_may_not_hear_answers_waits_for_none() {
    let mut test = TestMachine::new(100, 100);
    test.actions();
    test.tell(Event::Granted(64));
    test.actions();
    test.tell(Event::InboxDenied("deaf"));
    let failed = |items, unanswered| {
        format!("Failed {{ items: {items}, unanswered: {unanswered}, why: Given(\"deaf\") }}")
    };
    let actions = test.actions();
    let expected = [failed("0..64", true), failed("64..100", false)];
    assert_eq!(actions[..2], expected, "{actions:?}");
    let finish = "Finish { all_answered: false }";
    assert_eq!(actions.last().map(String::as_str), Some(finish));
}

#[test]
fn permits_that_come_after_the_end_are_given_back() {
    let mut test = TestMachine::new(1, 1);
    test.send_all();
    test.answer(0, Reply::Done { place: 0 });
    let finish = "Finish { all_answered: true }";
    assert_eq!(test.actions(), ["Done(0..1)", "Release(1)", finish]);
    test.tell(Event::Granted(3));
    test.tell(Event::Tick);
    assert_eq!(test.actions(), ["Release(3)"]);
}

#[test]
fn a_large_call_that_is_late_gives_way_less() {
    let mut test = TestMachine::new(2000, 2000);
    test.pass(1_000 * MS);
    test.tell(Event::SmallBatchesUntil(test.now.after(1000 * MS)));
    assert_eq!(test.actions(), ["Ask(16)"]);
    test.tell(Event::Granted(16));
    assert_eq!(test.actions(), ["send 0..16 under 2000", "Ask(16)"]);
    test.tell(Event::Granted(16));
    assert_eq!(test.actions(), ["send 16..32 under 2000"], "one group");
}

#[test]
fn a_group_is_done_if_all_answers_are_good_and_of_different_requests() {
    let mut test = TestMachine::new(2, 2);
    test.send_all();
    test.answer(2, Reply::Done { place: 8 });
    test.answer(2, Reply::Done { place: 7 });
    let finish = "Finish { all_answered: true }";
    assert_eq!(test.actions(), ["Done(0..2)", "Release(2)", finish]);

    let mut test = TestMachine::new(2, 2);
    test.send_all();
    test.answer(2, Reply::Done { place: 7 });
    test.answer(2, Reply::Done { place: 7 });
    assert_eq!(test.actions(), ["Ask(2)", "Release(2)"], "one came twice");
    test.tell(Event::Granted(2));
    assert_eq!(test.actions(), ["send 0..1 under 0", "send 1..2 under 1"]);
}

#[test]
fn whom_nobody_answers_waits_longer_each_time() {
    let mut test = TestMachine::new(1, 1);
    // The pauses get longer when the stream info has been fetched, which every second of them is
    // too short for.
    for (round, pause) in [20, 40, 40, 80, 80, 160, 160, 320, 320, 400, 400]
        .into_iter()
        .enumerate()
    {
        assert_eq!(test.actions(), ["Ask(1)"]);
        test.tell(Event::Granted(1));
        assert_eq!(test.actions(), ["send 0..1 under 0"]);
        test.answer(0, Reply::NoResponders);
        let mut expected = vec!["Release(1)"];
        expected.extend((round % 2 == 0).then_some("Refresh { stale: (), brief: true }"));
        assert_eq!(test.actions(), expected, "before {pause} ms");
        test.tell(Event::Refreshed(Refreshed::Silent));
        assert!(test.actions().is_empty());
        test.pass((pause - 1) * MS);
        assert!(test.actions().is_empty(), "before {pause} ms");
        assert_eq!(test.machine.wake(), test.now.after(MS));
        test.pass(MS);
    }
}

#[test]
fn when_the_stream_is_gone_all_that_waits_fails() {
    let mut test = TestMachine::new(2, 2);
    test.send_all();
    test.answer(2, Reply::NoResponders);
    test.answer(2, Reply::NoResponders);
    test.actions();
    test.tell(Event::Refreshed(Refreshed::Failed("gone")));
    let failed = |item| {
        format!(
            "Failed {{ items: {item}..{}, unanswered: false, why: Given(\"gone\") }}",
            item + 1
        )
    };
    let finish = "Finish { all_answered: true }".to_owned();
    assert_eq!(test.actions(), [failed(0), failed(1), finish]);
}

#[test]
fn one_fetch_of_the_stream_info_serves_all_that_found_nobody() {
    let mut test = TestMachine::new(1, 1);
    test.send_all();
    test.answer(0, Reply::Gone);
    test.actions();
    test.tell(Event::Refreshed(Refreshed::Silent));
    test.pass(20 * MS);
    test.actions();
    test.tell(Event::Granted(1));
    test.actions();
    test.pass(19 * MS);
    test.answer(0, Reply::NoResponders);
    assert_eq!(test.actions(), ["Release(1)"], "39 ms after the last one");
}

#[test]
fn an_unanswered_item_is_sent_again_after_its_patience() {
    let mut test = TestMachine::new(1, 1);
    test.send_all();
    assert_eq!(test.machine.wake(), Time::from_start(2_000 * MS));
    test.pass(1_999 * MS);
    assert!(test.actions().is_empty());
    test.pass(MS);
    assert_eq!(test.actions(), ["Ask(1)", "Release(1)"]);
    test.tell(Event::Granted(1));
    assert_eq!(test.actions(), ["send 0..1 under 0"]);
    test.pass(7_000 * MS);
    assert!(
        test.actions().is_empty(),
        "after the time for sending it only waits"
    );
    assert_eq!(test.machine.wake(), Time::from_start(10_000 * MS));
    test.pass(1_000 * MS);
    let failed = "Failed { items: 0..1, unanswered: true, why: TimeOver }";
    let finish = "Finish { all_answered: false }";
    assert_eq!(test.actions(), [failed, "Release(1)", finish]);
}

#[test]
fn what_was_refused_is_not_waited_for_and_the_rest_is_asked_again_soon() {
    let mut test = TestMachine::new(100, 100);
    assert_eq!(test.actions(), ["Ask(64)"]);
    test.tell(Event::Granted(64));
    assert_eq!(test.actions(), ["send 0..64 under 100", "Ask(36)"]);
    let denied = vec![(0, "denied"), (5, "denied")];
    test.tell(Event::ItemsDenied { token: 100, denied });
    let actions = test.actions();
    let failed = actions.iter().filter(|action| action.contains("denied"));
    assert_eq!(
        failed.count(),
        3,
        "all that was not sent fails with them: {actions:?}"
    );
    // The others of the group are sent by themselves, a few at a time.
    assert!(actions.contains(&"Release(64)".to_owned()), "{actions:?}");
    test.tell(Event::Granted(10));
    let actions = test.actions();
    assert_eq!(actions.len(), 10, "{actions:?}");
    assert!(actions[0].contains("send 1..2 under 1"), "{actions:?}");
    test.pass(399 * MS);
    assert!(test.actions().is_empty());
    test.pass(MS);
    assert_eq!(test.actions(), ["Ask(10)", "Release(10)"]);
}

#[test]
fn a_client_that_ends_is_replaced_and_nothing_is_lost() {
    let mut test = TestMachine::new(3, 3);
    test.actions();
    test.tell(Event::Granted(3));
    let sent = test.machine.next_action(test.now, &test.items);
    assert!(matches!(sent, Some(Action::Send { .. })), "{sent:?}");
    test.tell(Event::Sent {
        count: 1,
        stopped: Some(Unsent::ClientEnded),
    });
    assert_eq!(test.actions(), ["Release(2)", "OpenInbox"]);
    test.tell(Event::InboxOpened(false));
    assert!(test.actions().is_empty());
    assert_eq!(test.machine.wake(), test.now.after(20 * MS));
    test.pass(20 * MS);
    assert_eq!(test.actions(), ["OpenInbox"]);
    test.tell(Event::InboxOpened(true));
    assert_eq!(test.actions(), ["Ask(2)"]);
    test.tell(Event::Granted(2));
    assert_eq!(test.actions(), ["send 1..3 under 4"]);
    test.connect(2, true);
    assert_eq!(test.actions(), ["ConnectionLost", "Ask(3)", "Release(3)"]);
}

#[test]
fn an_item_that_waited_too_long_for_its_turn_is_not_sent_again() {
    let mut test = TestMachine::new(1, 1);
    test.send_all();
    test.connect(2, true);
    assert_eq!(test.actions(), ["ConnectionLost", "Ask(1)", "Release(1)"]);
    // Its call has more time than the server knows it again.
    test.machine.settle = Time::from_start(200_000 * MS);
    test.machine.end = test.machine.settle;
    test.pass(60_000 * MS);
    test.tell(Event::Granted(1));
    let failed = "Failed { items: 0..1, unanswered: true, why: NotRepeatable }";
    let actions = test.actions();
    assert_eq!(actions[0], failed, "{actions:?}");
    assert_eq!(
        actions.last().map(String::as_str),
        Some("Finish { all_answered: false }")
    );
}

#[test]
fn an_error_of_an_old_stream_info_counts_only_if_the_stream_is_the_same() {
    let refreshed = |max_message_changed| {
        let mut test = TestMachine::new(1, 1);
        test.send_all();
        test.answer(0, Reply::Outdated("too large"));
        let refresh = "Refresh { stale: (), brief: false }";
        assert_eq!(test.actions(), ["Release(1)", refresh]);
        let info = Arc::new(());
        test.tell(Event::Refreshed(Refreshed::Info {
            info,
            max_message_changed,
        }));
        test.actions()
    };
    assert_eq!(refreshed(true), ["Ask(1)"]);
    let failed = "Failed { items: 0..1, unanswered: false, why: Given(\"too large\") }";
    assert_eq!(refreshed(false), [failed, "Finish { all_answered: true }"]);
}

#[test]
fn a_call_whose_time_was_half_over_has_half_of_it_left() {
    let limits = TimeLimits::new(10_000 * MS);
    let sizes = TestMachine::new(1, 1).machine.sizes;
    let mut machine: Machine<(), &'static str> =
        Machine::new(1, Arc::new(()), sizes, limits, 5_000 * MS);
    assert_eq!(machine.wake(), Time::from_start(20 * MS));
    let up = Event::Connection { epoch: 1, up: true };
    machine.handle(Time::START, up, &TestItems(1, 1));
    assert_eq!(machine.wake(), Time::from_start(4_000 * MS));
}
