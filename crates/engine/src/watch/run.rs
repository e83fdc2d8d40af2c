//! The task of a watch: does what the machine asks for, and tells it what has happened.

mod calls;
mod given_up;
mod messages;
mod requests;
mod troubles;
mod unreadable;

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, Subject};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::consumer::{self, AttachError, StreamNames, UnreadableMessage, WatchConsumer};
use super::machine::{
    Attachment, CallOutcome, ChangeId, MachineSettings, PendingMessages, WatchAction, WatchEvent,
    WatchMachine,
};
use super::message::HeldChange;
use super::state::{WatchFault, WatchState};
use super::{ChangeHandler, timing};
use crate::connection::Connection;
use crate::inbox::Inbox;
use crate::quarantine::LostConnections;
use given_up::GivenUpLines;
use troubles::Troubles;

/// How long it may take to hand a message to the network.
const SEND: Duration = Duration::from_secs(1);

/// How long it may take to note in the consumer that all is settled.
const NOTE: Duration = Duration::from_secs(2);

/// Acknowledgements that are sent again when the connection was lost after them: of so many, and of
/// so long ago. What is acknowledged twice is acknowledged once.
const SENT_AGAIN: (usize, Duration) = (1024, Duration::from_secs(10));

/// Calls that are taken as ended before other events get their turn.
const CALLS_AT_A_TIME: usize = 64;

const DONE: &str = "+ACK";
const GIVEN_UP: &str = "+TERM";

type Calls = FuturesUnordered<BoxFuture<'static, (ChangeId, CallOutcome)>>;

/// How a watch is to end.
#[derive(Clone, Debug, Default)]
pub(super) struct Ending {
    /// After the deliveries that are under way.
    pub(super) drain: CancellationToken,
    /// At once.
    pub(super) now: CancellationToken,
}

/// The answer to a request.
enum WatchAnswer {
    Attached(Result<Attachment, AttachError>),
    Pending(u64, Option<PendingMessages>),
    Unreadable(Result<Vec<UnreadableMessage>, AttachError>),
}

struct WatchTask {
    state: Arc<WatchState>,
    connection: Arc<Connection>,
    consumer: Arc<WatchConsumer>,
    handler: Arc<dyn ChangeHandler>,
    machine: WatchMachine,
    /// The changes of which the machine knows.
    held: HashMap<ChangeId, HeldChange>,
    /// The latest acknowledgements, and when they were sent.
    acknowledged: VecDeque<(Instant, Subject, &'static str)>,
    /// Whether an acknowledgement may still be in this process's memory.
    has_unflushed: bool,
    answers: FuturesUnordered<BoxFuture<'static, WatchAnswer>>,
    calls: Calls,
    names: StreamNames,
    initial_until: u64,
    inbox: Option<Inbox>,
    /// How many messages the open pull may still bring.
    left: usize,
    epoch: u64,
    /// The connection that the consumer was last told something over.
    settled_epoch: u64,
    troubles: Troubles,
    /// How often the connection was lost while a pull was open.
    lost: LostConnections,
    given_up: GivenUpLines,
    started: Instant,
    lag: u64,
    received: bool,
    /// Whether a key was met that the encoding cannot have made.
    met_foreign_key: bool,
}

/// Delivers changes until it is told to end.
pub(super) async fn run(
    state: Arc<WatchState>,
    connection: Arc<Connection>,
    consumer: Arc<WatchConsumer>,
    handler: Arc<dyn ChangeHandler>,
    ending: Ending,
) {
    let settings = &consumer.settings;
    let machine = WatchMachine::new(MachineSettings {
        max_in_flight: settings.max_in_flight,
        max_deliver: settings.max_deliver.max(1),
        retries: settings.durable,
        call_timeout: settings.call_timeout,
        ack_wait: timing::ack_wait(settings.call_timeout),
        max_held: consumer::handed_out(settings) + settings.max_in_flight,
    });
    let mut task = WatchTask {
        epoch: connection.epoch(),
        settled_epoch: connection.epoch(),
        troubles: Troubles::new(connection.permission_error_count()),
        lost: LostConnections::default(),
        given_up: GivenUpLines::default(),
        state,
        connection,
        consumer,
        handler,
        machine,
        held: HashMap::new(),
        acknowledged: VecDeque::new(),
        has_unflushed: false,
        answers: FuturesUnordered::new(),
        calls: FuturesUnordered::new(),
        names: StreamNames::default(),
        initial_until: 0,
        inbox: None,
        left: 0,
        started: Instant::now(),
        lag: 0,
        received: false,
        met_foreign_key: false,
    };
    tokio::select! {
        () = task.keep(&ending.drain) => task.note_settled().await,
        () = ending.now.cancelled() => task.give_back().await,
    }
}

impl WatchTask {
    async fn keep(&mut self, drain: &CancellationToken) {
        let mut status = self.connection.status();
        let mut is_stopping = false;
        let mut last_turn = Instant::now();
        loop {
            self.act().await;
            self.look_at_permissions();
            self.log_rest();
            let is_active = self.machine.is_delivering(self.now());
            self.state.show(self.machine.counts(), self.lag, is_active);
            if self.machine.has_ended() {
                return;
            }
            let wake = self.started + self.machine.wake(self.now());
            let event = tokio::select! {
                () = drain.cancelled(), if !is_stopping => {
                    is_stopping = true;
                    WatchTurn::Event(WatchEvent::Stop)
                }
                Some(ended) = ended_calls(&mut self.calls) => WatchTurn::Calls(ended),
                Some(answer) = self.answers.next() => WatchTurn::Answer(answer),
                changed = status.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    WatchTurn::Connection
                }
                message = next_message(&mut self.inbox) => WatchTurn::Message(message),
                () = sleep_until(wake) => WatchTurn::Event(WatchEvent::Tick),
            };
            if last_turn.elapsed() > timing::STANDSTILL {
                // What has come meanwhile may be old.
                self.inbox = None;
                self.tell(WatchEvent::Disturbed);
            }
            last_turn = Instant::now();
            match event {
                WatchTurn::Event(event) => self.tell(event),
                WatchTurn::Calls(ended) => {
                    for (id, outcome) in ended {
                        self.tell(WatchEvent::CallEnded { id, outcome });
                    }
                }
                WatchTurn::Answer(answer) => self.take_answer(answer).await,
                WatchTurn::Connection => self.look_at_connection().await,
                WatchTurn::Message(message) => self.take_messages(message),
            }
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn tell(&mut self, event: WatchEvent) {
        let now = self.now();
        self.machine.handle(event, now);
    }

    async fn look_at_connection(&mut self) {
        let (epoch, is_up) = (self.connection.epoch(), self.connection.is_up());
        if epoch == self.epoch && is_up {
            return;
        }
        if self.inbox.take().is_some() {
            self.lost.record();
        }
        if epoch != self.epoch && is_up {
            self.epoch = epoch;
            self.acknowledge_again().await;
            self.look_for_unreadable();
        }
        self.tell(WatchEvent::Disturbed);
    }

    /// Sends the acknowledgements again that may have been lost with the connection.
    async fn acknowledge_again(&mut self) {
        let client = self.connection.client();
        let again = async {
            for (sent, reply, what) in &self.acknowledged {
                if sent.elapsed() < SENT_AGAIN.1 {
                    let payload = Bytes::from_static(what.as_bytes());
                    drop(client.publish(reply.clone(), payload).await);
                }
            }
        };
        drop(timeout(SEND, again).await);
    }

    async fn take_answer(&mut self, answer: WatchAnswer) {
        match answer {
            WatchAnswer::Attached(Ok(attachment)) => {
                self.names = self.consumer.names();
                self.initial_until = self.consumer.initial_until();
                self.troubles.attached();
                if self.state.set_trouble(WatchFault::Attach, None) || attachment.is_other {
                    tracing::info!(
                        stream = self.names.stream,
                        consumer = self.consumer.name(),
                        from = self.consumer.begins(),
                        "the bucket is watched"
                    );
                }
                self.tell(WatchEvent::Attached(attachment));
            }
            WatchAnswer::Attached(Err(error)) => {
                self.attach_failed(error);
                self.tell(WatchEvent::NotAttached);
            }
            WatchAnswer::Pending(question, pending) => {
                self.tell(WatchEvent::Pending { question, pending });
            }
            WatchAnswer::Unreadable(found) => self.take_unreadable(found).await,
        }
    }

    async fn act(&mut self) {
        // Calls begin when all that is to be acknowledged is on its way: the next change of a key is
        // called next. If this process were killed then, and the acknowledgement were still in its
        // memory, the next instance would tell of the earlier change again, after the later one.
        let mut calls = Vec::new();
        while let Some(action) = self.machine.next_action() {
            match action {
                WatchAction::Attach => self.attach(),
                WatchAction::Pull { anew } => self.pull(anew).await,
                WatchAction::ClosePull => self.inbox = None,
                WatchAction::AskPending { question } => self.ask(question),
                WatchAction::Call { id, attempt } => calls.push((id, attempt)),
                WatchAction::Acknowledge { id } => self.acknowledge_with(id, DONE).await,
                WatchAction::NakAndDrop { id } => self.acknowledge_with(id, "-NAK").await,
                WatchAction::NakAndKeep { id } => self.recall(id).await,
                WatchAction::Terminate { id, calls } => self.give_up(id, calls).await,
                WatchAction::Forget { id } => {
                    self.held.remove(&id);
                }
                WatchAction::DropCalls => {
                    calls.clear();
                    self.calls.clear();
                    self.acknowledged.clear();
                }
                WatchAction::InProgress { id } => self.answer(id, "+WPI").await,
            }
        }
        if mem::take(&mut self.has_unflushed) {
            drop(timeout(SEND, self.connection.client().flush()).await);
        }
        for (id, attempt) in calls {
            self.call(id, attempt);
        }
    }

    /// Logs how many changes were given up without a line.
    fn log_rest(&mut self) {
        if let Some(given_up) = self.given_up.rest(Instant::now()) {
            let bucket = self.consumer.settings.bucket.name.as_str();
            tracing::warn!(bucket, given_up, "more changes of the bucket were given up");
        }
    }
}

/// What a turn of the loop is about.
enum WatchTurn {
    Event(WatchEvent),
    Calls(Vec<(ChangeId, CallOutcome)>),
    Answer(WatchAnswer),
    Connection,
    Message(Option<Message>),
}

/// The calls that have ended; `None`: there are none at all.
async fn ended_calls(calls: &mut Calls) -> Option<Vec<(ChangeId, CallOutcome)>> {
    calls.ready_chunks(CALLS_AT_A_TIME).next().await
}

async fn next_message(inbox: &mut Option<Inbox>) -> Option<Message> {
    match inbox {
        Some(inbox) => inbox.next().await,
        None => std::future::pending().await,
    }
}
