//! What may be under way elsewhere.

use super::*;

#[test]
fn what_an_earlier_process_was_given_may_be_elsewhere() {
    let mut watch = Watch::new(Attachment {
        has_pending: true,
        settled_to: 7,
        ..attachment()
    });
    watch.delivered = 7;
    watch.deliver("a", id(9));
    watch.end_call(id(9), CallOutcome::Delivered);
    assert_eq!(watch.machine.resume_at(), None, "8 may wait");
    watch.pass(timing::LOOK_PAUSE * 2, 1);
    assert_eq!(watch.machine.resume_at(), None);
    watch.pass(timing::LOOK_PAUSE * 2, 0);
    assert_eq!(watch.machine.resume_at(), Some(10));
}

#[test]
fn keys_that_are_overwritten_do_not_keep_it_from_settling() {
    let mut watch = Watch::new(attachment());
    watch.deliver("a", id(1));
    watch.end_call(id(1), CallOutcome::Delivered);
    watch.take();
    // Something was delivered elsewhere.
    watch.delivered += 1;
    let settled_at = watch.now + timing::settle_time(CALL);
    for sequence in 3..200 {
        watch.deliver("a", id(sequence));
        // Between a question and its answer, the key is overwritten.
        watch.deliver("a", id(1000 + sequence));
        watch.answer(1);
        watch.now += Duration::from_millis(80);
    }
    assert!(watch.now > settled_at);
    assert_eq!(watch.calls().len(), 1, "{:?}", watch.calls());
}

#[test]
fn a_change_that_is_elsewhere_is_waited_for() {
    let mut watch = Watch::new(Attachment {
        retention: ChangeRetention {
            history: 5,
            ..EXACT
        },
        ..attachment()
    });
    watch.delivered = 1;
    watch.deliver("a", id(2));
    watch.pass(Duration::from_secs(9), 2);
    assert_eq!(watch.calls(), []);
    watch.deliver_again("a", id(1), 2);
    watch.pass(Duration::from_secs(1), 2);
    assert_eq!(watch.calls(), [id(1)]);
}

#[test]
fn a_bucket_from_which_changes_go_unseen_is_given_more_time() {
    let mut watch = Watch::new(Attachment {
        retention: ChangeRetention {
            history: 2,
            keeps_last_only: false,
        },
        ..attachment()
    });
    for sequence in 1..=3 {
        watch.deliver("a", id(sequence));
        watch.end_call(id(sequence), CallOutcome::Delivered);
    }
    watch.take();
    // 4 is elsewhere, 5 is here, and 6 and 7 remove 5, unseen.
    watch.delivered += 1;
    watch.deliver("a", id(5));
    watch.pass(timing::settle_time(CALL) + Duration::from_secs(2), 1);
    assert_eq!(watch.calls(), []);
    watch.deliver_again("a", id(4), 2);
    watch.pass(timing::ack_wait(CALL), 2);
    assert_eq!(watch.calls(), [id(4)]);
}

#[test]
fn what_is_gone_does_not_stand_in_for_what_is_elsewhere() {
    let mut watch = Watch::new(Attachment {
        retention: ChangeRetention {
            history: 5,
            ..EXACT
        },
        ..attachment()
    });
    watch.deliver("a", id(1));
    watch.end_call(id(1), CallOutcome::Unreachable);
    // The first change expires. The second one is delivered elsewhere, and comes back late.
    watch.delivered += 1;
    watch.take();
    watch.deliver("b", id(3));
    watch.pass(Duration::from_secs(9), 2);
    assert_eq!(watch.calls(), []);
    watch.deliver_again("b", id(2), 2);
    watch.pass(Duration::from_secs(1), 2);
    assert_eq!(watch.calls(), [id(2)], "and the first is not told any more");
}

#[test]
fn the_longest_call_of_all_instances_is_waited_for() {
    let long = Duration::from_secs(20);
    let mut watch = Watch::new(attachment());
    watch.delivered = 1;
    watch.deliver("a", id(2));
    let begun = watch.now;
    while watch.calls().is_empty() {
        watch.tell(WatchEvent::Heard);
        watch.answer_with(PendingMessages {
            count: 1,
            delivered: watch.delivered,
            settled_to: 0,
            ack_wait: timing::ack_wait(long),
        });
        watch.now += Duration::from_millis(90);
    }
    assert!(
        watch.now >= begun + timing::settle_time(long),
        "{:?}",
        watch.now
    );

    let mut watch = Watch::new(Attachment {
        ack_wait: timing::ack_wait(long),
        ..attachment()
    });
    watch.delivered = 1;
    watch.deliver("a", id(2));
    watch.pass(long, 1);
    assert_eq!(watch.calls(), []);
}
