//! Permission errors: of single requests, and of the inbox.

use super::*;

#[test]
fn without_an_inbox_no_answer_is_waited_for() {
    let mut test = TestMachine::new(100, 100);
    test.actions();
    test.tell(Event::PermitsGranted(64));
    test.actions();
    test.tell(Event::InboxDenied("no inbox"));
    let failed = |items, maybe_stored| {
        format!(
            "Failed {{ items: {items}, maybe_stored: {maybe_stored}, reason: Error(\"no inbox\") }}"
        )
    };
    let actions = test.actions();
    let expected = [failed("0..64", true), failed("64..100", false)];
    assert_eq!(actions[..2], expected, "{actions:?}");
    let finish = "Finish { all_answered: false }";
    assert_eq!(actions.last().map(String::as_str), Some(finish));
}

#[test]
fn denied_items_fail_and_the_rest_of_the_group_is_sent_again_soon() {
    let mut test = TestMachine::new(100, 100);
    assert_eq!(test.actions(), ["AcquirePermits(64)"]);
    test.tell(Event::PermitsGranted(64));
    assert_eq!(
        test.actions(),
        ["send 0..64 under 100", "AcquirePermits(36)"]
    );
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
    assert!(
        actions.contains(&"ReleasePermits(64)".to_owned()),
        "{actions:?}"
    );
    test.tell(Event::PermitsGranted(10));
    let actions = test.actions();
    assert_eq!(actions.len(), 10, "{actions:?}");
    assert!(actions[0].contains("send 1..2 under 1"), "{actions:?}");
    test.pass(399 * MS);
    assert!(test.actions().is_empty());
    test.pass(MS);
    let expected = ["AcquirePermits(10)", "ReleasePermits(10)"];
    assert_eq!(test.actions(), expected);
}

/// Sends the item again, and lets the server deny it. Returns how the item fails.
fn deny_second_copy(test: &mut TestMachine, item: usize) -> String {
    test.actions();
    test.tell(Event::PermitsGranted(1));
    test.actions();
    let denied = vec![(item, "denied")];
    let token = item;
    test.tell(Event::ItemsDenied { token, denied });
    let failed = format!("Failed {{ items: {item}..");
    let mut actions = test.actions().into_iter();
    let failed = actions.find(|action| action.starts_with(&failed));
    failed.expect("the item failed")
}

#[test]
fn a_permission_error_after_an_unanswered_copy_says_that_the_item_may_be_stored() {
    let mut test = TestMachine::new(1, 1);
    test.send_all();
    test.connect(2, true);
    let failed = "Failed { items: 0..1, maybe_stored: true, reason: Error(\"denied\") }";
    assert_eq!(deny_second_copy(&mut test, 0), failed);
}

#[test]
fn items_that_are_sent_again_to_learn_whether_they_are_denied_too_are_not_stored() {
    let failed = "Failed { items: 1..2, maybe_stored: false, reason: Error(\"denied\") }";
    // The first permission error is of another item of the group.
    let mut test = TestMachine::new(2, 2);
    test.send_all();
    let denied = vec![(0, "denied")];
    test.tell(Event::ItemsDenied { token: 2, denied });
    assert_eq!(deny_second_copy(&mut test, 1), failed);
    // The NATS client has dropped the permission error of the second copy.
    let mut test = TestMachine::new(2, 2);
    test.send_all();
    let denied = vec![(0, "denied")];
    test.tell(Event::ItemsDenied { token: 2, denied });
    test.actions();
    test.tell(Event::PermitsGranted(1));
    test.actions();
    test.pass(400 * MS);
    assert_eq!(deny_second_copy(&mut test, 1), failed);
}

#[test]
fn a_permission_error_after_the_answers_of_a_group_says_that_the_item_may_be_stored() {
    // Permissions may change between two copies of an item.
    let failed = "Failed { items: 0..1, maybe_stored: true, reason: Error(\"denied\") }";
    let one_of_two_answers_is_bad = || {
        let mut test = TestMachine::new(2, 2);
        test.send_all();
        test.answer_done(2, 7);
        test.answer(2, AnswerOutcome::NotAcknowledged);
        test
    };
    assert_eq!(
        deny_second_copy(&mut one_of_two_answers_is_bad(), 0),
        failed
    );
    // The second copy stays unanswered, after the other item was denied.
    let mut test = one_of_two_answers_is_bad();
    test.actions();
    test.tell(Event::PermitsGranted(2));
    test.actions();
    let denied = vec![(1, "denied")];
    test.tell(Event::ItemsDenied { token: 1, denied });
    test.pass(400 * MS);
    assert_eq!(deny_second_copy(&mut test, 0), failed);
}
