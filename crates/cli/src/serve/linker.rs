//! What components are given to import.

use wasmtime::component::{Linker, Resource};
use wasmtime::{Engine, Result, StoreContextMut};
use wasmtime_wasi_http::p2::bindings::http::types::{self, HostOutgoingRequest as _, Method};
use wasmtime_wasi_http::p2::body::HostOutgoingBody;
use wasmtime_wasi_http::p2::types::{HostOutgoingRequest, HostOutgoingResponse};
use wasmtime_wasi_http::{FieldMap, WasiHttpView as _};

use super::guest::GuestState;

/// The longest method of an outgoing request, in bytes.
const MAX_METHOD: usize = 64;

/// The interfaces of WASI 0.2, HTTP and `wasi:keyvalue`.
pub(super) fn new(engine: &Engine) -> Result<Linker<GuestState>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    shadow_functions(&mut linker)?;
    eventual_batch_wasmtime::add_to_linker(&mut linker)?;
    Ok(linker)
}

/// Puts functions in the place of wasmtime's that would let a component fill the host's memory, or
/// that do not tell a finished answer from one that was cut off.
fn shadow_functions(linker: &mut Linker<GuestState>) -> Result<()> {
    linker.allow_shadowing(true);
    // The version that wasmtime-wasi-http adds.
    let mut types = linker.instance("wasi:http/types@0.2.12")?;
    types.func_wrap(
        "[constructor]outgoing-request",
        |mut store: StoreContextMut<'_, GuestState>, (headers,): (Resource<FieldMap>,)| {
            store.data_mut().hooks().count_outgoing_request()?;
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
        "[method]outgoing-response.body",
        |mut store: StoreContextMut<'_, GuestState>,
         (response,): (Resource<HostOutgoingResponse>,)| {
            store.data_mut().hooks().count_answer_body()?;
            let mut http = store.data_mut().http();
            Ok((types::HostOutgoingResponse::body(&mut http, response)?,))
        },
    )?;
    types.func_wrap(
        "[static]outgoing-body.finish",
        |mut store: StoreContextMut<'_, GuestState>,
         (body, trailers): (Resource<HostOutgoingBody>, Option<Resource<FieldMap>>)| {
            let table = store.data_mut().http().table;
            let body = table.delete(body)?;
            let trailers = trailers.map(|trailers| table.delete(trailers));
            // Trailers, be they empty, tell the end of a body from that of its instance.
            let trailers = trailers.transpose()?.unwrap_or_default();
            Ok((body.finish(Some(trailers)),))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}
