//! The lattice side: wRPC calls in, typed answers out.
//!
//! A function of an interface (`eventual_batch`, `batch`, `store`, `atomics`) turns wire types into the engine's and
//! back; what all of them do alike is in `call`; `function`, `invocation` and `handshake` speak wRPC,
//! and `serve` runs the calls.

mod atomics;
mod batch;
mod call;
mod eventual_batch;
mod function;
mod handshake;
mod held;
mod invocation;
mod parameters;
mod results;
mod serve;
mod size;
mod store;
mod unanswered;

pub use bindings::exports::wrpc::keyvalue0_1_0::eventual_batch::Value;
pub use function::Lattice;
pub use parameters::{BatchDecoder, NameDecoder, Parameters, Refusal};
pub use serve::Serving;

mod bindings {
    #![allow(missing_docs, clippy::pedantic)]
    wit_bindgen_wrpc::generate!({
        world: "provider",
        path: "wit",
        generate_all,
    });
}
