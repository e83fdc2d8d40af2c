//! Answers: what makes a group done, and what becomes of an item that failed.

use super::*;

#[test]
fn a_group_is_done_if_all_answers_are_good_and_of_different_requests() {
    let mut test = TestMachine::new(2, 2);
    test.send_all();
    test.answer_done(2, 8);
    test.answer_done(2, 7);
    let finish = "Finish { all_answered: true }";
    assert_eq!(test.actions(), ["Done(0..2)", "ReleasePermits(2)", finish]);

    let mut test = TestMachine::new(2, 2);
    test.send_all();
    test.answer_done(2, 7);
    test.answer_done(2, 7);
    let expected = ["AcquirePermits(2)", "ReleasePermits(2)"];
    assert_eq!(test.actions(), expected, "one answer came twice");
    test.tell(Event::PermitsGranted(2));
    assert_eq!(test.actions(), ["send 0..1 under 0", "send 1..2 under 1"]);
}

/// Grants a permit for the next item, and lets it be sent again.
fn resend_one(test: &mut TestMachine, item: usize) {
    test.actions();
    test.tell(Event::PermitsGranted(1));
    let send = format!("send {item}..{} under {item}", item + 1);
    assert!(test.actions().contains(&send));
}

fn failed(test: &mut TestMachine) -> String {
    let actions = test.actions();
    let failed = actions.iter().find(|action| action.starts_with("Failed"));
    failed.expect("an item failed").clone()
}

#[test]
fn an_error_after_an_unanswered_copy_says_that_the_item_may_be_stored() {
    let mut test = TestMachine::new(1, 1);
    test.send_all();
    test.pass(2_000 * MS);
    resend_one(&mut test, 0);
    test.answer(0, AnswerOutcome::Refused("refused"));
    let expected = "Failed { items: 0..1, maybe_stored: true, reason: Error(\"refused\") }";
    assert_eq!(failed(&mut test), expected);
}

#[test]
fn an_error_after_a_group_says_that_the_item_may_be_stored_if_the_server_has_not_looked_for_it() {
    let failed_after_group = |outcome| {
        let mut test = TestMachine::new(2, 2);
        test.send_all();
        test.answer_done(2, 7);
        test.answer(2, AnswerOutcome::NotAcknowledged);
        resend_one(&mut test, 0);
        test.answer(0, outcome);
        failed(&mut test)
    };
    let expected = "Failed { items: 0..1, maybe_stored: false, reason: Error(\"refused\") }";
    let refused = AnswerOutcome::Refused("refused");
    assert_eq!(failed_after_group(refused), expected);
    let expected = "Failed { items: 0..1, maybe_stored: true, reason: Error(\"no space\") }";
    let no_space = AnswerOutcome::RefusedBeforeIdCheck("no space");
    assert_eq!(failed_after_group(no_space), expected);
}

#[test]
fn if_an_answer_came_twice_another_request_of_the_group_is_unanswered() {
    let mut test = TestMachine::new(2, 2);
    test.send_all();
    test.answer_done(2, 7);
    test.answer_done(2, 7);
    resend_one(&mut test, 0);
    test.answer(0, AnswerOutcome::Refused("refused"));
    let expected = "Failed { items: 0..1, maybe_stored: true, reason: Error(\"refused\") }";
    assert_eq!(failed(&mut test), expected);
}
