use super::*;

const MS: Duration = Duration::from_millis(1);

/// A batch of `len` messages, of which four may be in flight, and ten seconds.
fn machine(len: usize) -> AtomicMachine<&'static str> {
    with_resend_window(len, 60_000 * MS)
}

fn with_resend_window(len: usize, resend_window: Duration) -> AtomicMachine<&'static str> {
    let config = AtomicConfig {
        sizes: vec![100; len],
        window: 4,
        window_bytes: 1000,
        backoff: crate::tuning::BACKOFF,
        resend_window,
    };
    let mut machine = AtomicMachine::new(config, TimeLimits::new(10_000 * MS));
    machine.handle(Duration::ZERO, up(1));
    machine
}

fn up(epoch: u64) -> AtomicEvent<&'static str> {
    AtomicEvent::Connection { epoch, is_up: true }
}

fn answer(attempt: u32, answer: AtomicAnswer<&'static str>) -> AtomicEvent<&'static str> {
    AtomicEvent::Answer { attempt, answer }
}

/// Sends whatever the machine wants to send now. Returns what it wants to do then.
fn send_all(
    machine: &mut AtomicMachine<&'static str>,
    now: Duration,
    sent: &mut Vec<(u32, Range<usize>)>,
) -> AtomicAction<&'static str> {
    loop {
        match machine.next_action(now) {
            AtomicAction::Begin { .. } => machine.handle(now, AtomicEvent::Begun(Ok(1))),
            AtomicAction::Send { attempt, items, .. } => {
                sent.push((attempt, items.clone()));
                let (count, failure) = (items.len(), None);
                machine.handle(now, AtomicEvent::Sent { count, failure });
            }
            AtomicAction::End | AtomicAction::Refresh => {}
            action => return action,
        }
    }
}

/// Goes on until the batch is committed in its first attempt.
fn committed(machine: &mut AtomicMachine<&'static str>, len: usize) {
    let mut sent = Vec::new();
    send_all(machine, Duration::ZERO, &mut sent);
    for _ in 1..len {
        machine.handle(Duration::ZERO, answer(1, AtomicAnswer::Staged));
        send_all(machine, Duration::ZERO, &mut sent);
    }
    assert_eq!(sent.last(), Some(&(1, len - 1..len)));
}

#[test]
fn the_first_message_goes_alone_and_the_commit_last() {
    let mut machine = machine(8);
    let mut sent = Vec::new();
    send_all(&mut machine, Duration::ZERO, &mut sent);
    assert_eq!(sent, [(1, 0..1)], "it tells whether there are batches");
    machine.handle(MS, answer(1, AtomicAnswer::Staged));
    send_all(&mut machine, MS, &mut sent);
    assert_eq!(sent[1..], [(1, 1..5)], "the window is four");
    for _ in 0..5 {
        machine.handle(MS, answer(1, AtomicAnswer::Staged));
        send_all(&mut machine, MS, &mut sent);
    }
    assert!(sent.iter().all(|(_, items)| items.end < 8), "{sent:?}");
    machine.handle(MS, answer(1, AtomicAnswer::Staged));
    send_all(&mut machine, MS, &mut sent);
    assert_eq!(sent.last(), Some(&(1, 7..8)), "all the others are staged");
    machine.handle(MS, answer(1, AtomicAnswer::Stored(Some(9))));
    assert_eq!(
        machine.next_action(MS),
        AtomicAction::Finish(BatchOutcome::Stored(Some(9)))
    );
}

#[test]
fn what_fails_before_the_commit_is_clear() {
    let refusals = [
        answer(1, AtomicAnswer::Refused("no")),
        AtomicEvent::Denied("no"),
        AtomicEvent::Refreshed(Some("no")),
    ];
    for refusal in refusals {
        let mut machine = machine(3);
        send_all(&mut machine, Duration::ZERO, &mut Vec::new());
        machine.handle(MS, refusal);
        assert_eq!(
            machine.next_action(MS),
            AtomicAction::Finish(BatchOutcome::Failed(Some("no")))
        );
    }
    let mut machine = machine(3);
    send_all(&mut machine, Duration::ZERO, &mut Vec::new());
    let late = 9_000 * MS;
    let action = send_all(&mut machine, late, &mut Vec::new());
    assert_eq!(action, AtomicAction::Finish(BatchOutcome::Failed(None)));
}

#[test]
fn a_refused_commit_stores_nothing() {
    let mut machine = machine(3);
    committed(&mut machine, 3);
    machine.handle(MS, answer(1, AtomicAnswer::Refused("full")));
    assert_eq!(
        machine.next_action(MS),
        AtomicAction::Finish(BatchOutcome::Failed(Some("full")))
    );
}

#[test]
fn a_lost_acknowledgement_is_asked_for_by_sending_again() {
    let mut machine = machine(3);
    committed(&mut machine, 3);
    machine.handle(MS, up(2));
    let mut sent = Vec::new();
    machine.next_action(MS);
    assert!(matches!(
        machine.next_action(MS),
        AtomicAction::Begin { attempt: 2 }
    ));
    machine.handle(MS, AtomicEvent::Begun(Ok(2)));
    send_all(&mut machine, MS, &mut sent);
    assert_eq!(sent, [(2, 0..1)]);
    // The answer to the first attempt comes late, and counts.
    machine.handle(2 * MS, answer(1, AtomicAnswer::Stored(None)));
    assert_eq!(
        machine.next_action(2 * MS),
        AtomicAction::Finish(BatchOutcome::Stored(None))
    );
}

#[test]
fn what_may_not_be_sent_again_is_looked_for() {
    let mut machine = with_resend_window(3, Duration::ZERO);
    committed(&mut machine, 3);
    machine.handle(MS, up(2));
    let action = send_all(&mut machine, MS, &mut Vec::new());
    assert_eq!(action, AtomicAction::LookUp);
    machine.handle(2 * MS, AtomicEvent::LookedUp(FoundBatch::Nothing));
    let action = send_all(&mut machine, 2 * MS, &mut Vec::new());
    assert_eq!(action, AtomicAction::Wait { until: 22 * MS });
    let action = send_all(&mut machine, 22 * MS, &mut Vec::new());
    assert_eq!(action, AtomicAction::LookUp, "it may have come meanwhile");
    machine.handle(23 * MS, AtomicEvent::LookedUp(FoundBatch::Whole));
    assert_eq!(
        machine.next_action(23 * MS),
        AtomicAction::Finish(BatchOutcome::Stored(None))
    );
}

#[test]
fn what_is_not_found_is_unclear() {
    let mut machine = with_resend_window(3, Duration::ZERO);
    committed(&mut machine, 3);
    machine.handle(MS, up(2));
    let mut now = MS;
    loop {
        match send_all(&mut machine, now, &mut Vec::new()) {
            AtomicAction::LookUp => machine.handle(now, AtomicEvent::LookedUp(FoundBatch::Nothing)),
            AtomicAction::Wait { until } => now = until,
            action => {
                assert_eq!(action, AtomicAction::Finish(BatchOutcome::Unclear(None)));
                break;
            }
        }
    }
    assert_eq!(now, 10_000 * MS, "a late answer would have helped");
}

#[test]
fn a_refused_second_attempt_says_nothing_of_the_first() {
    for (found, outcome) in [
        (FoundBatch::Whole, BatchOutcome::Stored(None)),
        (FoundBatch::Part, BatchOutcome::PartlyStored(Some("full"))),
        (FoundBatch::Nothing, BatchOutcome::Unclear(Some("full"))),
    ] {
        let mut machine = machine(3);
        committed(&mut machine, 3);
        machine.handle(MS, up(2));
        machine.next_action(MS);
        machine.next_action(MS);
        machine.handle(MS, AtomicEvent::Begun(Ok(2)));
        machine.handle(MS, answer(2, AtomicAnswer::Refused("full")));
        let action = send_all(&mut machine, MS, &mut Vec::new());
        assert_eq!(action, AtomicAction::LookUp);
        machine.handle(MS, AtomicEvent::LookedUp(found));
        let action = send_all(&mut machine, 30 * MS, &mut Vec::new());
        assert_eq!(action, AtomicAction::Finish(outcome));
    }
}

#[test]
fn a_server_without_batches_gets_one_message() {
    let mut machine = machine(100);
    let mut sent = Vec::new();
    send_all(&mut machine, Duration::ZERO, &mut sent);
    machine.handle(MS, answer(1, AtomicAnswer::StoredAlone("stored by itself")));
    assert_eq!(
        machine.next_action(MS),
        AtomicAction::Finish(BatchOutcome::StoredAlone("stored by itself"))
    );
    assert_eq!(sent, [(1, 0..1)]);
}
