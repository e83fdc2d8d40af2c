//! Fetching the stream info again.

use super::*;

const REFRESH: &str = "RefreshInfo { stale: (), with_timeout: true }";

/// Two items that nobody has received, so that the stream info is being fetched.
fn two_that_nobody_received() -> TestMachine {
    let mut test = TestMachine::new(2, 2);
    test.send_all();
    test.answer(2, AnswerOutcome::NoResponders);
    test.answer(2, AnswerOutcome::NoResponders);
    assert_eq!(test.actions(), ["ReleasePermits(2)", REFRESH]);
    test
}

#[test]
fn a_request_that_nobody_receives_waits_longer_each_time() {
    let mut test = TestMachine::new(1, 1);
    // The pause gets longer with each fetch of the stream info. Every second pause is too short for
    // a fetch.
    for (round, pause) in [20, 40, 40, 80, 80, 160, 160, 320, 320, 400, 400]
        .into_iter()
        .enumerate()
    {
        assert_eq!(test.actions(), ["AcquirePermits(1)"]);
        test.tell(Event::PermitsGranted(1));
        assert_eq!(test.actions(), ["send 0..1 under 0"]);
        test.answer(0, AnswerOutcome::NoResponders);
        let mut expected = vec!["ReleasePermits(1)"];
        expected.extend((round % 2 == 0).then_some(REFRESH));
        assert_eq!(test.actions(), expected, "before {pause} ms");
        test.tell(Event::Refreshed(RefreshOutcome::TimedOut));
        assert!(test.actions().is_empty());
        test.pass((pause - 1) * MS);
        assert!(test.actions().is_empty(), "before {pause} ms");
        assert_eq!(test.machine.next_wakeup(), test.now.after(MS));
        test.pass(MS);
    }
}

#[test]
fn no_permits_are_wanted_while_the_stream_info_is_fetched() {
    let mut test = two_that_nobody_received();
    // Both items could be sent again now. Other batches need the permits more.
    test.pass(20 * MS);
    assert!(test.actions().is_empty());
    test.tell(Event::Refreshed(RefreshOutcome::TimedOut));
    test.pass(20 * MS);
    assert_eq!(test.actions(), ["AcquirePermits(2)"]);
}

#[test]
fn no_permits_are_wanted_before_the_stream_info_is_fetched() {
    let mut test = two_that_nobody_received();
    test.tell(Event::Refreshed(RefreshOutcome::TimedOut));
    test.pass(20 * MS);
    assert_eq!(test.actions(), ["AcquirePermits(2)"]);
    test.tell(Event::PermitsGranted(2));
    test.actions();
    test.answer(0, AnswerOutcome::NoResponders);
    assert_eq!(test.actions(), ["ReleasePermits(1)"]);
    // The first item may be sent again just when nobody receives the second.
    test.now = test.now.after(40 * MS);
    test.answer(1, AnswerOutcome::NoResponders);
    assert_eq!(test.actions(), ["ReleasePermits(1)", REFRESH]);
}

#[test]
fn if_the_stream_does_not_exist_all_queued_items_fail() {
    let mut test = two_that_nobody_received();
    test.tell(Event::Refreshed(RefreshOutcome::Failed("no stream")));
    let failed = |item| {
        format!(
            "Failed {{ items: {item}..{}, maybe_stored: false, reason: Error(\"no stream\") }}",
            item + 1
        )
    };
    let finish = "Finish { all_answered: true }".to_owned();
    assert_eq!(test.actions(), [failed(0), failed(1), finish]);
}

#[test]
fn one_fetch_of_the_stream_info_serves_all_that_found_nobody_within_a_pause() {
    for (after, is_fetched) in [(39, false), (40, true)] {
        let mut test = TestMachine::new(1, 1);
        test.send_all();
        test.answer(0, AnswerOutcome::StreamNotFound);
        test.actions();
        test.tell(Event::Refreshed(RefreshOutcome::TimedOut));
        test.pass(20 * MS);
        test.actions();
        test.tell(Event::PermitsGranted(1));
        test.actions();
        test.pass((after - 20) * MS);
        test.answer(0, AnswerOutcome::NoResponders);
        let mut expected = vec!["ReleasePermits(1)"];
        expected.extend(is_fetched.then_some(REFRESH));
        assert_eq!(test.actions(), expected, "{after} ms after the last fetch");
    }
}

#[test]
fn an_error_of_a_stale_stream_info_counts_only_if_the_stream_is_the_same() {
    let refreshed = |write_rules_changed| {
        let mut test = TestMachine::new(1, 1);
        test.send_all();
        test.answer(0, AnswerOutcome::RefusedMaybeStale("too large"));
        let refresh = "RefreshInfo { stale: (), with_timeout: false }";
        assert_eq!(test.actions(), ["ReleasePermits(1)", refresh]);
        let info = Arc::new(());
        test.tell(Event::Refreshed(RefreshOutcome::Info {
            info,
            write_rules_changed,
        }));
        test.actions()
    };
    assert_eq!(refreshed(true), ["AcquirePermits(1)"]);
    let failed = "Failed { items: 0..1, maybe_stored: false, reason: Error(\"too large\") }";
    assert_eq!(refreshed(false), [failed, "Finish { all_answered: true }"]);
}

#[test]
fn an_item_that_awaits_the_stream_info_may_be_stored_if_an_earlier_copy_was_unanswered() {
    let awaiting = || {
        let mut test = TestMachine::new(1, 1);
        test.send_all();
        test.pass(2_000 * MS);
        test.actions();
        test.tell(Event::PermitsGranted(1));
        test.actions();
        test.answer(0, AnswerOutcome::RefusedMaybeStale("too large"));
        test.actions();
        test
    };
    let failed = "Failed { items: 0..1, maybe_stored: true, reason: Error(\"too large\") }";
    let mut test = awaiting();
    test.tell(Event::Refreshed(RefreshOutcome::Info {
        info: Arc::new(()),
        write_rules_changed: false,
    }));
    assert_eq!(test.actions()[0], failed);
    let mut test = awaiting();
    test.pass(8_000 * MS);
    assert_eq!(test.actions()[0], failed, "at the call deadline");
}
