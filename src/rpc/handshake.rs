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

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::SelectAll;
use lattice_nats::{Client, Subject, Subscriber};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use wrpc_transport_nats::param_subject;

use super::notices::{Notice, Notices};
use super::silent::SilentCallers;
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

/// An invocation that has been accepted.
pub(super) struct Handshake {
    pub(super) nats: Client,
    /// Where the caller takes the acceptance; the results go beside it.
    pub(super) caller: Subject,
    expects: Expects,
    accepted: bool,
    heard: Option<Heard>,
}

/// What is to come of the caller.
enum Expects {
    /// The end of its parameters, which are all there.
    End(Notice),
    /// Parameters.
    Params(Params),
}

/// Parameters that are still to come.
struct Params {
    /// What their addresses have in common.
    inbox: String,
    /// One for each address.
    parts: SelectAll<Subscriber>,
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
    /// Accepts the invocation of this caller, whose parameters are all there.
    ///
    /// # Errors
    ///
    /// The lattice is not there.
    pub(super) async fn begin(
        nats: Client,
        caller: Subject,
        notices: &Notices,
    ) -> Result<Self, Unanswered> {
        let expects = Expects::End(notices.expect());
        Self::accepted(nats, caller, expects).await
    }

    /// Accepts the invocation of this caller, whose parameters are not all there.
    ///
    /// # Errors
    ///
    /// The lattice is not there.
    pub(super) async fn begin_unfinished(
        nats: Client,
        caller: Subject,
    ) -> Result<Self, Unanswered> {
        let expects = Expects::Params(Params {
            inbox: nats.new_inbox(),
            parts: SelectAll::new(),
        });
        Self::accepted(nats, caller, expects).await
    }

    async fn accepted(nats: Client, caller: Subject, expects: Expects) -> Result<Self, Unanswered> {
        let mut handshake = Self {
            nats,
            caller,
            expects,
            accepted: false,
            heard: None,
        };
        handshake.accept().await?;
        Ok(handshake)
    }

    async fn accept(&mut self) -> Result<(), Unanswered> {
        let repeated = self.accepted;
        let address = self.expects.address(repeated);
        let _turn = match &mut self.expects {
            Expects::End(_) => None,
            Expects::Params(params) => {
                let turn = TURNS.acquire().await.map_err(|_| Unanswered::Closed)?;
                params.subscribe(&self.nats, &address, repeated).await?;
                Some(turn)
            }
        };
        self.accepted = true;
        let accepted = self
            .nats
            .publish_with_reply(self.caller.clone(), address, Bytes::new());
        let accepted = accepted.await;
        accepted.map_err(Unanswered::lattice("accept the invocation"))
    }

    /// The next part of the parameters; an empty one is their end.
    ///
    /// # Errors
    ///
    /// The lattice is not there.
    pub(super) async fn params(&mut self) -> Result<Bytes, Unanswered> {
        let mut pause = REPEAT;
        let next = loop {
            if self.heard.is_some() {
                break self.expects.next().await;
            }
            match timeout(pause, self.expects.next()).await {
                Ok(next) => break next,
                Err(_) => self.accept().await?,
            }
            pause *= 2;
        };
        let (heard, part) = next.ok_or(Unanswered::Closed)?;
        self.heard.get_or_insert(heard);
        Ok(part)
    }

    /// Has the lattice keep to itself what the caller sends after its parameters, but for the one
    /// message that tells what it has noticed. It would pile up here until the call is answered.
    ///
    /// # Errors
    ///
    /// The lattice is not there.
    pub(super) async fn end_of_params(&mut self) -> Result<(), Unanswered> {
        let Expects::Params(params) = &mut self.expects else {
            return Ok(());
        };
        if self.heard.is_some() {
            params.parts.clear();
        }
        for parts in &mut params.parts {
            let ended = parts.unsubscribe_after(1).await;
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

impl Expects {
    /// One for the first acceptance, and one for all the others.
    fn address(&self, repeated: bool) -> String {
        let inbox = match self {
            Self::End(notice) => &notice.inbox,
            Self::Params(params) => &params.inbox,
        };
        format!("{inbox}.{}", u8::from(repeated))
    }

    /// Which acceptance the next message is an answer to, and what it brings; `None` if none can come.
    async fn next(&mut self) -> Option<(Heard, Bytes)> {
        match self {
            Self::End(notice) => Some((notice.come().await?, Bytes::new())),
            Self::Params(params) => {
                let part = params.parts.next().await?;
                let first = part.subject.as_str() == param_subject(&self.address(false));
                let heard = if first { Heard::First } else { Heard::Repeated };
                Some((heard, part.payload))
            }
        }
    }
}

impl Params {
    /// Before the caller knows of the address, so that nothing is missed; and each by itself: for a
    /// wildcard the server goes through all the subjects it has seen of late.
    async fn subscribe(
        &mut self,
        nats: &Client,
        address: &str,
        repeated: bool,
    ) -> Result<(), Unanswered> {
        if self.parts.len() <= usize::from(repeated) {
            let parts = nats.subscribe(param_subject(address)).await;
            self.parts
                .push(parts.map_err(Unanswered::lattice("subscribe to the parameters"))?);
        }
        Ok(())
    }
}
