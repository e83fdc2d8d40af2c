//! The acceptance of an invocation, and making sure that the caller has noticed it.
//!
//! The client of the transport crate, which is a host's, takes the messages that come for its calls
//! and the news of its own calls from two queues, in random order. Under load it can come upon a
//! message before it knows of the call, and then it drops it: a call whose acceptance is lost hangs,
//! and one whose results are lost ends with "unexpected end of file". About one in a few hundred
//! does, where many calls are under way.
//!
//! Once the client has noticed the acceptance it knows of the call and loses nothing more, and it
//! shows that: it ends its parameters. So the acceptance is repeated until the caller is heard of,
//! and results wait for that. The wait is over, nearly always, before the results are there.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use futures::StreamExt as _;
use lattice_nats::{Client, Message, Subject, Subscriber};
use tokio::time::timeout;
use wrpc_transport_nats::param_subject;

/// After how long the acceptance is repeated for the first time; then after twice as long, and so on.
const REPEAT: Duration = Duration::from_millis(5);

/// How often the acceptance is repeated before the results are sent to a caller that is not heard of:
/// for a third of a second in all.
const REPEATS: u32 = 6;

/// How many callers are known to be silent, at most.
const MAX_SILENT: usize = 1024;

/// An invocation that has been accepted.
pub(super) struct Handshake {
    nats: Client,
    /// Where the caller takes the acceptance.
    caller: Subject,
    /// Where this process takes the parameters.
    inbox: String,
    params: Subscriber,
    heard: bool,
}

impl Handshake {
    /// Accepts the invocation of this caller.
    ///
    /// # Errors
    ///
    /// The lattice is not there.
    pub(super) async fn begin(nats: Client, caller: Subject) -> anyhow::Result<Self> {
        let inbox = nats.new_inbox();
        // Before the caller knows of it, so that nothing is missed.
        let params = nats
            .subscribe(param_subject(&inbox))
            .await
            .context("failed to subscribe to the parameters")?;
        let handshake = Self {
            nats,
            caller,
            inbox,
            params,
            heard: false,
        };
        handshake.accept().await?;
        Ok(handshake)
    }

    async fn accept(&self) -> anyhow::Result<()> {
        let (caller, inbox) = (self.caller.clone(), self.inbox.clone());
        let accepted = self.nats.publish_with_reply(caller, inbox, Bytes::new());
        accepted.await.context("failed to accept the invocation")
    }

    /// The next part of the parameters; an empty one is their end.
    ///
    /// # Errors
    ///
    /// The lattice is not there.
    pub(super) async fn params(&mut self) -> anyhow::Result<Message> {
        let mut pause = REPEAT;
        loop {
            let next = self.params.next();
            let part = match timeout(pause, next).await {
                Ok(part) => part.context("the connection to the lattice is closed")?,
                Err(_) if self.heard => continue,
                Err(_) => {
                    pause *= 2;
                    self.accept().await?;
                    continue;
                }
            };
            self.heard = true;
            return Ok(part);
        }
    }

    /// Waits until the caller knows of the call, unless it is known for never showing that.
    ///
    /// # Errors
    ///
    /// The lattice is not there.
    pub(super) async fn heard(&mut self, silent: &SilentCallers) -> anyhow::Result<()> {
        if self.heard || silent.contains(&self.caller) {
            return Ok(());
        }
        match timeout(REPEAT * 2_u32.pow(REPEATS), self.params()).await {
            Ok(part) => part.map(drop),
            Err(_) => {
                silent.add(&self.caller);
                Ok(())
            }
        }
    }
}

/// Callers that do not end their parameters, as other clients than the transport crate's may: each
/// of them is waited for once.
#[derive(Default)]
pub(super) struct SilentCallers(Mutex<HashSet<Box<str>>>);

impl SilentCallers {
    fn contains(&self, caller: &Subject) -> bool {
        let Self(callers) = self;
        let callers = callers.lock().unwrap_or_else(PoisonError::into_inner);
        callers.contains(client(caller))
    }

    fn add(&self, caller: &Subject) {
        let Self(callers) = self;
        let mut callers = callers.lock().unwrap_or_else(PoisonError::into_inner);
        if callers.len() >= MAX_SILENT {
            callers.clear();
        }
        callers.insert(client(caller).into());
    }
}

/// What the inboxes of one client's calls have in common.
fn client(caller: &Subject) -> &str {
    let caller = caller.as_str();
    caller.rsplit_once('.').map_or(caller, |(client, _)| client)
}
