//! The client side of wRPC's NATS transport, for functions without results.
//!
//! The transport crate's own client does not fit here. It takes the messages for its calls from one
//! queue, and the news of its own calls from another, so under load it drops messages of calls that
//! it does not know of yet. Here a call is known before it is sent.
//!
//! One subscription takes the answers of all calls. It also takes the answers to calls that were
//! given up. A host that accepts such a call may wait for the rest of its parameters, and calls the
//! function for nobody else meanwhile. So it is told that there is no rest.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use lattice_nats::connection::State;
use lattice_nats::{
    Client, HeaderMap, HeaderName, HeaderValue, Message, StatusCode, Subject, Subscriber,
};
use tokio::runtime::Handle;
use tokio::sync::{Mutex as AsyncMutex, mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use wrpc_transport_nats::{invocation_subject, param_subject, result_subject};

/// What the lattice's server adds around headers, in bytes, at most.
const AROUND_HEADERS: usize = 16;

/// Messages of one call that wait to be looked at. A call without results has two.
const QUEUED: usize = 8;

/// How long it may take to hand a message to the network.
const SEND: Duration = Duration::from_secs(1);

/// Why a call did not come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutgoingError {
    /// Nobody serves the function now.
    Unreachable,
    /// Nobody has accepted the call in time.
    NotAccepted,
    /// The connection to the lattice's NATS is closed or failed.
    NotConnected,
    /// The call cannot be made, or was answered with something else than wRPC's messages.
    Refused,
}

impl OutgoingError {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Unreachable => "no host runs the component, or it does not export the function",
            Self::NotAccepted => {
                "no host has accepted the call in time: the component has no free instance"
            }
            Self::NotConnected => "the lattice is not connected",
            Self::Refused => "the call was refused",
        }
    }
}

/// A function of a component.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Function<'a> {
    /// The prefix of the subjects of the component's invocations.
    pub(crate) prefix: &'a str,
    pub(crate) interface: &'a str,
    pub(crate) name: &'a str,
}

/// Calls functions of components. Clones share the subscription.
#[derive(Clone, Debug)]
pub(crate) struct OutgoingCalls {
    /// The client of the lattice now, if there is one.
    client: watch::Receiver<Option<Client>>,
    inbox: Arc<AsyncMutex<Option<CallInbox>>>,
}

impl OutgoingCalls {
    pub(crate) fn new(client: watch::Receiver<Option<Client>>) -> Self {
        Self {
            client,
            inbox: Arc::default(),
        }
    }

    /// Calls a function that has no results, with these encoded parameters, and waits until it has
    /// returned. A component that traps returns too, as its host shows it.
    ///
    /// # Errors
    ///
    /// The call did not come back. Only until it is accepted there is a limit of time.
    pub(crate) async fn call(
        &self,
        function: Function<'_>,
        headers: HeaderMap,
        mut params: Bytes,
        accept_within: Duration,
    ) -> Result<(), OutgoingError> {
        let mut call = self.begin().await?;
        let nats = call.nats.clone();
        let max = nats.server_info().max_payload.max(1);
        let first = params.split_to(first_part(max, &headers, &call.reply).min(params.len()));
        let Function {
            prefix,
            interface,
            name,
        } = function;
        let subject = Subject::from(invocation_subject(prefix, interface, name));
        nats.publish_with_reply_and_headers(subject, call.reply.clone(), headers, first)
            .await
            .map_err(|_| OutgoingError::NotConnected)?;

        let accepted = timeout(accept_within, call.next()).await;
        let accepted = accepted.map_err(|_| OutgoingError::NotAccepted)??;
        let address = Subject::from(param_subject(&reply_of(accepted)?));
        call.unended = Some(address.clone());
        while !params.is_empty() {
            let part = params.split_to(max.min(params.len()));
            send(&nats, &address, part).await?;
        }
        send(&nats, &address, Bytes::new()).await?;
        call.unended = None;

        // An empty message is the end.
        let results = result_subject(&call.reply);
        loop {
            let message = call.next().await?;
            if *message.subject == *results && message.payload.is_empty() {
                return Ok(());
            }
        }
    }

    /// Makes a call known, over the client of the lattice now.
    async fn begin(&self) -> Result<PendingCall, OutgoingError> {
        let client = self.client.borrow().clone();
        let is_up = |client: &Client| client.connection_state() == State::Connected;
        let client = client.filter(is_up).ok_or(OutgoingError::NotConnected)?;
        let mut inbox = self.inbox.lock().await;
        let open = match inbox.take() {
            Some(open) if !open.task.is_finished() => open,
            _ => CallInbox::open(client).await?,
        };
        let call = open.call();
        *inbox = Some(open);
        Ok(call)
    }
}

/// A subscription to the answers of calls. It ends with its client, or when it is dropped.
#[derive(Debug)]
struct CallInbox {
    nats: Client,
    /// The subject of a call's answers is this and the call's number.
    prefix: String,
    calls: Arc<Mutex<PendingCalls>>,
    task: AbortHandle,
}

#[derive(Debug, Default)]
struct PendingCalls {
    last: u64,
    answers: HashMap<u64, mpsc::Sender<Message>>,
}

impl CallInbox {
    async fn open(nats: Client) -> Result<Self, OutgoingError> {
        let prefix = format!("{}.", nats.new_inbox());
        let answers = nats.subscribe(format!("{prefix}>")).await;
        let answers = answers.map_err(|_| OutgoingError::NotConnected)?;
        let calls = Arc::<Mutex<PendingCalls>>::default();
        let task = take_answers(nats.clone(), answers, prefix.len(), Arc::clone(&calls));
        Ok(Self {
            task: tokio::spawn(task).abort_handle(),
            nats,
            prefix,
            calls,
        })
    }

    fn call(&self) -> PendingCall {
        let (sender, answers) = mpsc::channel(QUEUED);
        let mut calls = lock(&self.calls);
        calls.last += 1;
        let number = calls.last;
        calls.answers.insert(number, sender);
        PendingCall {
            nats: self.nats.clone(),
            reply: format!("{}{number}", self.prefix),
            number,
            answers,
            unended: None,
            calls: Arc::clone(&self.calls),
        }
    }
}

impl Drop for CallInbox {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Hands each answer to its call.
async fn take_answers(
    nats: Client,
    mut answers: Subscriber,
    prefix: usize,
    calls: Arc<Mutex<PendingCalls>>,
) {
    while let Some(answer) = answers.next().await {
        let place = answer.subject.get(prefix..).unwrap_or_default();
        let number = place
            .split('.')
            .next()
            .and_then(|number| number.parse().ok());
        let call = number.and_then(|number: u64| lock(&calls).answers.get(&number).cloned());
        if let Some(call) = call {
            drop(call.try_send(answer));
        } else if let Some(accepted) = answer.reply {
            end_parameters(&nats, Subject::from(param_subject(&accepted))).await;
        }
    }
    // The calls under way end.
    lock(&calls).answers.clear();
}

/// A call whose answers are taken until it is dropped.
#[derive(Debug)]
struct PendingCall {
    nats: Client,
    reply: String,
    number: u64,
    answers: mpsc::Receiver<Message>,
    /// Where the host takes the parameters, until their end has been sent.
    unended: Option<Subject>,
    calls: Arc<Mutex<PendingCalls>>,
}

impl PendingCall {
    async fn next(&mut self) -> Result<Message, OutgoingError> {
        let answer = self.answers.recv().await;
        answer.ok_or(OutgoingError::NotConnected)
    }
}

impl Drop for PendingCall {
    fn drop(&mut self) {
        lock(&self.calls).answers.remove(&self.number);
        if let Some(address) = self.unended.take()
            && let Ok(runtime) = Handle::try_current()
        {
            let nats = self.nats.clone();
            runtime.spawn(async move { end_parameters(&nats, address).await });
        }
    }
}

fn lock(calls: &Mutex<PendingCalls>) -> MutexGuard<'_, PendingCalls> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells a host that no more parameters of a call come.
async fn end_parameters(nats: &Client, address: Subject) {
    drop(timeout(SEND, send(nats, &address, Bytes::new())).await);
}

async fn send(nats: &Client, to: &Subject, part: Bytes) -> Result<(), OutgoingError> {
    let sent = nats.publish(to.clone(), part).await;
    sent.map_err(|_| OutgoingError::NotConnected)
}

/// How many bytes of parameters fit into the first message.
fn first_part(max: usize, headers: &HeaderMap, inbox: &str) -> usize {
    let line = |(name, values): (&HeaderName, &Vec<HeaderValue>)| {
        let name: &[u8] = name.as_ref();
        let of_value = |value: &HeaderValue| name.len() + value.as_str().len() + 4;
        values.iter().map(of_value).sum::<usize>()
    };
    let headers: usize = headers.iter().map(line).sum();
    max.saturating_sub(headers + inbox.len() + AROUND_HEADERS)
}

/// Where an invocation that was accepted takes the rest of its parameters.
fn reply_of(accepted: Message) -> Result<Subject, OutgoingError> {
    match accepted.status {
        Some(StatusCode::NO_RESPONDERS) => Err(OutgoingError::Unreachable),
        Some(status) if !status.is_success() => Err(OutgoingError::Refused),
        _ => accepted.reply.ok_or(OutgoingError::Refused),
    }
}
