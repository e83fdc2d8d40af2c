//! Deadlines, timeouts, and the resend window.

use super::*;

#[test]
fn an_unanswered_item_is_sent_again_after_its_answer_timeout() {
    let mut test = TestMachine::new(1, 1);
    test.send_all();
    assert_eq!(test.machine.next_wakeup(), Time::from_start(2_000 * MS));
    test.pass(1_999 * MS);
    assert!(test.actions().is_empty());
    test.pass(MS);
    let expected = ["AcquirePermits(1)", "ReleasePermits(1)"];
    assert_eq!(test.actions(), expected);
    test.tell(Event::PermitsGranted(1));
    assert_eq!(test.actions(), ["send 0..1 under 0"]);
    test.pass(7_000 * MS);
    assert!(
        test.actions().is_empty(),
        "after the send deadline it only waits"
    );
    assert_eq!(test.machine.next_wakeup(), Time::from_start(10_000 * MS));
    test.pass(1_000 * MS);
    let failed = "Failed { items: 0..1, maybe_stored: true, reason: DeadlinePassed }";
    let finish = "Finish { all_answered: false }";
    assert_eq!(test.actions(), [failed, "ReleasePermits(1)", finish]);
}

#[test]
fn an_item_that_waited_too_long_for_its_turn_is_not_sent_again() {
    let mut test = TestMachine::new(1, 1);
    test.send_all();
    test.connect(2, true);
    let expected = ["ConnectionLost", "AcquirePermits(1)", "ReleasePermits(1)"];
    assert_eq!(test.actions(), expected);
    // The call has more time than the resend window.
    test.machine.send_deadline = Time::from_start(200_000 * MS);
    test.machine.call_deadline = test.machine.send_deadline;
    test.pass(60_000 * MS);
    test.tell(Event::PermitsGranted(1));
    let failed = "Failed { items: 0..1, maybe_stored: true, reason: ResendUnsafe }";
    let actions = test.actions();
    assert_eq!(actions[0], failed, "{actions:?}");
    assert_eq!(
        actions.last().map(String::as_str),
        Some("Finish { all_answered: false }")
    );
}

#[test]
fn a_call_whose_time_was_half_over_has_half_of_it_left() {
    let limits = TimeLimits::new(10_000 * MS);
    let mut machine: Machine<(), &'static str> =
        Machine::new(1, Arc::new(()), config(), limits, 5_000 * MS);
    assert_eq!(machine.next_wakeup(), Time::from_start(20 * MS));
    let connected = Event::Connection {
        epoch: 1,
        is_up: true,
    };
    let items = TestItems::new(1, 1);
    machine.handle(Time::START, connected, &items);
    assert_eq!(machine.next_wakeup(), Time::from_start(4_000 * MS));
}

#[test]
fn a_full_queue_fails_an_item_for_the_reason_why_it_was_too_late_to_send_it() {
    let queue_full_after = |resend_window| {
        let mut test = TestMachine::new(1, 1);
        test.items.resend_window = resend_window;
        test.send_all();
        test.pass(2_000 * MS);
        test.actions();
        test.tell(Event::PermitsGranted(1));
        let send = test.machine.next_action(test.now, &test.items);
        let Some(Action::Send { send_before, .. }) = send else {
            panic!("{send:?}");
        };
        test.now = send_before;
        test.tell(Event::Sent {
            count: 0,
            failure: Some(SendFailure::QueueFull),
        });
        test.actions().remove(0)
    };
    let failed = "Failed { items: 0..1, maybe_stored: true, reason: ResendUnsafe }";
    assert_eq!(queue_full_after(3_000 * MS), failed);
    let failed = "Failed { items: 0..1, maybe_stored: true, reason: DeadlinePassed }";
    assert_eq!(queue_full_after(60_000 * MS), failed);
}
