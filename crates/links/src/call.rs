//! What every call has in common: its caller, its link, its time, its log.

use std::future::Future;
use std::sync::Arc;

use eventual_batch_engine::{Bucket, Deadline, Error, Kind, Limits, LogText};
use tokio::time::Instant;
use tracing::{Instrument as _, Span, debug, field, info, info_span, warn};

use crate::grants::{Grant, LinkError, Links, shorten};

/// Why a call is answered with an error. Its text is for the caller: it may name keys.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The caller reaches no bucket by that link and name.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The bucket could not do it.
    #[error(transparent)]
    Engine(#[from] Error),
    /// The front end refused the call before it reached a bucket.
    #[error("{reason}")]
    Rejected {
        /// What kind of trouble it is.
        kind: Kind,
        /// What is wrong, and what to do.
        reason: String,
    },
}

impl CallError {
    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Link(LinkError::NotGranted { .. }) => Kind::NoSuchBucket,
            Self::Link(_) => Kind::AccessDenied,
            Self::Engine(error) => error.kind(),
            Self::Rejected { kind, .. } => *kind,
        }
    }

    /// What the log may say of a failure of the server or the connection.
    fn log_text(&self) -> Option<LogText> {
        match self {
            Self::Engine(error) => error.log_text(),
            Self::Link(_) | Self::Rejected { .. } => None,
        }
    }
}

/// Who makes a call, over which of its links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallOrigin {
    /// The component's or embedder's name for itself; `None` if the call does not say.
    pub id: Option<String>,
    /// The link's name.
    pub link: String,
}

/// One call: who made it, over which link, for what, and when it began.
#[derive(Debug)]
pub struct Call {
    links: Arc<Links>,
    origin: CallOrigin,
    begun: Instant,
    span: Span,
}

impl Call {
    /// A call that begins now. `identify` runs within the call's span, so that it can make the span a
    /// child of the caller's.
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
        span.record("source", origin.id.as_deref().map(shorten));
        span.record("link", shorten(&origin.link));
        Self {
            links: Arc::clone(links),
            origin,
            begun: Instant::now(),
            span,
        }
    }

    /// What the link allows one batch to be.
    ///
    /// # Errors
    ///
    /// The caller has no such link, or it was refused.
    pub fn limits(&self) -> Result<Limits, LinkError> {
        Ok(*self.resolve("")?.bucket.limits())
    }

    fn resolve(&self, name: &str) -> Result<Grant, LinkError> {
        let caller = self.origin.id.as_deref().ok_or(LinkError::NoCaller)?;
        self.links.resolve(caller, &self.origin.link, name)
    }

    /// Resolves the bucket, does the work within the link's time, and logs how it went. `keys` is the
    /// number of keys in the batch, if the operation has a batch.
    ///
    /// # Errors
    ///
    /// Why the bucket was not reached, or what `work` failed with.
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
                    let deadline = Deadline::new(self.begun, grant.link.timeout());
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

    /// Logs a call that ends before it reaches a bucket.
    pub fn reject(self, error: &CallError) {
        self.span.in_scope(|| self.log(Some(error)));
    }

    /// The whole error is logged at debug only, because it may name keys. Above that, the log has what
    /// [`LogText`] lets through.
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
