//! What every call has in common: its caller, its link, its time, its log.

use std::future::Future;
use std::sync::Arc;

use lattice_nats::HeaderMap;
use tokio::time::Instant;
use tracing::{Instrument as _, Span, debug, field, info, info_span, warn};
use wasmcloud_provider_sdk::provider::invocation_context;

use super::held::MAX_HELD_BYTES;
use crate::engine::{self, Bucket, Deadline, Kind, Limits};
use crate::links::{LinkError, Links, shorten};

/// The header in which the host names the caller.
const SOURCE_ID: &str = "source-id";

/// Why a call is answered with an error.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Engine(#[from] engine::Error),
    #[error("the value of key {key:?} is not standard base64 with padding: {reason}")]
    NotBase64 { key: String, reason: String },
    #[error(
        "the calls under way bring more than {} MiB of parameters, which is all that this provider \
         takes at once: try again later, with smaller batches, or run more instances",
        MAX_HELD_BYTES >> 20
    )]
    NoRoom,
}

impl CallError {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Link(LinkError::NotGranted { .. }) => Kind::NoSuchBucket,
            Self::Link(_) => Kind::AccessDenied,
            Self::Engine(error) => error.kind(),
            Self::NotBase64 { .. } => Kind::InvalidArgument,
            Self::NoRoom => Kind::Unavailable,
        }
    }

    fn server_trouble(&self) -> Option<String> {
        match self {
            Self::Engine(error) => error.server_trouble(),
            Self::Link(_) | Self::NotBase64 { .. } | Self::NoRoom => None,
        }
    }
}

/// A call's parameters, or why they could not be read.
pub(super) type Params<P> = Result<P, CallError>;

/// Does the work of a call whose parameters could be read, and gives the error the interface's type.
pub(super) async fn answer<P, T, E, F>(
    call: Call,
    params: Params<P>,
    work: impl FnOnce(Call, P) -> F,
) -> (Result<T, E>,)
where
    E: From<CallError>,
    F: Future<Output = Result<T, CallError>>,
{
    let result = match params {
        Ok(params) => work(call, params).await,
        Err(error) => {
            call.span.in_scope(|| call.log(Some(&error)));
            Err(error)
        }
    };
    (result.map_err(E::from),)
}

/// `delete-many`, which is the same in both interfaces but for the type of its error.
pub(super) async fn delete_many<E: From<CallError>>(
    call: Call,
    params: Params<(String, Vec<String>)>,
) -> (Result<(), E>,) {
    answer(call, params, |call, (name, keys)| async move {
        call.run(&name, Some(keys.len()), |bucket, deadline| async move {
            Ok(bucket.delete_many(keys, deadline).await?)
        })
        .await
    })
    .await
}

/// One call: who made it, over which link, for what.
pub(super) struct Call {
    links: Arc<Links>,
    caller: Option<String>,
    link: String,
    begun: Instant,
    span: Span,
}

impl Call {
    pub(super) fn new(
        links: &Arc<Links>,
        operation: &'static str,
        headers: Option<&HeaderMap>,
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
        // Within the span, which it makes a child of the caller's.
        let context = span.in_scope(|| headers.map(invocation_context).unwrap_or_default());
        let named = headers.is_some_and(|headers| headers.get(SOURCE_ID).is_some());
        let link = context.link_name().to_owned();
        let caller = context.component.filter(|_| named);
        span.record("source", caller.as_deref().map(shorten));
        span.record("link", shorten(&link));
        Self {
            links: Arc::clone(links),
            caller,
            link,
            begun: Instant::now(),
            span,
        }
    }

    /// Most bytes of parameters that are read: far above what the link allows in a batch, so that a
    /// batch a little too large is still read and answered with what is wrong with it.
    pub(super) fn max_parameter_bytes(&self) -> u64 {
        const ROOM: u64 = 64 * 1024;
        let max = self.limits().map_or(0, |limits| limits.max_batch_bytes);
        let max = u64::try_from(max).unwrap_or(u64::MAX);
        max.saturating_mul(2).saturating_add(ROOM)
    }

    /// The error for parameters of more than [`Self::max_parameter_bytes`].
    pub(super) fn too_many_bytes(&self) -> CallError {
        match self.limits() {
            Ok(limits) => limits
                .too_many_bytes("its parameters are over twice as large")
                .into(),
            Err(error) => error.into(),
        }
    }

    /// Most elements of a batch that are read.
    pub(super) fn max_keys(&self) -> usize {
        // A caller without a link is told so, after its parameters, if they are small enough.
        const NOT_LINKED: usize = 1024;
        self.limits()
            .map_or(NOT_LINKED, |limits| limits.max_batch_keys)
    }

    /// The error for a batch of more than [`Self::max_keys`].
    pub(super) fn too_many_keys(&self, keys: usize) -> CallError {
        match self.limits() {
            Ok(limits) => limits.too_many_keys(keys).into(),
            Err(error) => error.into(),
        }
    }

    fn limits(&self) -> Result<Limits, LinkError> {
        Ok(*self.granted("")?.bucket.limits())
    }

    fn granted(&self, name: &str) -> Result<crate::links::Granted, LinkError> {
        let caller = self.caller.as_deref().ok_or(LinkError::NoSource)?;
        self.links.resolve(caller, &self.link, name)
    }

    /// Resolves the bucket, does the work within the link's time, and logs how it went.
    pub(super) async fn run<T, F>(
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
            let result = match self.granted(bucket) {
                Ok(granted) => {
                    self.span.record("bucket", granted.bucket.name());
                    let deadline = Deadline::new(self.begun, granted.link.timeout());
                    work(granted.bucket, deadline).await
                }
                Err(error) => Err(error.into()),
            };
            self.log(result.as_ref().err());
            result
        }
        .instrument(span)
        .await
    }

    /// An error's text may name keys, which only the debug level shows.
    fn log(&self, error: Option<&CallError>) {
        let outcome = match error {
            None => "ok",
            Some(error) => name(error.kind()),
        };
        self.span.record("outcome", outcome);
        match error {
            None => debug!("answered"),
            Some(error) => {
                match error.server_trouble() {
                    Some(trouble) => warn!(outcome, trouble, "call failed"),
                    None => info!(outcome, "call refused"),
                }
                debug!(%error, "answered with an error");
            }
        }
    }
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::NoSuchBucket => "no-such-bucket",
        Kind::AccessDenied => "access-denied",
        Kind::InvalidArgument => "invalid-argument",
        Kind::TooLarge => "too-large",
        Kind::Unavailable => "unavailable",
        Kind::Other => "other",
    }
}
