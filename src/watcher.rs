//! `wrpc:keyvalue/watcher@0.2.0-draft`: tells a component of changes.
//!
//! A host answers it for a component that exports `wasi:keyvalue/watcher@0.2.0-draft`. The
//! functions have no result. Of the wasmCloud 1.9 host, the caller sees this:
//!
//! | the component | what comes back |
//! | --- | --- |
//! | returns, traps, cannot be instantiated, or runs longer than its host allows | the same end |
//! | has no free instance | one more call is accepted, and waits; others are not accepted |
//! | runs nowhere | the server says that nobody listens |
//!
//! So a call that nobody accepts has not begun, and is no try.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use lattice_nats::HeaderMap;
use tracing::{Instrument as _, debug, info, info_span, warn};
use wasmcloud_provider_sdk::wasmcloud_tracing::context::TraceContextInjector;

use crate::wrpc::{EncodeItem as _, Function, OutgoingCalls, OutgoingError};
use eventual_batch_engine::{ChangeHandler, ChangeKind, DeliveryOutcome, KeyChange};
use eventual_batch_links::WatchIdentity;

const INTERFACE: &str = "wrpc:keyvalue/watcher@0.2.0-draft";

/// The host takes the bucket for the number of a resource, and hands the component a resource of
/// that number, which stands for nothing.
const BUCKET: &str = "0";

/// How much of its time a call may take until a host has accepted it.
const ACCEPT_WITHIN: f64 = 0.9;

/// Calls one component over one link.
#[derive(Clone, Debug)]
pub(crate) struct ComponentWatcher {
    calls: OutgoingCalls,
    identity: Arc<WatchIdentity>,
    /// Whether the last call did not come back.
    failing: Arc<AtomicBool>,
}

impl ComponentWatcher {
    pub(crate) fn new(calls: OutgoingCalls, identity: &WatchIdentity) -> Self {
        Self {
            calls,
            identity: Arc::new(identity.clone()),
            failing: Arc::default(),
        }
    }

    async fn tell(self, change: KeyChange) -> DeliveryOutcome {
        // If the call takes too long, it is dropped here.
        let mut report = CallReport {
            watcher: &self,
            problem: Some("the component has not returned in time"),
        };
        let outcome = self.call_component(change).await;
        report.problem = outcome.err().map(OutgoingError::text);
        match outcome {
            Ok(()) => DeliveryOutcome::Delivered,
            Err(OutgoingError::Refused) => DeliveryOutcome::Failed,
            Err(
                OutgoingError::Unreachable
                | OutgoingError::NotAccepted
                | OutgoingError::NotConnected,
            ) => DeliveryOutcome::Unreachable,
        }
    }

    async fn call_component(&self, change: KeyChange) -> Result<(), OutgoingError> {
        let WatchIdentity { scope, target, .. } = &*self.identity;
        // The rest is for the function. One that began any later would have no time.
        let accept_within = change.call_timeout.mul_f64(ACCEPT_WITHIN);
        let (name, params) = encode(change).map_err(|_| OutgoingError::Refused)?;
        let function = Function {
            prefix: &format!("{scope}.{target}"),
            interface: INTERFACE,
            name,
        };
        self.calls
            .call(function, self.headers(), params, accept_within)
            .await
    }

    /// What a host wants to know of a call, and the trace that the call belongs to.
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in TraceContextInjector::default_with_span().iter() {
            headers.insert(name.as_str(), value.as_str());
        }
        headers.insert("source-id", self.identity.source.as_str());
        headers.insert("target-id", self.identity.target.as_str());
        headers.insert("link-name", self.identity.link.as_str());
        headers
    }

    /// Logs when calls begin to fail, and when they come back again.
    fn note(&self, problem: Option<&'static str>) {
        let WatchIdentity { target, link, .. } = &*self.identity;
        let was_failing = self.failing.swap(problem.is_some(), Ordering::Relaxed);
        match problem {
            None if was_failing => info!(target, link, "the component is told of changes again"),
            None => debug!("told the component of a change"),
            Some(problem) if !was_failing => warn!(
                target,
                link, problem, "the component cannot be told of a change, which is tried again"
            ),
            Some(problem) => debug!(problem, "the component was not told of a change"),
        }
    }
}

impl ChangeHandler for ComponentWatcher {
    fn deliver(&self, change: KeyChange) -> BoxFuture<'static, DeliveryOutcome> {
        let WatchIdentity { target, link, .. } = &*self.identity;
        let attempt = change.attempt;
        let span = info_span!("tell", target, link, revision = change.revision, attempt);
        self.clone().tell(change).instrument(span).boxed()
    }
}

/// Notes the outcome of a call when the call ends, or is dropped.
struct CallReport<'a> {
    watcher: &'a ComponentWatcher,
    problem: Option<&'static str>,
}

impl Drop for CallReport<'_> {
    fn drop(&mut self) {
        self.watcher.note(self.problem);
    }
}

/// The function that a change is told by, and its parameters.
fn encode(change: KeyChange) -> io::Result<(&'static str, Bytes)> {
    let mut params = BytesMut::new();
    BUCKET.to_owned().encode(&mut params)?;
    change.key.encode(&mut params)?;
    Ok(match change.kind {
        ChangeKind::Set(value) => {
            params.reserve(value.len() + 5);
            value.encode(&mut params)?;
            ("on-set", params.freeze())
        }
        ChangeKind::Delete => ("on-delete", params.freeze()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_two_texts_and_a_list_of_bytes() {
        let change = |kind| KeyChange {
            key: "a.b".to_owned(),
            kind,
            revision: 1,
            stored: std::time::SystemTime::UNIX_EPOCH,
            is_initial: false,
            attempt: 1,
            call_timeout: std::time::Duration::from_secs(1),
        };
        let set = encode(change(ChangeKind::Set(Bytes::from_static(b"\0xyz")))).unwrap();
        assert_eq!(
            set,
            ("on-set", Bytes::from_static(b"\x010\x03a.b\x04\0xyz"))
        );
        let deleted = encode(change(ChangeKind::Delete)).unwrap();
        assert_eq!(deleted, ("on-delete", Bytes::from_static(b"\x010\x03a.b")));
    }
}
