//! What all calls have in common: a caller, a link, a deadline, a span, metrics, and log
//! lines.

use std::future::Future;
use std::sync::Arc;

use eventual_batch_engine::{Bucket, Deadline, Error, Kind, Limits, LogText, shorten};
use opentelemetry::KeyValue;
use tokio::time::Instant;
use tracing::{Instrument as _, Span, debug, field, info, info_span, warn};

use crate::links::{Grant, LinkError, Links, SHOWN_NAME_CHARS};
use crate::metrics::{CANCELLED, CallMetrics, InFlightCall, ShedReason, attribute};

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
///
/// A call that is dropped before it has an outcome was cut off: its caller has gone, or its time
/// was over. The metrics, its span and the log say so.
#[derive(Debug)]
pub struct Call {
    links: Arc<Links>,
    operation: &'static str,
    origin: CallOrigin,
    started: Instant,
    span: Span,
    /// The bucket that the call has reached, in the form that metrics use.
    bucket_attribute: Option<KeyValue>,
    /// Whether the call has an outcome. Otherwise dropping the call counts it as cancelled.
    has_outcome: bool,
    /// `None` if the links have no metrics.
    _in_flight: Option<InFlightCall>,
}

impl Call {
    /// A call that starts now. Its span is a child of the current span.
    #[must_use]
    pub fn new(links: &Arc<Links>, operation: &'static str, origin: CallOrigin) -> Self {
        let span = info_span!(
            "call",
            otel.name = field::Empty,
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
            bucket_attribute: None,
            has_outcome: false,
        }
    }

    /// The limits for one batch of the link that the call comes over ([`CallOrigin::link`]).
    ///
    /// The name of the bucket, among the parameters, is not read yet. It may mean the bucket of
    /// another link. The engine checks the limits of that link later.
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

    /// Runs the call: finds the bucket that the `name` means, does `work` on it, and logs
    /// the outcome. `work` gets the bucket and the call's deadline, which follows from the link's
    /// timeout. `keys` is the number of keys that the call names, for the span and the metrics;
    /// `None` if it names none.
    ///
    /// # Errors
    ///
    /// Why the link does not grant the bucket, or the error of `work`.
    pub async fn run<T, F>(
        self,
        name: &str,
        keys: Option<usize>,
        work: impl FnOnce(Arc<Bucket>, Deadline) -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        self.run_counted(name, keys, |_| None, work).await
    }

    /// The same for a call that lists keys: `listed` tells from the result how many, for the
    /// metrics.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub async fn run_listing<T, F>(
        self,
        name: &str,
        listed: impl FnOnce(&T) -> usize,
        work: impl FnOnce(Arc<Bucket>, Deadline) -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        let listed = |result: &T| Some(listed(result));
        self.run_counted(name, None, listed, work).await
    }

    async fn run_counted<T, F>(
        mut self,
        name: &str,
        named_keys: Option<usize>,
        count_listed: impl FnOnce(&T) -> Option<usize>,
        work: impl FnOnce(Arc<Bucket>, Deadline) -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        let span = self.span.clone();
        let grant = self.resolve(name);
        self.bucket_attribute = grant.as_ref().ok().map(|grant| grant.attribute.clone());
        self.name_span();
        // By the conventions of OpenTelemetry, a batch has two keys or more.
        let batch = named_keys.filter(|keys| *keys > 1);
        let batch = batch.and_then(|keys| i64::try_from(keys).ok());
        span.record("db.operation.batch.size", batch);
        async move {
            let result = match grant {
                Ok(Grant { link, bucket, .. }) => {
                    self.note_keys(named_keys);
                    let deadline = Deadline::new(self.started, link.timeout());
                    work(bucket, deadline).await
                }
                Err(error) => Err(error.into()),
            };
            if let Ok(result) = &result {
                self.note_keys(count_listed(result));
            }
            self.end(result.as_ref().err());
            result
        }
        .instrument(span)
        .await
    }

    /// Names the span by the operation and the bucket, if the call has reached one.
    ///
    /// Call this before the span is entered: entering starts the exported span, whose name is then
    /// fixed.
    fn name_span(&self) {
        if self.span.is_disabled() {
            return;
        }
        let Some(KeyValue { value, .. }) = &self.bucket_attribute else {
            self.span.record("otel.name", self.operation);
            return;
        };
        let bucket = value.as_str();
        self.span.record(attribute::BUCKET, &*bucket);
        let name = format!("{} {bucket}", self.operation);
        self.span.record("otel.name", name);
    }

    /// Counts the keys that the call has named or listed.
    fn note_keys(&self, keys: Option<usize>) {
        if let (Some(metrics), Some(bucket), Some(keys)) =
            (self.metrics(), &self.bucket_attribute, keys)
        {
            metrics.keys(self.operation, bucket, keys);
        }
    }

    /// Ends a call that is refused before it reaches a bucket, and logs the error.
    pub fn reject(mut self, error: &CallError) {
        self.name_span();
        let span = self.span.clone();
        span.in_scope(|| self.end(Some(error)));
    }

    /// Ends a call that is refused under load, and gets no answer.
    pub fn abandon(mut self, reason: ShedReason) {
        self.has_outcome = true;
        self.name_span();
        self.links.note_shed(reason);
    }

    fn metrics(&self) -> Option<&CallMetrics> {
        Some(&self.links.metrics()?.calls)
    }

    /// Counts and logs the outcome.
    fn end(&mut self, error: Option<&CallError>) {
        self.count(error.map(|error| error.kind().name()));
        if let Some(CallError::Shed { reason, .. }) = error {
            self.links.note_shed(*reason);
        }
        self.log(error);
    }

    /// Counts the call by its outcome: `None`, or the name of an error.
    fn count(&mut self, error: Option<&'static str>) {
        self.has_outcome = true;
        if let Some(metrics) = self.metrics() {
            let took = self.started.elapsed();
            metrics.ended(self.operation, self.bucket_attribute.as_ref(), error, took);
        }
    }

    /// Shows in the span that the call has failed.
    fn show_failure(&self, outcome: &'static str) {
        self.span.record(attribute::ERROR, outcome);
        // In small letters: in a log, `ERROR` is a level.
        self.span.record("otel.status_code", "error");
    }

    /// Logs the outcome. The whole error is logged at debug only, because it may name keys. At
    /// higher levels the log has only the error's [`LogText`].
    fn log(&self, error: Option<&CallError>) {
        let Some(error) = error else {
            debug!(outcome = "ok", "answered");
            return;
        };
        let outcome = error.kind().name();
        self.show_failure(outcome);
        match error.log_text() {
            Some(trouble) => warn!(outcome, trouble = trouble.as_str(), "call failed"),
            None => info!(outcome, "call refused"),
        }
        debug!(outcome, %error, "answered with an error");
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.has_outcome {
            return;
        }
        self.count(Some(CANCELLED));
        // A call that has reached a bucket has named its span.
        if self.bucket_attribute.is_none() {
            self.name_span();
        }
        self.show_failure(CANCELLED);
        let log = || info!(outcome = CANCELLED, "call cut off");
        self.span.in_scope(log);
    }
}
