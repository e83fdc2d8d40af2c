//! The task of a watch: does what the machine asks for, and tells it what has happened.

mod calls;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, Subject};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::consumer::{AttachError, PULL, StreamNames, WatchConsumer};
use super::machine::{
    Attachment, CallOutcome, MachineSettings, PendingMessages, WatchAction, WatchEvent,
    WatchMachine, WatchPullEnd,
};
use super::message::{self, HeldChange};
use super::pattern;
use super::state::WatchState;
use super::{ChangeHandler, ChangeKind, timing};
use crate::connection::Connection;
use crate::inbox::Inbox;

/// Messages that are taken before other events get their turn.
const MESSAGES_AT_A_TIME: usize = 64;

/// How long it may take to hand a message to the network.
const SEND: Duration = Duration::from_secs(1);

/// Acknowledgements that are sent again when the connection was lost after them: of so many, and of
/// so long ago. What is acknowledged twice is acknowledged once.
const SENT_AGAIN: (usize, Duration) = (1024, Duration::from_secs(10));

const DONE: &str = "+ACK";
const GIVEN_UP: &str = "+TERM";

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
}

struct WatchTask {
    state: Arc<WatchState>,
    connection: Arc<Connection>,
    consumer: Arc<WatchConsumer>,
    handler: Arc<dyn ChangeHandler>,
    machine: WatchMachine,
    /// The changes of which the machine knows, by their sequences.
    held: HashMap<u64, HeldChange>,
    /// The latest acknowledgements, and when they were sent.
    acknowledged: VecDeque<(Instant, Subject, &'static str)>,
    answers: FuturesUnordered<BoxFuture<'static, WatchAnswer>>,
    calls: FuturesUnordered<BoxFuture<'static, (u64, CallOutcome)>>,
    names: StreamNames,
    initial_until: u64,
    inbox: Option<Inbox>,
    /// How many messages the open pull may still bring.
    left: usize,
    epoch: u64,
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
        keeps_history: true,
    });
    let mut task = WatchTask {
        epoch: connection.epoch(),
        state,
        connection,
        consumer,
        handler,
        machine,
        held: HashMap::new(),
        acknowledged: VecDeque::new(),
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
                Some((sequence, outcome)) = self.calls.next() => {
                    WatchTurn::Event(WatchEvent::CallEnded { sequence, outcome })
                }
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
                WatchTurn::Answer(answer) => self.take_answer(answer),
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
        self.inbox = None;
        if epoch != self.epoch && is_up {
            self.epoch = epoch;
            self.acknowledge_again().await;
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

    fn take_answer(&mut self, answer: WatchAnswer) {
        match answer {
            WatchAnswer::Attached(Ok(attachment)) => {
                self.names = self.consumer.names();
                self.initial_until = self.consumer.initial_until();
                if self.state.set_trouble(None) || attachment.is_other {
                    tracing::info!(
                        stream = self.names.stream,
                        consumer = self.consumer.name(),
                        "the bucket is watched"
                    );
                }
                self.tell(WatchEvent::Attached(attachment));
            }
            WatchAnswer::Attached(Err(error)) => {
                if let AttachError::Trouble(trouble) = error
                    && self.state.set_trouble(Some(trouble.clone()))
                {
                    let bucket = self.consumer.settings.bucket.name.as_str();
                    tracing::warn!(bucket, trouble, "the bucket cannot be watched");
                }
                self.tell(WatchEvent::NotAttached);
            }
            WatchAnswer::Pending(question, pending) => {
                self.tell(WatchEvent::Pending { question, pending });
            }
        }
    }

    /// Takes a message, and those that are here already.
    fn take_messages(&mut self, first: Option<Message>) {
        let mut next = first;
        if next.is_none() && self.inbox.take().is_some() {
            // The client has ended.
            return self.tell(WatchEvent::Disturbed);
        }
        for _ in 0..MESSAGES_AT_A_TIME {
            let Some(message) = next.take() else {
                return;
            };
            self.take_message(message);
            next = self.inbox.as_mut().and_then(Inbox::next_now);
        }
        if let Some(message) = next {
            self.take_message(message);
        }
    }

    fn take_message(&mut self, message: Message) {
        let Some(inbox) = &self.inbox else {
            return;
        };
        if inbox.token_of(&message).is_some() {
            return self.tell(message::status(&message));
        }
        // What cannot be read is no message of the bucket. Its number will be missing.
        let Some((held, place, replaces)) = message::change(message, &self.names.prefix) else {
            return;
        };
        self.received = true;
        self.lag = place.pending;
        let wanted = self.is_wanted(&held, place.stream_sequence);
        let change = message::new_change(&held, place, replaces, wanted);
        self.held.insert(place.stream_sequence, held);
        self.tell(WatchEvent::Delivered(change));
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            self.tell(WatchEvent::PullEnded(WatchPullEnd::Expired));
        }
    }

    fn is_wanted(&mut self, held: &HeldChange, sequence: u64) -> bool {
        let settings = &self.consumer.settings;
        let is_set = held.kind != ChangeKind::Delete;
        if !is_set && sequence <= self.initial_until {
            // The key has no value, and had none when the watch began.
            return false;
        }
        if settings.encoding.decode(&held.key).is_err() {
            if !self.met_foreign_key {
                self.met_foreign_key = true;
                tracing::warn!(
                    bucket = settings.bucket.name,
                    "changes of keys are not delivered that were written without the link's \
                     `key_encoding`"
                );
            }
            return false;
        }
        pattern::wants(&settings.patterns, &held.key, is_set)
    }

    async fn act(&mut self) {
        while let Some(action) = self.machine.next_action() {
            match action {
                WatchAction::Attach => self.attach(),
                WatchAction::Pull { anew } => self.pull(anew).await,
                WatchAction::ClosePull => self.inbox = None,
                WatchAction::AskPending { question } => self.ask(question),
                WatchAction::Call { sequence, attempt } => self.call(sequence, attempt),
                WatchAction::Acknowledge { sequence } => self.settle(sequence, DONE).await,
                WatchAction::Return { sequence } => self.settle(sequence, "-NAK").await,
                WatchAction::GiveUp { sequence, calls } => self.give_up(sequence, calls).await,
                WatchAction::Forget { sequence } => {
                    self.held.remove(&sequence);
                }
                WatchAction::Extend { sequence } => self.answer(sequence, "+WPI").await,
            }
        }
    }

    fn attach(&mut self) {
        let (consumer, connection) = (Arc::clone(&self.consumer), Arc::clone(&self.connection));
        let resume_at = self.machine.resume_at();
        self.answers.push(Box::pin(async move {
            WatchAnswer::Attached(consumer.attach(&connection, resume_at).await)
        }));
    }

    fn ask(&mut self, question: u64) {
        let (consumer, connection) = (Arc::clone(&self.consumer), Arc::clone(&self.connection));
        self.answers.push(Box::pin(async move {
            WatchAnswer::Pending(question, consumer.pending(&connection).await)
        }));
    }

    async fn pull(&mut self, anew: bool) {
        if anew {
            self.inbox = None;
        }
        if !self.connection.is_up() {
            return;
        }
        if self.inbox.is_none() {
            self.inbox = self.connection.open_fresh_inbox(1).await;
        }
        let Some(inbox) = &self.inbox else {
            return;
        };
        self.left = PULL;
        let (client, subject) = (inbox.client(), inbox.reply_subject(0));
        let pull = self.consumer.pull(client, &self.names, subject);
        drop(timeout(SEND, pull).await);
    }
}

/// What a turn of the loop is about.
enum WatchTurn {
    Event(WatchEvent),
    Answer(WatchAnswer),
    Connection,
    Message(Option<Message>),
}

async fn next_message(inbox: &mut Option<Inbox>) -> Option<Message> {
    match inbox {
        Some(inbox) => inbox.next().await,
        None => std::future::pending().await,
    }
}
