//! What is held, and what comes of it.

use super::*;

#[test]
fn a_bucket_with_history_keeps_so_many_changes_of_a_key_here() {
    let history = 3;
    let mut watch = Watch::new(Attachment {
        retention: ChangeRetention { history, ..EXACT },
        ..attachment()
    });
    for sequence in 1..=100 {
        watch.deliver("a", id(sequence));
    }
    // And the one that is in a call.
    assert_eq!(watch.calls(), [id(1)]);
    assert_eq!(watch.machine.held(), history + 1);
    watch.end_call(id(1), CallOutcome::Failed);
    watch.pass(Duration::from_secs(1), 0);
    assert_eq!(
        watch.calls(),
        [id(1), id(98)],
        "the bucket has the first no more"
    );
}

#[test]
fn what_expires_while_the_component_is_away_does_not_fill_the_memory() {
    let mut watch = Watch::new(attachment());
    let max = watch.machine.settings.max_held;
    for sequence in 1..=10_000 {
        watch.deliver(&format!("key.{sequence}"), id(sequence));
        for call in watch.calls() {
            watch.end_call(call, CallOutcome::Unreachable);
        }
        // The stream has only the last one.
        watch.answer(1);
        watch.take();
        assert!(watch.machine.held() <= 4 * max + 1, "{sequence}");
    }
}

#[test]
fn what_waits_is_delivered_again_if_there_is_too_much() {
    let mut watch = Watch::new(attachment());
    let max = u64::try_from(watch.machine.settings.max_held).unwrap();
    for sequence in 1..=max {
        watch.deliver(&format!("key.{sequence}"), id(sequence));
    }
    let first = id(1);
    watch.end_call(first, CallOutcome::Failed);
    watch.take();
    watch.now += timing::REDELIVERY_TIME;
    watch.deliver("last", id(max + 1));
    assert!(watch.has(WatchAction::NakAndKeep { id: first }));
    // One of those that wait is there, and the others are gone.
    watch.deliver_again("key.1", first, 2);
    for called in 2..=5 {
        watch.end_call(id(called), CallOutcome::Delivered);
    }
    watch.pass(timing::REDELIVERY_TIME * 2, 1);
    assert!(watch.has(WatchAction::Forget { id: id(max) }));
    assert!(!watch.has(WatchAction::Forget { id: first }));
    let second = WatchAction::Call {
        id: first,
        attempt: 2,
    };
    assert!(
        watch.has(second),
        "its tries are not forgotten: {:?}",
        watch.actions
    );
}

#[test]
fn a_sequence_that_is_used_again_is_another_change() {
    let mut watch = Watch::new(attachment());
    watch.deliver("a", at(5, 100));
    watch.end_call(at(5, 100), CallOutcome::Delivered);
    watch.take();
    // Its acknowledgement was lost.
    watch.deliver_again("a", at(5, 100), 2);
    assert!(watch.has(WatchAction::Acknowledge { id: at(5, 100) }));
    watch.pass(Duration::from_secs(1), 0);
    // The server had lost what it had not synced.
    watch.deliver("a", at(4, 200));
    watch.pass(Duration::from_secs(10), 1);
    assert_eq!(watch.calls(), [at(4, 200)]);
    watch.end_call(at(4, 200), CallOutcome::Delivered);
    watch.deliver("a", at(5, 300));
    assert_eq!(watch.calls(), [at(4, 200), at(5, 300)]);
}

#[test]
fn a_clock_that_is_set_back_brings_nothing_twice() {
    let mut watch = Watch::new(attachment());
    for change in [at(5, 1000), at(6, 900)] {
        watch.deliver("a", change);
        watch.end_call(change, CallOutcome::Delivered);
    }
    assert_eq!(watch.calls(), [at(5, 1000), at(6, 900)]);
    watch.take();
    watch.deliver_again("a", at(5, 1000), 2);
    watch.pass(Duration::from_secs(1), 0);
    assert_eq!(watch.calls(), []);
}

#[test]
fn a_stream_that_has_lost_messages_is_noticed_by_what_it_delivers() {
    let mut watch = Watch::new(attachment());
    watch.deliver("a", at(1, 100));
    watch.deliver("b", at(1, 200));
    assert!(watch.has(WatchAction::DropCalls));
    assert!(watch.has(WatchAction::Forget { id: at(1, 100) }));
    watch.pass(Duration::from_secs(10), 1);
    assert_eq!(watch.calls(), [at(1, 100), at(1, 200)]);
}

#[test]
fn deliveries_are_no_calls() {
    let mut watch = Watch::new(attachment());
    watch.deliver_again("a", id(1), 9);
    watch.pass(Duration::from_secs(1), 1);
    for call in 1..=3 {
        assert!(watch.has(WatchAction::Call {
            id: id(1),
            attempt: call
        }));
        assert!(!watch.has(WatchAction::Terminate {
            id: id(1),
            calls: call - 1
        }));
        watch.end_call(id(1), CallOutcome::Failed);
        watch.pass(Duration::from_secs(2), 1);
    }
    assert!(watch.has(WatchAction::Terminate {
        id: id(1),
        calls: 3
    }));
}
