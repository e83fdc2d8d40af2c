//! What the machine decides, in histories of a few events.

use super::*;

const CALL: Duration = Duration::from_millis(500);
const STEP: Duration = Duration::from_millis(10);

/// A machine whose pull gives signs.
struct Watch {
    machine: WatchMachine,
    now: Duration,
    /// Messages that the consumer has delivered.
    delivered: u64,
    /// What was done and was not looked at yet.
    actions: Vec<WatchAction>,
}

fn attachment() -> Attachment {
    Attachment {
        is_other: true,
        is_other_stream: true,
        settled_to: 0,
        has_pending: false,
        ack_wait: timing::ack_wait(CALL),
        retention: EXACT,
    }
}

const EXACT: ChangeRetention = ChangeRetention {
    history: 1,
    keeps_last_only: true,
};

fn id(sequence: u64) -> ChangeId {
    at(sequence, sequence * 1000)
}

fn at(sequence: u64, time: u64) -> ChangeId {
    ChangeId { sequence, time }
}

impl Watch {
    fn new(attachment: Attachment) -> Self {
        Self::with(attachment, |_| {})
    }

    fn with(attachment: Attachment, change: impl FnOnce(&mut MachineSettings)) -> Self {
        let mut settings = MachineSettings {
            max_in_flight: 4,
            max_deliver: 3,
            retries: true,
            call_timeout: CALL,
            ack_wait: timing::ack_wait(CALL),
            max_held: 20,
        };
        change(&mut settings);
        let mut watch = Self {
            machine: WatchMachine::new(settings),
            now: Duration::ZERO,
            delivered: 0,
            actions: Vec::new(),
        };
        watch.tell(WatchEvent::Attached(attachment));
        watch.tell(WatchEvent::Heard);
        watch
    }

    fn tell(&mut self, event: WatchEvent) {
        self.now += STEP;
        self.machine.handle(event, self.now);
        while let Some(action) = self.machine.next_action() {
            self.actions.push(action);
        }
    }

    fn deliver(&mut self, key: &str, id: ChangeId) {
        self.deliver_again(key, id, 1);
    }

    fn deliver_again(&mut self, key: &str, id: ChangeId, deliveries: u64) {
        self.delivered += 1;
        self.tell(WatchEvent::Delivered(NewChange {
            id,
            key: Arc::from(key),
            consumer_sequence: self.delivered,
            deliveries,
            wanted: true,
            replaces: false,
        }));
    }

    fn end_call(&mut self, id: ChangeId, outcome: CallOutcome) {
        self.tell(WatchEvent::CallEnded { id, outcome });
    }

    /// Lets time pass, and the pull give signs. The consumer answers that it waits for so many.
    fn pass(&mut self, time: Duration, pending: u64) {
        let end = self.now + time;
        while self.now < end {
            self.tell(WatchEvent::Heard);
            self.answer(pending);
            self.now += Duration::from_millis(90);
        }
    }

    fn answer(&mut self, count: u64) {
        let pending = PendingMessages {
            count,
            delivered: self.delivered,
            settled_to: 0,
            ack_wait: timing::ack_wait(CALL),
        };
        self.answer_with(pending);
    }

    fn answer_with(&mut self, pending: PendingMessages) {
        let question = self.actions.iter().find_map(|action| match action {
            WatchAction::AskPending { question } => Some(*question),
            _ => None,
        });
        if let Some(question) = question {
            self.actions
                .retain(|action| !matches!(action, WatchAction::AskPending { .. }));
            let pending = Some(pending);
            self.tell(WatchEvent::Pending { question, pending });
        }
    }

    fn take(&mut self) -> Vec<WatchAction> {
        std::mem::take(&mut self.actions)
    }

    fn calls(&self) -> Vec<ChangeId> {
        let call = |action: &WatchAction| match action {
            WatchAction::Call { id, .. } => Some(*id),
            _ => None,
        };
        self.actions.iter().filter_map(call).collect()
    }

    fn has(&self, action: WatchAction) -> bool {
        self.actions.contains(&action)
    }
}

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

#[test]
fn nothing_is_called_once_the_consumer_is_gone() {
    let mut watch = Watch::with(attachment(), |settings| settings.max_in_flight = 1);
    watch.deliver("a", id(1));
    watch.deliver("b", id(2));
    watch.tell(WatchEvent::PullEnded(WatchPullEnd::Gone));
    watch.end_call(id(1), CallOutcome::Delivered);
    assert_eq!(watch.calls(), [id(1)]);
}
