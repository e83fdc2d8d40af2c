//! Counts the requests to each path, as wasmCloud's example `http-keyvalue-counter` does: by
//! `wasi:keyvalue/store` and `atomics@0.2.0-draft`, over the link that `?link_name=` names.

use wasmcloud_component::http::{self, ErrorCode, IncomingRequest, Response};
use wasmcloud_component::wasi::keyvalue::{atomics, store};
use wasmcloud_component::wasmcloud::bus::lattice::{self, CallTargetInterface};

struct Counter;

http::export!(Counter);

impl http::Server for Counter {
    fn handle(request: IncomingRequest) -> http::Result<Response<impl http::OutgoingBody>> {
        let uri = request.uri();
        let query = uri.query().unwrap_or_default();
        let link_name = query.strip_prefix("link_name=").unwrap_or("default");
        let interfaces = ["store", "atomics"];
        let interfaces = interfaces.map(|name| CallTargetInterface::new("wasi", "keyvalue", name));
        lattice::set_link_name(link_name, interfaces.into()).map_err(failed)?;
        let bucket = store::open("default").map_err(failed)?;
        let count = atomics::increment(&bucket, uri.path(), 1).map_err(failed)?;
        Ok(Response::new(format!("Counter {}: {count}\n", uri.path())))
    }
}

fn failed(error: impl std::fmt::Debug) -> ErrorCode {
    ErrorCode::InternalError(Some(format!("{error:?}")))
}
