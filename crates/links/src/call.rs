//! What all calls have in common: a caller, a link, a deadline, a span, metrics, and log
//! lines.

use std::future::Future;
use std::sync::Arc;

use eventual_batch_engine::{Bucket, Deadline, Error, Kind, Limits, LogText, shorten};
use opentelemetry::KeyValue;
use tokio::time::Instant;
use tracing::{Instrument as _, Span, debug, field, info, info_span, warn};

use crate::grants::{Grant, LinkError, Links, SHOWN_NAME_CHARS};
use crate::metrics::{CallMetrics, InFlightCall, ShedReason, attribute};

/// The name that stands for the link's own bucket.
const OWN_BUCKET: &str = "";

/// Why a call failed. The text is for the caller, and may name keys.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The caller reaches no bucket by that link and name.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The operation on the bucket failed.
    #[error(transparent)]
    Engine(#[from] Error),
    /// The front end refused the call before it reached a bucket.
    #[error("{reason}")]
    Rejected {
        /// The kind of the error.
        kind: Kind,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The front end refused the call because the process is at one of its limits. Trying again
    /// may help.
    #[error("{text}")]
    Shed {
        /// The limit.
        reason: ShedReason,
        /// What the limit is, and what to do.
        text: String,
    },
}

impl CallError {
    /// The kind of the error.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Link(LinkError::NotGranted { .. }) => Kind::NoSuchBucket,
            Self::Link(_) => Kind::AccessDenied,
            Self::Engine(error) => error.kind(),
            Self::Rejected { kind, .. } => *kind,
            Self::Shed { .. } => Kind::Unavailable,
        }
    }

    /// The text for the log, if the server or the connection failed.
    fn log_text(&self) -> Option<LogText> {
        match self {
            Self::Engine(error) => error.log_text(),
            Self::Link(_) | Self::Rejected { .. } | Self::Shed { .. } => None,
        }
    }
}

/// Who makes a call, and over which of its links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallOrigin {
    /// The caller, as the host or the embedder names it; `None` if the call does not say.
    pub caller: Option<String>,
    /// The link's name.
    pub link: String,
}

/// One call, from its start to its outcome in the log.
#[derive(Debug)]
pub struct Call {
    links: Arc<Links>,
    operation: &'static str,
    origin: CallOrigin,
    started: Instant,
    span: Span,
    /// `None` if the links have no metrics.
    _in_flight: Option<InFlightCall>,
}

impl Call {
    /// A call that starts now. Its span is a child of the current span.
    #[must_use]
    pub fn new(links: &Arc<Links>, operation: &'static str, origin: CallOrigin) -> Self {
        let span = info_span!(
            "call",
            otel.name = operation,
            otel.kind = "client",
            otel.status_code = field::Empty,
            db.system.name = attribute::NATS,
            db.operation.name = operation,
            db.collection.name = field::Empty,
            db.operation.batch.size = field::Empty,
            source = field::Empty,
            link = field::Empty,
            error.type = field::Empty,
        );
        let shown = |name| shorten(name, SHOWN_NAME_CHARS);
        span.record("source", origin.caller.as_deref().map(shown));
        span.record("link", shown(&origin.link));
        let metrics = links.metrics();
        Self {
            _in_flight: metrics.map(|metrics| metrics.calls.begin(operation)),
            links: Arc::clone(links),
            operation,
            origin,
            started: Instant::now(),
            span,
        }
    }

    /// The limits that the link sets for one batch.
    ///
    /// # Errors
    ///
    /// The link does not exist, or it was refused.
    pub fn limits(&self) -> Result<Limits, LinkError> {
        Ok(*self.resolve(OWN_BUCKET)?.bucket.limits())
    }

    fn resolve(&self, name: &str) -> Result<Grant, LinkError> {
        let caller = self.origin.caller.as_deref().ok_or(LinkError::NoCaller)?;
        self.links.resolve(caller, &self.origin.link, name)
    }

    /// Runs the call: finds the bucket that the name `bucket` means, does `work` on it, and logs
    /// the outcome. `work` gets the bucket and the call's deadline, which follows from the link's
    /// timeout. `keys` is the number of keys that the call names, for the span and the metrics;
    /// `None` if it names none.
    ///
    /// # Errors
    ///
    /// Why the link does not grant the bucket, or the error of `work`.
    pub async fn run<T, F>(
        self,
        bucket: &str,
        keys: Option<usize>,
        work: impl FnOnce(Arc<Bucket>, Deadline) -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        let span = self.span.clone();
        // By the conventions, a batch has two keys or more.
        span.record("db.operation.batch.size", keys.filter(|keys| *keys > 1));
        async move {
            let (bucket, result) = match self.resolve(bucket) {
                Ok(grant) => {
                    let Grant {
                        link,
                        bucket,
                        attribute,
                    } = grant;
                    self.span.record(attribute::BUCKET, bucket.name());
                    if let (Some(metrics), Some(keys)) = (self.metrics(), keys) {
                        metrics.keys(self.operation, &attribute, keys);
                    }
                    let deadline = Deadline::new(self.started, link.timeout());
                    (Some(attribute), work(bucket, deadline).await)
                }
                Err(error) => (None, Err(error.into())),
            };
            self.end(bucket.as_ref(), result.as_ref().err());
            result
        }
        .instrument(span)
        .await
    }

    /// Ends a call that is refused before it reaches a bucket, and logs the error.
    pub fn reject(self, error: &CallError) {
        self.span.in_scope(|| self.end(None, Some(error)));
    }

    /// Ends a call that is refused under load, and gets no answer.
    pub fn abandon(self, reason: ShedReason) {
        if let Some(metrics) = self.metrics() {
            metrics.shed(reason);
        }
    }

    fn metrics(&self) -> Option<&CallMetrics> {
        Some(&self.links.metrics()?.calls)
    }

    /// Counts and logs the outcome.
    fn end(&self, bucket: Option<&KeyValue>, error: Option<&CallError>) {
        if let Some(metrics) = self.metrics() {
            let kind = error.map(|error| error.kind().name());
            metrics.ended(self.operation, bucket, kind, self.started.elapsed());
            if let Some(CallError::Shed { reason, .. }) = error {
                metrics.shed(*reason);
            }
        }
        self.log(error);
    }

    /// Logs the outcome. The whole error is logged at debug only, because it may name keys. At
    /// higher levels the log has only the error's [`LogText`].
    fn log(&self, error: Option<&CallError>) {
        let Some(error) = error else {
            debug!(outcome = "ok", "answered");
            return;
        };
        let outcome = error.kind().name();
        self.span.record(attribute::ERROR, outcome);
        // In small letters: in a log, `ERROR` is a level.
        self.span.record("otel.status_code", "error");
        match error.log_text() {
            Some(trouble) => warn!(outcome, trouble = trouble.as_str(), "call failed"),
            None => info!(outcome, "call refused"),
        }
        debug!(outcome, %error, "answered with an error");
    }
}
