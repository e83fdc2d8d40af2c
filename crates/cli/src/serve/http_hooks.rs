//! What a component may make of HTTP objects in the host, and that it sends no requests.
//!
//! wasmtime bounds each object and their number, but not the bytes of all of them. Nor does it tell
//! an answer that was finished from one that was cut off.

use std::future;

use http::HeaderName;
use wasmtime::component::{Linker, Resource};
use wasmtime::{Result, StoreContextMut, bail};
use wasmtime_wasi_http::p2::bindings::http::types::{
    self, Host as _, HostOutgoingBody as _, HostOutgoingRequest as _, Method,
};
use wasmtime_wasi_http::p2::body::HostOutgoingBody;
use wasmtime_wasi_http::p2::types::HostOutgoingRequest;
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, FieldMap, RequestOptions, WasiBody, WasiHttpHooks,
    WasiHttpView as _,
};

use super::guest::GuestState;

/// The largest set of headers, in bytes.
pub(super) const MAX_FIELD_BYTES: usize = 64 * 1024;

/// How many times a component may change headers. Each change may copy a whole set of them.
const MAX_HEADER_CHANGES: usize = 2048;

/// The bytes of a body that wait for the client, half of what the host holds of it.
const BODY_CHUNK: usize = 256 * 1024;

/// How many bodies of that size a component may write. Further ones go byte by byte.
const MAX_BODIES: usize = 16;

/// How many outgoing requests a component may make, which are all denied.
const MAX_OUTGOING_REQUESTS: usize = 64;

/// The longest method of such a request, in bytes.
const MAX_METHOD: usize = 64;

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
    outgoing_requests: usize,
    has_finished_body: bool,
}

impl HttpHooks {
    /// Whether the component said of a body that it is whole.
    pub(super) fn has_finished_body(&self) -> bool {
        self.has_finished_body
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

/// Puts functions that bound and look on in the place of wasmtime's.
pub(super) fn shadow_functions(linker: &mut Linker<GuestState>) -> Result<()> {
    linker.allow_shadowing(true);
    // The version that wasmtime-wasi-http adds.
    let mut types = linker.instance("wasi:http/types@0.2.12")?;
    types.func_wrap(
        "[constructor]outgoing-request",
        |mut store: StoreContextMut<'_, GuestState>, (headers,): (Resource<FieldMap>,)| {
            let made = &mut store.data_mut().hooks().outgoing_requests;
            *made += 1;
            if *made > MAX_OUTGOING_REQUESTS {
                bail!("the component made more than {MAX_OUTGOING_REQUESTS} outgoing requests");
            }
            Ok((types::HostOutgoingRequest::new(
                &mut store.data_mut().http(),
                headers,
            )?,))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-method",
        |mut store: StoreContextMut<'_, GuestState>,
         (request, method): (Resource<HostOutgoingRequest>, Method)| {
            if matches!(&method, Method::Other(name) if name.len() > MAX_METHOD) {
                return Ok((Err(()),));
            }
            Ok((store.data_mut().http().set_method(request, method)?,))
        },
    )?;
    types.func_wrap(
        "[static]outgoing-body.finish",
        |mut store: StoreContextMut<'_, GuestState>,
         (body, trailers): (Resource<HostOutgoingBody>, Option<Resource<FieldMap>>)| {
            match store.data_mut().http().finish(body, trailers) {
                Ok(()) => {
                    store.data_mut().hooks().has_finished_body = true;
                    Ok((Ok(()),))
                }
                Err(error) => Ok((Err(store.data_mut().http().convert_error_code(error)?),)),
            }
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}
