//! The acceptance of an invocation, and making sure that the caller has seen it.
//!
//! A host calls with the client of the transport crate. That client reads incoming messages from
//! one channel, and registrations of its own new calls from another, in random order. Under load it
//! can read a message before the registration of its call, and then it drops the message. A call
//! whose acceptance is lost hangs. A call whose results are lost ends with "unexpected end of
//! file". This happens to about one call in a few hundred where many calls are under way.
//!
//! Once the client has seen the acceptance it knows of the call, and loses nothing more. It shows
//! that by publishing an empty message, the end of its parameters, to the address in the
//! acceptance. So the acceptance is repeated, with a second address, until something comes from the
//! caller. The address that the caller uses tells whether it has missed the first acceptance, and
//! what else it may have missed.

use std::collections::HashSet;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use lattice_nats::{Client, Subject, Subscriber};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use wrpc_transport_nats::param_subject;

use super::error::InvocationError;

/// The pause before the acceptance is first repeated. It doubles each time.
const REPEAT: Duration = Duration::from_millis(5);

/// How long to wait for the caller's confirmation. A host that is busy may take long.
const CONFIRMATION_TIMEOUT: Duration = Duration::from_millis(1280);

/// How long to wait for a client that did not confirm its last call.
const SHORT_CONFIRMATION_TIMEOUT: Duration = Duration::from_millis(20);

/// How many clients that do not confirm are remembered, at most.
const MAX_UNRESPONSIVE: usize = 1024;

/// An invocation that has been accepted.
pub(super) struct Handshake {
    pub(super) nats: Client,
    /// The inbox of the call. The acceptance goes to it, the results to its result subject.
    pub(super) caller_inbox: Subject,
    /// The prefix of both parameter addresses.
    param_prefix: String,
    /// The subscriptions to the address of the first acceptance, and to the one of the repeated
    /// ones. When the caller has used one address, the subscription to the other is dropped, with
    /// all that it holds.
    param_subscriptions: [Option<Subscriber>; 2],
    /// Whether parameters are still to come.
    awaits_params: bool,
    /// Bounds the acceptances that are sent at the same time by calls that await parameters.
    acceptance_permits: Arc<Semaphore>,
    /// What the caller has confirmed so far.
    seen: Option<SeenAcceptance>,
}

/// Which acceptance is sent. It is also the index of the address that the acceptance gives.
#[derive(Clone, Copy, Debug)]
enum Acceptance {
    First = 0,
    Repeated = 1,
}

/// Which acceptance a caller has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SeenAcceptance {
    /// The first one: the caller has missed nothing.
    First,
    /// A repeated one, and not the first. The caller may have missed all that was sent to it before
    /// that, results too.
    OnlyRepeated,
}

impl Handshake {
    /// Accepts the invocation whose caller listens at `caller_inbox`. If the call awaits
    /// parameters, the acceptance needs one of `acceptance_permits`.
    ///
    /// # Errors
    ///
    /// The connection to the lattice's NATS is closed or failed.
    pub(super) async fn begin(
        nats: Client,
        caller_inbox: Subject,
        awaits_params: bool,
        acceptance_permits: Arc<Semaphore>,
    ) -> Result<Self, InvocationError> {
        let param_prefix = nats.new_inbox();
        let mut handshake = Self {
            nats,
            caller_inbox,
            param_prefix,
            param_subscriptions: [None, None],
            awaits_params,
            acceptance_permits,
            seen: None,
        };
        handshake.accept(Acceptance::First).await?;
        Ok(handshake)
    }

    async fn accept(&mut self, which: Acceptance) -> Result<(), InvocationError> {
        let _permit = if self.awaits_params {
            let permit = self.acceptance_permits.acquire().await;
            Some(permit.map_err(|_| InvocationError::Closed)?)
        } else {
            None
        };
        let index = which as usize;
        let address = format!("{}.{index}", self.param_prefix);
        if self.param_subscriptions[index].is_none() {
            // Before the caller knows of the address, so that nothing is missed. Each address has a
            // subscription of its own, because a wildcard would make the server go through all the
            // subjects that it has seen lately.
            let params = self.nats.subscribe(param_subject(&address)).await;
            let params = params.map_err(InvocationError::lattice("subscribe to the parameters"))?;
            self.param_subscriptions[index] = Some(params);
        }
        let inbox = self.caller_inbox.clone();
        let accepted = self.nats.publish_with_reply(inbox, address, Bytes::new());
        let accepted = accepted.await;
        accepted.map_err(InvocationError::lattice("accept the invocation"))
    }

    /// The next part of the parameters; an empty one is their end. Repeats the acceptance until the
    /// first part comes.
    ///
    /// # Errors
    ///
    /// The connection to the lattice's NATS is closed or failed.
    pub(super) async fn next_part(&mut self) -> Result<Bytes, InvocationError> {
        if self.seen.is_some() {
            return self.next().await.map(|(_, part)| part);
        }
        let mut pause = REPEAT;
        loop {
            match timeout(pause, self.next()).await {
                Err(_) => self.accept(Acceptance::Repeated).await?,
                Ok(next) => {
                    let (index, part) = next?;
                    if part.is_empty() && self.drop_if_other_open(index) {
                        continue;
                    }
                    self.note_used_address(index);
                    return Ok(part);
                }
            }
            pause *= 2;
        }
    }

    /// Drops the address at which an end has come, if the caller may send its parameters to the
    /// other one. Returns whether it was dropped.
    ///
    /// A caller may send an end marker to both addresses and its parameters to only one. So an end
    /// marker at one address means nothing while the other may still bring parameters.
    fn drop_if_other_open(&mut self, index: usize) -> bool {
        let has_other = self.param_subscriptions[1 - index].is_some();
        let drops = self.awaits_params && has_other;
        if drops {
            self.param_subscriptions[index] = None;
        }
        drops
    }

    /// Notes which address the caller uses. Nothing from the other one counts any more.
    fn note_used_address(&mut self, index: usize) {
        self.param_subscriptions[1 - index] = None;
        self.seen = Some(if index == 0 {
            SeenAcceptance::First
        } else {
            SeenAcceptance::OnlyRepeated
        });
    }

    /// The next message from the caller, and at which address it came. The first address goes
    /// first: a caller that has used both has seen the first acceptance.
    async fn next(&mut self) -> Result<(usize, Bytes), InvocationError> {
        let params = &mut self.param_subscriptions;
        poll_fn(|context| {
            for (index, params) in params.iter_mut().enumerate() {
                if let Some(params) = params
                    && let Poll::Ready(message) = params.poll_next_unpin(context)
                {
                    let message = message.ok_or(InvocationError::Closed);
                    return Poll::Ready(message.map(|message| (index, message.payload)));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Unsubscribes from the addresses, so that what the caller sends later does not pile up here until
    /// the call is answered. If nothing has confirmed the acceptance yet, one more message is still
    /// taken.
    ///
    /// # Errors
    ///
    /// The connection to the lattice's NATS is closed or failed.
    pub(super) async fn unsubscribe_params(&mut self) -> Result<(), InvocationError> {
        self.awaits_params = false;
        if self.seen.is_some() {
            self.param_subscriptions = [None, None];
        }
        for params in self.param_subscriptions.iter_mut().flatten() {
            let ended = params.unsubscribe_after(1).await;
            ended.map_err(InvocationError::lattice("end the parameters"))?;
        }
        Ok(())
    }

    /// Which acceptance the caller has confirmed so far.
    pub(super) fn confirmed_so_far(&self) -> Option<SeenAcceptance> {
        self.seen
    }

    /// Waits for a while until the caller confirms that it knows of the call. `None`: its client
    /// does not confirm, or is very slow.
    ///
    /// # Errors
    ///
    /// The connection to the lattice's NATS is closed or failed.
    pub(super) async fn await_confirmation(
        &mut self,
        unresponsive: &UnresponsiveClients,
    ) -> Result<Option<SeenAcceptance>, InvocationError> {
        if self.seen.is_none() {
            let limit = if unresponsive.contains(&self.caller_inbox) {
                SHORT_CONFIRMATION_TIMEOUT
            } else {
                CONFIRMATION_TIMEOUT
            };
            match timeout(limit, self.next_part()).await {
                Ok(part) => drop(part?),
                Err(_) => unresponsive.add(&self.caller_inbox),
            }
            // Whatever else the caller sends is of no use.
            self.param_subscriptions = [None, None];
        }
        if self.seen.is_some() {
            unresponsive.remove(&self.caller_inbox);
        }
        Ok(self.seen)
    }
}

/// Clients that did not confirm the acceptance of a call.
///
/// Other clients than the transport crate's may never send the empty message that does so, the end of
/// the parameters. After one
/// full wait for such a client, later waits are short. A client that confirms a call gets full waits
/// again.
#[derive(Debug, Default)]
pub(crate) struct UnresponsiveClients(Mutex<HashSet<Box<str>>>);

impl UnresponsiveClients {
    fn contains(&self, inbox: &Subject) -> bool {
        self.lock().contains(client_prefix(inbox))
    }

    fn add(&self, inbox: &Subject) {
        let mut clients = self.lock();
        if clients.len() >= MAX_UNRESPONSIVE {
            clients.clear();
        }
        clients.insert(client_prefix(inbox).into());
    }

    fn remove(&self, inbox: &Subject) {
        self.lock().remove(client_prefix(inbox));
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Box<str>>> {
        let Self(clients) = self;
        clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The prefix of the inboxes of one client's calls.
fn client_prefix(inbox: &Subject) -> &str {
    let inbox = inbox.as_str();
    inbox.rsplit_once('.').map_or(inbox, |(prefix, _)| prefix)
}
