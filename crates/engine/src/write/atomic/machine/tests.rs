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
        backoff: (20 * MS, 400 * MS),
        resend_window,
    };
    let mut machine = AtomicMachine::new(config, TimeLimits::new(10_000 * MS));
    machine.handle(Duration::ZERO, up(1));
    machine
}

fn up(epoch: u64) -> Event<&'static str> {
    Event::Connection { epoch, is_up: true }
}

fn answer(attempt: u32, answer: Answer<&'static str>) -> Event<&'static str> {
    Event::Answer { attempt, answer }
}

/// Sends whatever the machine wants to send now. Returns what it wants to do then.
fn send_all(
    machine: &mut AtomicMachine<&'static str>,
    now: Duration,
    sent: &mut Vec<(u32, Range<usize>)>,
) -> Action<&'static str> {
    loop {
        match machine.next_action(now) {
            Action::Begin { .. } => machine.handle(now, Event::Begun(Ok(1))),
            Action::Send { attempt, items, .. } => {
                sent.push((attempt, items.clone()));
                let (count, failure) = (items.len(), None);
                machine.handle(now, Event::Sent { count, failure });
            }
            Action::End | Action::Refresh => {}
            action => return action,
        }
    }
}

/// Goes on until the batch is committed in its first attempt.
fn committed(machine: &mut AtomicMachine<&'static str>, len: usize) {
    let mut sent = Vec::new();
    send_all(machine, Duration::ZERO, &mut sent);
    for _ in 1..len {
        machine.handle(Duration::ZERO, answer(1, Answer::Staged));
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
    machine.handle(MS, answer(1, Answer::Staged));
    send_all(&mut machine, MS, &mut sent);
    assert_eq!(sent[1..], [(1, 1..5)], "the window is four");
    for _ in 0..5 {
        machine.handle(MS, answer(1, Answer::Staged));
        send_all(&mut machine, MS, &mut sent);
    }
    assert!(sent.iter().all(|(_, items)| items.end < 8), "{sent:?}");
    machine.handle(MS, answer(1, Answer::Staged));
    send_all(&mut machine, MS, &mut sent);
    assert_eq!(sent.last(), Some(&(1, 7..8)), "all the others are staged");
    machine.handle(MS, answer(1, Answer::Stored(Some(9))));
    assert_eq!(
        machine.next_action(MS),
        Action::Finish(Outcome::Stored(Some(9)))
    );
}

#[test]
fn what_fails_before_the_commit_is_clear() {
    let refusals = [
        answer(1, Answer::Refused("no")),
        Event::Denied("no"),
        Event::Refreshed(Some("no")),
    ];
    for refusal in refusals {
        let mut machine = machine(3);
        send_all(&mut machine, Duration::ZERO, &mut Vec::new());
        machine.handle(MS, refusal);
        assert_eq!(
            machine.next_action(MS),
            Action::Finish(Outcome::Failed(Some("no")))
        );
    }
    let mut machine = machine(3);
    send_all(&mut machine, Duration::ZERO, &mut Vec::new());
    let late = 9_000 * MS;
    let action = send_all(&mut machine, late, &mut Vec::new());
    assert_eq!(action, Action::Finish(Outcome::Failed(None)));
}

#[test]
fn a_refused_commit_stores_nothing() {
    let mut machine = machine(3);
    committed(&mut machine, 3);
    machine.handle(MS, answer(1, Answer::Refused("full")));
    assert_eq!(
        machine.next_action(MS),
        Action::Finish(Outcome::Failed(Some("full")))
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
        Action::Begin { attempt: 2 }
    ));
    machine.handle(MS, Event::Begun(Ok(2)));
    send_all(&mut machine, MS, &mut sent);
    assert_eq!(sent, [(2, 0..1)]);
    // The answer to the first attempt comes late, and counts.
    machine.handle(2 * MS, answer(1, Answer::Stored(None)));
    assert_eq!(
        machine.next_action(2 * MS),
        Action::Finish(Outcome::Stored(None))
    );
}

#[test]
fn what_may_not_be_sent_again_is_looked_for() {
    let mut machine = with_resend_window(3, Duration::ZERO);
    committed(&mut machine, 3);
    machine.handle(MS, up(2));
    let action = send_all(&mut machine, MS, &mut Vec::new());
    assert_eq!(action, Action::Read);
    machine.handle(2 * MS, Event::Read { is_stored: false });
    let action = send_all(&mut machine, 2 * MS, &mut Vec::new());
    assert_eq!(action, Action::Wait { until: 22 * MS });
    let action = send_all(&mut machine, 22 * MS, &mut Vec::new());
    assert_eq!(action, Action::Read, "it may have come meanwhile");
    machine.handle(23 * MS, Event::Read { is_stored: true });
    assert_eq!(
        machine.next_action(23 * MS),
        Action::Finish(Outcome::Stored(None))
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
            Action::Read => machine.handle(now, Event::Read { is_stored: false }),
            Action::Wait { until } => now = until,
            action => {
                assert_eq!(action, Action::Finish(Outcome::Unclear(None)));
                break;
            }
        }
    }
    assert_eq!(now, 10_000 * MS, "a late answer would have helped");
}

#[test]
fn a_refused_second_attempt_says_nothing_of_the_first() {
    for (is_stored, outcome) in [
        (true, Outcome::Stored(None)),
        (false, Outcome::Unclear(Some("full"))),
    ] {
        let mut machine = machine(3);
        committed(&mut machine, 3);
        machine.handle(MS, up(2));
        machine.next_action(MS);
        machine.next_action(MS);
        machine.handle(MS, Event::Begun(Ok(2)));
        machine.handle(MS, answer(2, Answer::Refused("full")));
        let action = send_all(&mut machine, MS, &mut Vec::new());
        assert_eq!(action, Action::Read);
        machine.handle(MS, Event::Read { is_stored });
        let action = send_all(&mut machine, 30 * MS, &mut Vec::new());
        assert_eq!(action, Action::Finish(outcome));
    }
}

#[test]
fn a_server_without_batches_gets_one_message() {
    let mut machine = machine(100);
    let mut sent = Vec::new();
    send_all(&mut machine, Duration::ZERO, &mut sent);
    machine.handle(MS, answer(1, Answer::Torn("stored by itself")));
    assert_eq!(
        machine.next_action(MS),
        Action::Finish(Outcome::Torn("stored by itself"))
    );
    assert_eq!(sent, [(1, 0..1)]);
}
