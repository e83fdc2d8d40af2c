//! The acceptance of an invocation, and making sure that the caller has noticed it.
//!
//! The client of the transport crate, which is a host's, takes the messages that come for its calls
//! and the news of its own calls from two queues, in random order. Under load it can come upon a
//! message before it knows of the call, and then it drops it: a call whose acceptance is lost hangs,
//! and one whose results are lost ends with "unexpected end of file". About one in a few hundred
//! does, where many calls are under way.
//!
//! Once the client has noticed the acceptance it knows of the call and loses nothing more, and it
//! shows that: it ends its parameters, at the address that the acceptance gave. So the acceptance is
//! repeated until the caller is heard of, with another address than the first. Which of the two the
//! caller uses tells what else it may have missed.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::SelectAll;
use lattice_nats::{Client, Message, Subject, Subscriber};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use wrpc_transport_nats::param_subject;

use super::unanswered::Unanswered;

/// After how long the acceptance is repeated for the first time; then after twice as long, and so on.
const REPEAT: Duration = Duration::from_millis(5);

/// How long a caller is waited for until it counts as silent: a host that is busy may take long.
const PATIENCE: Duration = Duration::from_millis(1280);

/// How long a caller is waited for that was silent the last time.
const PATIENCE_WITH_SILENT: Duration = Duration::from_millis(20);

/// How many calls whose parameters are waited for are being accepted at once. Thousands may have been
/// opened and left, and what the client has to do for each would stand before all that other calls
/// send.
static TURNS: Semaphore = Semaphore::const_new(64);

/// How many callers are known to be silent, at most.
const MAX_SILENT: usize = 1024;

/// An invocation that has been accepted.
pub(super) struct Handshake {
    pub(super) nats: Client,
    /// Where the caller takes the acceptance; the results go beside it.
    pub(super) caller: Subject,
    /// What the addresses of the parameters have in common.
    inbox: String,
    params: SelectAll<Subscriber>,
    /// Parameters are still to come.
    unfinished: bool,
    accepted: bool,
    heard: Option<Heard>,
}

/// Which acceptance a caller has noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// The first: it has missed nothing.
    First,
    /// A repeated one: it may have missed all that was sent to it before that.
    Repeated,
    /// None, or it does not say so.
    Nothing,
}

impl Handshake {
    /// Accepts the invocation of this caller, whose parameters are all there or `unfinished`.
    ///
    /// # Errors
    ///
    /// The lattice is not there.
    pub(super) async fn begin(
        nats: Client,
        caller: Subject,
        unfinished: bool,
    ) -> Result<Self, Unanswered> {
        let inbox = nats.new_inbox();
        let mut handshake = Self {
            nats,
            caller,
            inbox,
            params: SelectAll::new(),
            unfinished,
            accepted: false,
            heard: None,
        };
        handshake.accept().await?;
        Ok(handshake)
    }

    async fn accept(&mut self) -> Result<(), Unanswered> {
        let _turn = if self.unfinished {
            Some(TURNS.acquire().await.map_err(|_| Unanswered::Closed)?)
        } else {
            None
        };
        let repeated = self.accepted;
        let address = self.address(repeated);
        if self.params.len() <= usize::from(repeated) {
            // Before the caller knows of it, so that nothing is missed; and each by itself: for a
            // wildcard the server goes through all the subjects it has seen of late.
            let params = self.nats.subscribe(param_subject(&address)).await;
            self.params
                .push(params.map_err(Unanswered::lattice("subscribe to the parameters"))?);
        }
        self.accepted = true;
        let accepted = self
            .nats
            .publish_with_reply(self.caller.clone(), address, Bytes::new());
        let accepted = accepted.await;
        accepted.map_err(Unanswered::lattice("accept the invocation"))
    }

    /// One for the first acceptance, and one for all the others.
    fn address(&self, repeated: bool) -> String {
        format!("{}.{}", self.inbox, u8::from(repeated))
    }

    /// The next part of the parameters; an empty one is their end.
    ///
    /// # Errors
    ///
    /// The lattice is not there.
    pub(super) async fn params(&mut self) -> Result<Message, Unanswered> {
        if self.heard.is_some() {
            return self.params.next().await.ok_or(Unanswered::Closed);
        }
        let mut pause = REPEAT;
        let part = loop {
            match timeout(pause, self.params.next()).await {
                Ok(part) => break part.ok_or(Unanswered::Closed)?,
                Err(_) => self.accept().await?,
            }
            pause *= 2;
        };
        let first = param_subject(&self.address(false));
        self.heard = Some(if part.subject.as_str() == first {
            Heard::First
        } else {
            Heard::Repeated
        });
        Ok(part)
    }

    /// Has the lattice keep to itself what the caller sends after its parameters, but for the one
    /// message that tells what it has noticed. It would pile up here until the call is answered.
    ///
    /// # Errors
    ///
    /// The lattice is not there.
    pub(super) async fn end_of_params(&mut self) -> Result<(), Unanswered> {
        self.unfinished = false;
        if self.heard.is_some() {
            self.params.clear();
        }
        for params in &mut self.params {
            let ended = params.unsubscribe_after(1).await;
            ended.map_err(Unanswered::lattice("end the parameters"))?;
        }
        Ok(())
    }

    /// What the caller has noticed so far.
    pub(super) fn heard_so_far(&self) -> Option<Heard> {
        self.heard
    }

    /// Waits until the caller knows of the call, for a while.
    ///
    /// # Errors
    ///
    /// The lattice is not there.
    pub(super) async fn heard(&mut self, silent: &SilentCallers) -> Result<Heard, Unanswered> {
        if self.heard.is_none() {
            let was_silent = silent.contains(&self.caller);
            let patience = if was_silent {
                PATIENCE_WITH_SILENT
            } else {
                PATIENCE
            };
            match timeout(patience, self.params()).await {
                Ok(part) => drop(part?),
                Err(_) => silent.add(&self.caller),
            }
            if was_silent && self.heard.is_some() {
                silent.remove(&self.caller);
            }
        }
        Ok(self.heard.unwrap_or(Heard::Nothing))
    }
}

/// Clients that did not end the parameters of a call. One that never does, as others than the
/// transport crate's may, is waited for at length once; one that gave up a call is soon heard again.
#[derive(Default)]
pub(super) struct SilentCallers(Mutex<HashSet<Box<str>>>);

impl SilentCallers {
    fn contains(&self, caller: &Subject) -> bool {
        self.lock().contains(client(caller))
    }

    fn add(&self, caller: &Subject) {
        let mut callers = self.lock();
        if callers.len() >= MAX_SILENT {
            callers.clear();
        }
        callers.insert(client(caller).into());
    }

    fn remove(&self, caller: &Subject) {
        self.lock().remove(client(caller));
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Box<str>>> {
        let Self(callers) = self;
        callers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the inboxes of one client's calls have in common.
fn client(caller: &Subject) -> &str {
    let caller = caller.as_str();
    caller.rsplit_once('.').map_or(caller, |(client, _)| client)
}
