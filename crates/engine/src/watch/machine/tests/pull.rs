//! The end of a pull.

use super::*;

#[test]
fn nothing_is_called_once_the_consumer_is_gone() {
    let mut watch = Watch::with(attachment(), |settings| settings.max_in_flight = 1);
    watch.deliver("a", id(1));
    watch.deliver("b", id(2));
    watch.tell(WatchEvent::PullEnded(WatchPullEnd::Gone));
    watch.end_call(id(1), CallOutcome::Delivered);
    assert_eq!(watch.calls(), [id(1)]);
}
