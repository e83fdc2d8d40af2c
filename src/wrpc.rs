//! The lattice side: wRPC calls in, typed answers out.
//!
//! A function of an interface (`eventual_batch`, `batch`, `store`, `atomics`) turns wire types into the engine's and
//! back; what all of them do alike is in `call`; `function`, `invocation` and `handshake` speak wRPC,
//! and `serve` runs the calls.

mod call;
mod endpoint;
mod handshake;
mod invocation;
mod memory_budget;
mod parameters;
mod results;
mod serve;
mod size;
mod unanswered;

pub use bindings::exports::wrpc::keyvalue0_1_0::eventual_batch::Value;
pub(crate) use call::{Params, answer, delete_many};
pub use endpoint::Lattice;
pub(crate) use endpoint::{Endpoint, endpoint};
pub use parameters::{BatchDecoder, NameDecoder, ParameterError, Parameters};
pub use serve::Serving;

pub(crate) mod bindings {
    #![allow(missing_docs, clippy::pedantic)]
    wit_bindgen_wrpc::generate!({
        world: "provider",
        path: "wit",
        generate_all,
    });
}
