//! The task of a replica: does what the machine asks for, and tells it what has happened.

mod messages;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::machine::{
    Answered, ConsumerCheck, Creation, Listed, Phase, ReplicaAction, ReplicaEvent, ReplicaMachine,
};
use super::requests::{PULL, ReplicaSource};
use super::state::ReplicaState;
use crate::connection::Connection;
use crate::inbox::Inbox;

/// How long the end of a replica may take.
const END: Duration = Duration::from_secs(1);

/// The answer to a request.
enum ReplicaAnswer {
    Answered(u64, Answered),
    Created(u64, Creation),
    Checked(u64, ConsumerCheck),
    Listed(u64, Listed),
}

/// Keeps the copy, until there is no user any more.
pub(super) async fn run(
    state: Arc<ReplicaState>,
    connection: Arc<Connection>,
    source: ReplicaSource,
    cancel: CancellationToken,
) {
    let Some(demand) = state.demand() else {
        return;
    };
    let machine = ReplicaMachine::new(Arc::clone(&state.memory), demand, PULL, connection.is_up());
    let mut task = ReplicaTask {
        consumer_id: format!("eventual-batch-replica-{}", nuid::next()),
        epoch: connection.epoch(),
        state,
        connection: Arc::clone(&connection),
        source: Arc::new(source),
        machine,
        answers: FuturesUnordered::new(),
        inbox: None,
        consumer: None,
        pulled: None,
        repairs: 0,
    };
    task.keep(&connection, &cancel).await;
    task.end().await;
}

struct ReplicaTask {
    state: Arc<ReplicaState>,
    connection: Arc<Connection>,
    source: Arc<ReplicaSource>,
    machine: ReplicaMachine,
    answers: FuturesUnordered<BoxFuture<'static, ReplicaAnswer>>,
    inbox: Option<Inbox>,
    /// The consumer that may exist.
    consumer: Option<u64>,
    /// What the names of this replica's consumers begin with.
    consumer_id: String,
    epoch: u64,
    /// Where the last request for messages was sent to, and when.
    pulled: Option<(String, Instant)>,
    /// How many of the machine's repairs are counted.
    repairs: u64,
}

impl ReplicaTask {
    async fn keep(&mut self, connection: &Connection, cancel: &CancellationToken) {
        let mut status = connection.status();
        loop {
            if let Some(demand) = self.state.demand() {
                self.machine.set_demand(demand);
            }
            self.act().await;
            self.publish();
            let wake = self.machine.wake(self.state.now());
            let wake = wake.map(|wake| self.state.instant(wake));
            tokio::select! {
                () = cancel.cancelled() => return,
                () = self.state.wake_task.notified() => {
                    if self.state.take_quarantine() {
                        self.tell(ReplicaEvent::Quarantined);
                    }
                    if self.state.has_readers() {
                        let question = self.state.take_question();
                        self.tell(ReplicaEvent::Wanted { question });
                    }
                }
                Some(outcome) = self.answers.next() => self.take(outcome),
                message = messages::next(&mut self.inbox) => self.take_messages(message),
                changed = status.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.look_at_connection();
                }
                () = sleep_until(wake.unwrap_or_else(far)), if wake.is_some() => {
                    self.tell(ReplicaEvent::Tick);
                }
            }
        }
    }

    fn tell(&mut self, event: ReplicaEvent<'_>) {
        self.machine.handle(event, self.state.now());
    }

    fn look_at_connection(&mut self) {
        if self.is_pull_denied() {
            self.pulled = None;
            self.tell(ReplicaEvent::PullDenied);
        }
        let (epoch, is_up) = (self.connection.epoch(), self.connection.is_up());
        if epoch != self.epoch || !is_up {
            self.epoch = epoch;
            self.tell(ReplicaEvent::Disconnected);
        }
        if is_up {
            self.tell(ReplicaEvent::Connected);
        }
    }

    fn take(&mut self, outcome: ReplicaAnswer) {
        self.tell(match outcome {
            ReplicaAnswer::Answered(number, answered) => {
                ReplicaEvent::Answered { number, answered }
            }
            ReplicaAnswer::Created(number, creation) => ReplicaEvent::Created { number, creation },
            ReplicaAnswer::Checked(number, check) => ReplicaEvent::Checked { number, check },
            ReplicaAnswer::Listed(number, listed) => ReplicaEvent::Listed { number, listed },
        });
    }

    async fn act(&mut self) {
        while let Some(action) = self.machine.next_action() {
            let connection = Arc::clone(&self.connection);
            let source = Arc::clone(&self.source);
            let max_bytes = self.machine.demand().max_bytes;
            match action {
                ReplicaAction::Ask { number } => self.answers.push(Box::pin(async move {
                    ReplicaAnswer::Answered(number, source.ask(&connection).await)
                })),
                ReplicaAction::List { number } => self.answers.push(Box::pin(async move {
                    ReplicaAnswer::Listed(number, source.list(&connection, max_bytes).await)
                })),
                ReplicaAction::Create { number } => {
                    self.consumer = Some(number);
                    let name = self.name(number);
                    self.answers.push(Box::pin(async move {
                        ReplicaAnswer::Created(number, source.create(&connection, &name).await)
                    }));
                }
                ReplicaAction::Check { number } => {
                    let name = self.name(number);
                    self.answers.push(Box::pin(async move {
                        ReplicaAnswer::Checked(number, source.check(&connection, &name).await)
                    }));
                }
                ReplicaAction::Pull(pull) => self.pull(pull).await,
                ReplicaAction::Delete { number } => {
                    self.inbox = None;
                    self.consumer = None;
                    let name = self.name(number);
                    let client = connection.client();
                    drop(timeout(END, source.delete(&client, &name)).await);
                }
            }
        }
    }

    fn name(&self, number: u64) -> String {
        format!("{}-{number}", self.consumer_id)
    }

    /// Shows readers what there is, and logs what they may wonder about.
    fn publish(&mut self) {
        let phase = self.machine.phase();
        let unanswered = self.machine.unanswered_since();
        let before = self.state.publish(self.machine.copy(), phase, unanswered);
        let repairs = self.machine.repairs();
        self.state
            .counts
            .add_repairs(repairs.saturating_sub(self.repairs));
        self.repairs = repairs;
        if before == phase {
            return;
        }
        let stream = self.source.stream.as_str();
        match phase {
            Phase::Off(reason) if self.state.is_news(reason) => {
                tracing::warn!(
                    stream,
                    reason = reason.text(),
                    "the bucket is read from the server and not from a copy"
                );
            }
            Phase::Live if before == Phase::Syncing => {
                self.state.forget_news();
                let keys = self.machine.copy().map_or(0, |copy| copy.map.len());
                tracing::info!(stream, keys, "the bucket is read from a copy in memory");
            }
            _ => tracing::debug!(stream, ?phase, "replica"),
        }
    }

    /// Leaves no consumer behind.
    async fn end(self) {
        self.state
            .publish(None, Phase::Off(super::machine::OffReason::Unused), None);
        if let Some(number) = self.consumer {
            let (client, name) = (self.connection.client(), self.name(number));
            let delete = async {
                self.source.delete(&client, &name).await;
                drop(client.flush().await);
            };
            drop(timeout(END, delete).await);
        }
    }
}

fn far() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}
