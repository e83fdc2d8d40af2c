//! One subscription for the callers of all calls whose parameters came whole.
//!
//! Of such a call one more message comes: the end of its parameters, which tells that the caller has
//! noticed the acceptance. A subscription for each would cost more than the message does: whenever one
//! begins or ends, a server forgets which way the subjects go that it has seen of late.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::Fuse;
use futures::{FutureExt as _, StreamExt as _};
use lattice_nats::{Client, SubscribeError, Subscriber};
use tokio::sync::oneshot;
use wrpc_transport_nats::param_subject;

use super::handshake::Heard;

/// Where callers say that they have noticed an acceptance.
#[derive(Clone, Debug)]
pub(super) struct Notices {
    /// What their addresses have in common.
    inbox: Arc<str>,
    last: Arc<AtomicU64>,
    expected: Expected,
}

/// Those that have not come, by the number of the call.
#[derive(Clone, Debug, Default)]
struct Expected(Arc<Mutex<HashMap<u64, oneshot::Sender<Heard>>>>);

/// The one of a call. It is no longer expected when this is dropped.
pub(super) struct Notice {
    /// What the addresses that the call's acceptances give have in common.
    pub(super) inbox: String,
    call: u64,
    expected: Expected,
    noticed: Fuse<oneshot::Receiver<Heard>>,
}

impl Notices {
    /// Subscribes to them.
    ///
    /// # Errors
    ///
    /// The lattice did not take the subscription.
    pub(super) async fn begin(nats: &Client) -> Result<Self, SubscribeError> {
        let inbox: Arc<str> = nats.new_inbox().into();
        let messages = nats.subscribe(param_subject(&format!("{inbox}.*.*")));
        let expected = Expected::default();
        tokio::spawn(hand_out(
            messages.await?,
            Arc::clone(&inbox),
            expected.clone(),
        ));
        Ok(Self {
            inbox,
            last: Arc::default(),
            expected,
        })
    }

    /// Expects that of another call.
    pub(super) fn expect(&self) -> Notice {
        let call = self.last.fetch_add(1, Ordering::Relaxed);
        let (heard, noticed) = oneshot::channel();
        self.expected.lock().insert(call, heard);
        Notice {
            inbox: format!("{}.{call}", self.inbox),
            call,
            expected: self.expected.clone(),
            noticed: noticed.fuse(),
        }
    }
}

/// Tells the calls as the messages come, until the client ends.
async fn hand_out(mut messages: Subscriber, inbox: Arc<str>, expected: Expected) {
    while let Some(message) = messages.next().await {
        if let Some((call, heard)) = parse(&message.subject, &inbox)
            && let Some(call) = expected.lock().remove(&call)
        {
            // A call that has ended does not care.
            let _ = call.send(heard);
        }
    }
}

/// Of which call a message is, and of which of its acceptances.
fn parse(subject: &str, inbox: &str) -> Option<(u64, Heard)> {
    let address = subject.strip_prefix(inbox)?.strip_prefix('.')?;
    let mut tokens = address.split('.');
    let call = tokens.next()?.parse().ok()?;
    let heard = match tokens.next()? {
        "0" => Heard::First,
        _ => Heard::Repeated,
    };
    Some((call, heard))
}

impl Notice {
    /// Waits until it comes, which it does once; `None` if that is no longer possible.
    pub(super) async fn come(&mut self) -> Option<Heard> {
        (&mut self.noticed).await.ok()
    }
}

impl Drop for Notice {
    fn drop(&mut self) {
        self.expected.lock().remove(&self.call);
    }
}

impl Expected {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Heard>>> {
        let Self(expected) = self;
        expected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_names_the_call_and_the_acceptance() {
        let parse = |subject| parse(subject, "_INBOX.a");
        assert_eq!(parse("_INBOX.a.7.0.params"), Some((7, Heard::First)));
        assert_eq!(parse("_INBOX.a.18.1.params"), Some((18, Heard::Repeated)));
        assert_eq!(parse("_INBOX.a.x.0.params"), None);
        assert_eq!(parse("_INBOX.ab.7.0.params"), None);
    }
}
