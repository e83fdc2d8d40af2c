//! What the client gets: the component's answer, or a sentence in its place.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Frame, SizeHint};
use wasmtime_wasi_http::Error;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

/// An answer without the component's help: one sentence, which says nothing of the component's inside.
pub(super) fn sentence(status: StatusCode, text: &str) -> Response<HyperOutgoingBody> {
    let body = Full::from(format!("{text}\n"));
    let mut response = Response::new(body.map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, plain);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// Whether an instance returned. Then its answer is whole, also if the component did not say so.
#[derive(Clone, Debug, Default)]
pub(super) struct HasReturned(Arc<AtomicBool>);

impl HasReturned {
    /// Says so. To be called before the instance's store is dropped.
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A component's body. If the component is cut off before it has finished the body, so is the body.
///
/// wasmtime's own body just ends when its store is dropped, and looks whole to the client. So the end
/// counts only after trailers, which the linker's `outgoing-body.finish` adds to every body.
#[derive(Debug)]
pub(super) struct GuestBody {
    inner: HyperOutgoingBody,
    has_returned: HasReturned,
    is_finished: bool,
}

impl GuestBody {
    pub(super) fn new(inner: HyperOutgoingBody, has_returned: HasReturned) -> Self {
        Self {
            // The body of an answer that was given none.
            is_finished: inner.is_end_stream(),
            inner,
            has_returned,
        }
    }
}

impl Body for GuestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        loop {
            let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
            if let Some(Ok(frame)) = &frame
                && let Some(trailers) = frame.trailers_ref()
            {
                self.is_finished = true;
                if trailers.is_empty() {
                    continue;
                }
            }
            let is_cut_off = frame.is_none() && !self.is_finished && !self.has_returned.is_set();
            return Poll::Ready(if is_cut_off {
                Some(Err(Error::HttpResponseIncomplete))
            } else {
                frame
            });
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
