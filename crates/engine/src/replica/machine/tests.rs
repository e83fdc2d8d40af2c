//! Single decisions, one event after the other.

use super::*;

const STATE: &str = "2026-11-28T03:11:34Z";

struct Driven {
    machine: ReplicaMachine,
    now: Duration,
}

impl Driven {
    fn new(staleness: Duration) -> Self {
        let memory = Arc::new(ReplicaMemory::new(1 << 20));
        let demand = ReplicaDemand {
            staleness,
            max_bytes: 1 << 20,
        };
        Self {
            machine: ReplicaMachine::new(memory, demand, 8, true),
            now: Duration::from_secs(1),
        }
    }

    /// A copy of an empty stream that is live.
    fn live(staleness: Duration) -> Self {
        let mut driven = Self::new(staleness);
        driven.tell(ReplicaEvent::Wanted { question: false });
        driven.answer(state());
        driven.create();
        driven.answer(state());
        assert_eq!(driven.machine.phase(), Phase::Live);
        driven
    }

    fn tell(&mut self, event: ReplicaEvent<'_>) {
        self.machine.handle(event, self.now);
    }

    fn actions(&mut self) -> Vec<ReplicaAction> {
        std::iter::from_fn(|| self.machine.next_action()).collect()
    }

    /// Answers the last question that is asked now.
    fn answer(&mut self, state: StreamState) {
        let actions = self.actions();
        let asked = actions.iter().rev().find_map(|action| match action {
            ReplicaAction::Ask { number } => Some(*number),
            _ => None,
        });
        let number = asked.unwrap_or_else(|| panic!("no question among {actions:?}"));
        let answered = Answered::State(state);
        self.tell(ReplicaEvent::Answered { number, answered });
    }

    fn create(&mut self) {
        let actions = self.actions();
        let [ReplicaAction::Create { number }] = actions[..] else {
            panic!("{actions:?}");
        };
        let creation = Creation::Created;
        self.tell(ReplicaEvent::Created { number, creation });
    }

    /// Lets time pass, and does what is due meanwhile. Returns the actions.
    fn pass(&mut self, time: Duration) -> Vec<ReplicaAction> {
        let until = self.now + time;
        let mut actions = Vec::new();
        while let Some(wake) = self.machine.wake(self.now).filter(|wake| *wake <= until) {
            self.now = wake.max(self.now + Duration::from_micros(1));
            self.tell(ReplicaEvent::Tick);
            actions.extend(self.actions());
        }
        self.now = until;
        actions
    }

    fn off(&self) -> Option<OffReason> {
        match self.machine.phase() {
            Phase::Off(reason) => Some(reason),
            _ => None,
        }
    }
}

fn state() -> StreamState {
    StreamState {
        created: STATE.to_owned(),
        leader: None,
        first_sequence: 1,
        last_sequence: 0,
        last_time: 0,
        subjects: 0,
        bytes: 0,
        consumers: 1,
        server_time: 0,
        max_age: 0,
        message_ttl: false,
        unfit: None,
    }
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn asks(actions: &[ReplicaAction]) -> usize {
    let is_question = |action: &&ReplicaAction| matches!(action, ReplicaAction::Ask { .. });
    actions.iter().filter(is_question).count()
}

#[test]
fn each_permission_that_is_missing_ends_the_copy_and_is_named() {
    use DeniedRequest::{ConsumerInfo, CreateConsumer, NextMessages, StreamInfo};
    for (denied, subject) in [
        (StreamInfo, "STREAM.INFO"),
        (CreateConsumer, "CONSUMER.CREATE"),
        (ConsumerInfo, "CONSUMER.INFO"),
        (NextMessages, "CONSUMER.MSG.NEXT"),
    ] {
        let mut driven = Driven::new(secs(1));
        driven.tell(ReplicaEvent::Wanted { question: false });
        if denied == StreamInfo {
            let actions = driven.actions();
            let [ReplicaAction::Ask { number }] = actions[..] else {
                panic!("{actions:?}");
            };
            let answered = Answered::Denied;
            driven.tell(ReplicaEvent::Answered { number, answered });
        } else {
            driven.answer(state());
            let actions = driven.actions();
            let [ReplicaAction::Create { number }] = actions[..] else {
                panic!("{actions:?}");
            };
            let creation = match denied {
                CreateConsumer => Creation::Denied,
                _ => Creation::Created,
            };
            driven.tell(ReplicaEvent::Created { number, creation });
            if denied == ConsumerInfo {
                driven.tell(ReplicaEvent::Unreadable);
                let check = ConsumerCheck::Denied;
                driven.tell(ReplicaEvent::Checked { number, check });
            } else if denied == NextMessages {
                driven.tell(ReplicaEvent::PullDenied);
            }
        }
        let reason = driven.off().unwrap();
        assert_eq!(reason, OffReason::Denied(denied));
        assert!(reason.text().contains(subject));
        driven.actions();
        assert!(
            driven.pass(Duration::from_millis(900)).is_empty(),
            "{subject}"
        );
    }
}

#[test]
fn a_copy_that_is_not_complete_has_the_leader_asked_each_second() {
    let mut driven = Driven::new(secs(3600));
    driven.tell(ReplicaEvent::Wanted { question: false });
    driven.answer(state());
    driven.create();
    let beyond = StreamState {
        last_sequence: 5,
        subjects: 1,
        ..state()
    };
    driven.answer(beyond);
    assert_eq!(driven.machine.phase(), Phase::Syncing);
    assert_eq!(asks(&driven.pass(Duration::from_millis(1100))), 1);
}

#[test]
fn a_copy_about_which_the_leader_is_silent_for_long_is_read_anew() {
    for (silence, is_kept) in [(secs(50), true), (secs(70), false)] {
        let mut driven = Driven::live(secs(3600));
        // The machine slept, so that nothing was done meanwhile.
        driven.now += silence;
        driven.tell(ReplicaEvent::Wanted { question: true });
        driven.answer(state());
        assert_eq!(driven.machine.copy().is_some(), is_kept, "{silence:?}");
    }
    // While it is kept, the leader is asked often enough, whether somebody reads or not.
    let mut driven = Driven::live(secs(3600));
    for _ in 0..20 {
        let actions = driven.pass(secs(10));
        if !actions.is_empty() {
            driven.tell(ReplicaEvent::Tick);
        }
        assert!(asks(&actions) > 0, "{:?}", driven.now);
        let number = actions.iter().rev().find_map(|action| match action {
            ReplicaAction::Ask { number } => Some(*number),
            _ => None,
        });
        let answered = Answered::State(state());
        let number = number.unwrap();
        driven.tell(ReplicaEvent::Answered { number, answered });
    }
}

#[test]
fn a_consumer_that_the_leader_does_not_list_is_not_looked_for_without_end() {
    let mut driven = Driven::live(secs(1));
    let unlisted = || StreamState {
        consumers: 0,
        ..state()
    };
    let mut checks = 0;
    let until = driven.now + secs(10);
    driven.tell(ReplicaEvent::Wanted { question: true });
    while driven.now < until && driven.machine.copy().is_some() {
        for action in driven.actions() {
            match action {
                ReplicaAction::Ask { number } => {
                    let answered = Answered::State(unlisted());
                    driven.tell(ReplicaEvent::Answered { number, answered });
                }
                ReplicaAction::Check { number } => {
                    checks += 1;
                    let check = ConsumerCheck::Delivered(0);
                    driven.tell(ReplicaEvent::Checked { number, check });
                }
                _ => {}
            }
        }
        driven.now += Duration::from_millis(1);
        driven.tell(ReplicaEvent::Tick);
    }
    assert!(driven.machine.copy().is_none(), "another consumer is tried");
    assert!(checks < 30, "{checks} checks");
}

#[test]
fn a_message_that_breaks_the_parser_ends_the_copy_for_minutes() {
    let mut driven = Driven::live(secs(1));
    driven.tell(ReplicaEvent::Quarantined);
    assert_eq!(driven.off(), Some(OffReason::Unparsable));
    driven.actions();
    assert!(driven.pass(secs(299)).is_empty());
    assert!(!driven.pass(secs(2)).is_empty());

    let mut driven = Driven::live(secs(1));
    let lose = |driven: &mut Driven| {
        driven.tell(ReplicaEvent::Disconnected);
        driven.tell(ReplicaEvent::Connected);
        let checks = driven
            .actions()
            .into_iter()
            .filter_map(|action| match action {
                ReplicaAction::Check { number } => Some(number),
                _ => None,
            });
        let check = ConsumerCheck::Delivered(0);
        for number in checks {
            driven.tell(ReplicaEvent::Checked { number, check });
        }
    };
    for _ in 0..LOSSES {
        assert_eq!(driven.off(), None);
        lose(&mut driven);
    }
    assert_eq!(driven.off(), Some(OffReason::LosesConnection));
    driven.actions();
    // The next attempt may cost one connection.
    driven.now += secs(301);
    driven.tell(ReplicaEvent::Wanted { question: false });
    driven.answer(state());
    driven.create();
    lose(&mut driven);
    assert_eq!(driven.off(), Some(OffReason::LosesConnection));
}
