//! What all calls have in common: a caller, a link, a deadline, a span, and log lines.

use std::future::Future;
use std::sync::Arc;

use eventual_batch_engine::{Bucket, Deadline, Error, Kind, Limits, LogText, shorten};
use tokio::time::Instant;
use tracing::{Instrument as _, Span, debug, field, info, info_span, warn};

use crate::grants::{Grant, LinkError, Links, SHOWN_NAME_CHARS};

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
        }
    }

    /// The text for the log, if the server or the connection failed.
    fn log_text(&self) -> Option<LogText> {
        match self {
            Self::Engine(error) => error.log_text(),
            Self::Link(_) | Self::Rejected { .. } => None,
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
    origin: CallOrigin,
    started: Instant,
    span: Span,
}

impl Call {
    /// A call that starts now. `identify` runs in the call's span, so that it can set the span's
    /// parent.
    pub fn new(
        links: &Arc<Links>,
        operation: &'static str,
        identify: impl FnOnce() -> CallOrigin,
    ) -> Self {
        let span = info_span!(
            "call",
            operation,
            source = field::Empty,
            link = field::Empty,
            bucket = field::Empty,
            keys = field::Empty,
            outcome = field::Empty,
        );
        let origin = span.in_scope(identify);
        let shown = |name| shorten(name, SHOWN_NAME_CHARS);
        span.record("source", origin.caller.as_deref().map(shown));
        span.record("link", shown(&origin.link));
        Self {
            links: Arc::clone(links),
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
    /// timeout. `keys` is the number of keys in the batch, for the span; `None` if the operation
    /// has no batch.
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
        span.record("keys", keys);
        async move {
            let result = match self.resolve(bucket) {
                Ok(grant) => {
                    self.span.record("bucket", grant.bucket.name());
                    let deadline = Deadline::new(self.started, grant.link.timeout());
                    work(grant.bucket, deadline).await
                }
                Err(error) => Err(error.into()),
            };
            self.log(result.as_ref().err());
            result
        }
        .instrument(span)
        .await
    }

    /// Ends a call that is refused before it reaches a bucket, and logs the error.
    pub fn reject(self, error: &CallError) {
        self.span.in_scope(|| self.log(Some(error)));
    }

    /// Logs the outcome. The whole error is logged at debug only, because it may name keys. At
    /// higher levels the log has only the error's [`LogText`].
    fn log(&self, error: Option<&CallError>) {
        let outcome = error.map_or("ok", |error| error.kind().name());
        self.span.record("outcome", outcome);
        match error {
            None => debug!("answered"),
            Some(error) => {
                match error.log_text() {
                    Some(trouble) => warn!(outcome, trouble = trouble.as_str(), "call failed"),
                    None => info!(outcome, "call refused"),
                }
                debug!(%error, "answered with an error");
            }
        }
    }
}
