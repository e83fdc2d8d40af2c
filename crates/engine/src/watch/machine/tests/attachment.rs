//! Another consumer, or another stream.

use super::*;

#[test]
fn a_call_for_a_stream_that_is_gone_acknowledges_nothing_of_the_next_one() {
    let mut watch = Watch::new(attachment());
    watch.deliver("a", at(1, 100));
    assert_eq!(watch.calls(), [at(1, 100)]);
    watch.tell(WatchEvent::PullEnded(WatchPullEnd::Gone));
    watch.take();
    watch.tell(WatchEvent::Attached(attachment()));
    assert!(watch.has(WatchAction::DropCalls));
    watch.delivered = 0;
    watch.deliver("b", at(1, 200));
    watch.end_call(at(1, 100), CallOutcome::Delivered);
    assert!(!watch.has(WatchAction::Acknowledge { id: at(1, 100) }));
    assert_eq!(watch.calls(), [], "the call may go on for a while");
    watch.pass(Duration::from_secs(10), 1);
    assert_eq!(watch.calls(), [at(1, 200)]);
}

#[test]
fn a_consumer_in_place_of_one_that_is_gone_begins_at_what_is_not_done_anywhere() {
    let mut watch = Watch::new(attachment());
    assert_eq!(watch.machine.resume_at(), None, "nothing has come");
    for sequence in 1..=3 {
        watch.deliver(&format!("key.{sequence}"), id(sequence));
    }
    watch.end_call(id(1), CallOutcome::Delivered);
    watch.end_call(id(2), CallOutcome::Failed);
    watch.end_call(id(3), CallOutcome::Delivered);
    assert_eq!(watch.machine.resume_at(), Some(2));

    // Another instance has it now, and the bucket's place is not known here.
    watch.now += Duration::from_secs(10);
    watch.tell(WatchEvent::Tick);
    assert_eq!(watch.machine.held(), 0);
    assert_eq!(watch.machine.resume_at(), None);
    watch.tell(WatchEvent::Heard);
    watch.pass(Duration::from_secs(1), 0);
    assert_eq!(watch.machine.resume_at(), Some(4));
}
