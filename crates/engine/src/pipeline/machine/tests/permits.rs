//! Permits: how many a batch acquires, and when it gives them back.

use super::*;

#[test]
fn a_batch_keeps_its_place_in_the_queue_for_permits_when_it_wants_another_number() {
    let mut test = TestMachine::new(40, 40);
    assert_eq!(test.actions(), ["AcquirePermits(40)"]);
    test.tell(Event::PermitsGranted(40));
    assert_eq!(test.actions(), ["send 0..40 under 40"]);
    let mut test = TestMachine::new(200, 3000);
    assert_eq!(test.actions(), ["AcquirePermits(64)"]);
    // From now on it yields to small batches, and wants only a few permits.
    let until = test.now.after(1000 * MS);
    test.tell(Event::SmallBatchesExpectedUntil(until));
    assert!(test.actions().is_empty(), "it goes on waiting for 64");
    test.tell(Event::PermitsGranted(64));
    let expected = [
        "ReleasePermits(60)",
        "send 0..4 under 200",
        "AcquirePermits(4)",
    ];
    assert_eq!(test.actions(), expected);
}

#[test]
fn a_batch_that_wants_no_permits_does_not_wait_for_any() {
    let mut test = TestMachine::new(3, 3);
    assert_eq!(test.actions(), ["AcquirePermits(3)"]);
    test.connect(1, false);
    assert_eq!(test.actions(), ["CancelAcquire"]);
    test.tell(Event::PermitsGranted(3));
    assert_eq!(test.actions(), ["ReleasePermits(3)"]);
    test.connect(2, true);
    assert_eq!(test.actions(), ["AcquirePermits(3)"]);
    test.pass(9_000 * MS);
    let failed = "Failed { items: 0..3, maybe_stored: false, reason: DeadlinePassed }";
    let finish = "Finish { all_answered: true }";
    assert_eq!(test.actions(), [failed, "CancelAcquire", finish]);
}

#[test]
fn the_rest_of_a_large_call_yields_to_small_batches() {
    let acquired = |len, total_items| {
        let mut test = TestMachine::new(len, total_items);
        let until = test.now.after(1000 * MS);
        test.tell(Event::SmallBatchesExpectedUntil(until));
        test.actions()
    };
    assert_eq!(acquired(20, 20), ["AcquirePermits(20)"], "a small batch");
    assert_eq!(acquired(20, 1999), ["AcquirePermits(20)"]);
    assert_eq!(acquired(20, 2000), ["AcquirePermits(4)"], "of a large call");
    let mut test = TestMachine::new(20, 2000);
    let until = test.now.after(10 * MS);
    test.tell(Event::SmallBatchesExpectedUntil(until));
    test.pass(10 * MS);
    assert_eq!(test.actions(), ["AcquirePermits(20)"], "no small ones come");
}

#[test]
fn a_large_call_that_is_late_yields_less() {
    let mut test = TestMachine::new(2000, 2000);
    test.pass(1_000 * MS);
    let until = test.now.after(1000 * MS);
    test.tell(Event::SmallBatchesExpectedUntil(until));
    assert_eq!(test.actions(), ["AcquirePermits(16)"]);
    test.tell(Event::PermitsGranted(16));
    let expected = ["send 0..16 under 2000", "AcquirePermits(16)"];
    assert_eq!(test.actions(), expected);
    test.tell(Event::PermitsGranted(16));
    assert_eq!(test.actions(), ["send 16..32 under 2000"], "one group");
}

#[test]
fn permits_that_come_after_the_end_are_given_back() {
    let mut test = TestMachine::new(1, 1);
    test.send_all();
    test.answer_done(0, 1);
    let finish = "Finish { all_answered: true }";
    assert_eq!(test.actions(), ["Done(0..1)", "ReleasePermits(1)", finish]);
    test.tell(Event::PermitsGranted(3));
    test.tell(Event::Tick);
    assert_eq!(test.actions(), ["ReleasePermits(3)"]);
}
