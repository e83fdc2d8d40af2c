//! What the client gets: the component's answer, or a sentence in its place.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

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

/// Whether an instance was ended before its answer was finished.
#[derive(Clone, Debug, Default)]
pub(super) struct CutOff(Arc<AtomicBool>);

impl CutOff {
    /// Says so. To be called before the instance's store is dropped.
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A component's body. If the component is cut off, so is the body.
///
/// wasmtime's own body just ends when its store is dropped, and looks whole to the client.
#[derive(Debug)]
pub(super) struct GuestBody {
    inner: HyperOutgoingBody,
    cut_off: CutOff,
}

impl GuestBody {
    pub(super) fn new(inner: HyperOutgoingBody, cut_off: CutOff) -> Self {
        Self { inner, cut_off }
    }
}

impl Body for GuestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match Pin::new(&mut self.inner).poll_frame(context) {
            Poll::Ready(None) if self.cut_off.is_set() => {
                Poll::Ready(Some(Err(Error::HttpResponseIncomplete)))
            }
            polled => polled,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
