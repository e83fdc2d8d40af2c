//! The lattice side: wRPC calls in, typed answers out; and calls out.
//!
//! A call comes in through `endpoint` (one function of an interface), `invocation` and `handshake`
//! (the protocol), and reaches the function as a `request`. Calls of the provider itself go out
//! through `outgoing`.

mod budgeted_reads;
mod call;
mod endpoint;
mod error;
mod handshake;
mod invocation;
mod load_limits;
mod memory_budget;
mod outgoing;
mod parameter_buffer;
mod parameter_limits;
mod parameters;
mod request;
mod results;
mod size;

pub use bindings::exports::wrpc::keyvalue0_1_0::eventual_batch::Value;
pub(crate) use endpoint::{Endpoint, EndpointContext, endpoint};
pub(crate) use load_limits::{DEFAULT_MAX_RESPONSE_BYTES, LoadLimits};
pub(crate) use outgoing::{Function, OutgoingCalls, OutgoingError};
pub use parameters::{BatchDecoder, NameDecoder, ParameterError, Parameters};
pub(crate) use request::Request;
pub(crate) use results::EncodeItem;

pub(crate) mod bindings {
    #![allow(missing_docs, clippy::pedantic)]
    wit_bindgen_wrpc::generate!({
        world: "provider",
        path: "wit",
        generate_all,
    });
}
