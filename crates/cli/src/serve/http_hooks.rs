//! What a component may make of HTTP objects in the host, and that it sends no requests.
//!
//! wasmtime bounds each object and their number, but not the bytes of all of them.

use std::future;

use http::HeaderName;
use wasmtime::ensure;
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, RequestOptions, WasiBody, WasiHttpHooks,
};

/// The largest set of headers, in bytes.
pub(super) const MAX_FIELD_BYTES: usize = 64 * 1024;

/// How many times a component may change headers. Each change may copy a whole set of them.
const MAX_HEADER_CHANGES: usize = 2048;

/// The bytes of a body that wait for the client, half of what the host holds of it.
const BODY_CHUNK: usize = 256 * 1024;

/// How many bodies of that size a component may write. Further ones go byte by byte.
const MAX_BODIES: usize = 16;

/// How many bodies of answers a component may make. It needs one, and each takes some kilobytes of the
/// host's memory.
const MAX_ANSWER_BODIES: usize = 64;

/// How many outgoing requests a component may make, which are all denied.
const MAX_OUTGOING_REQUESTS: usize = 64;

type SendOutcome = Result<
    (
        http::Response<WasiBody>,
        Box<dyn Future<Output = Result<(), Error>> + Send>,
    ),
    Error,
>;

/// What one instance has made so far.
#[derive(Debug, Default)]
pub(super) struct HttpHooks {
    header_changes: usize,
    bodies: usize,
    answer_bodies: usize,
    outgoing_requests: usize,
}

impl HttpHooks {
    /// Counts one more body of an answer. An error ends the component.
    pub(super) fn count_answer_body(&mut self) -> wasmtime::Result<()> {
        self.answer_bodies += 1;
        ensure!(
            self.answer_bodies <= MAX_ANSWER_BODIES,
            "the component made more than {MAX_ANSWER_BODIES} bodies of answers"
        );
        Ok(())
    }

    /// Counts one more outgoing request. An error ends the component.
    pub(super) fn count_outgoing_request(&mut self) -> wasmtime::Result<()> {
        self.outgoing_requests += 1;
        ensure!(
            self.outgoing_requests <= MAX_OUTGOING_REQUESTS,
            "the component made more than {MAX_OUTGOING_REQUESTS} outgoing requests"
        );
        Ok(())
    }
}

impl WasiHttpHooks for HttpHooks {
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        self.header_changes += 1;
        self.header_changes > MAX_HEADER_CHANGES || DEFAULT_FORBIDDEN_HEADERS.contains(name)
    }

    fn send_request(
        &mut self,
        _request: http::Request<WasiBody>,
        _options: Option<RequestOptions>,
        _processed: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = SendOutcome> + Send> {
        Box::new(future::ready(Err(Error::HttpRequestDenied)))
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        self.bodies += 1;
        if self.bodies > MAX_BODIES {
            1
        } else {
            BODY_CHUNK
        }
    }
}
