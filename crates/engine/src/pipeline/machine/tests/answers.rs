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
