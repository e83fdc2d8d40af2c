//! What `bindgen!` makes of the two worlds.

#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]

use eventual_batch_engine::Kind;
use eventual_batch_links::{CallError, error_message};
use wasmtime::component::ResourceTableError;

use self::draft::wasi::keyvalue0_2_0_draft::store;
use crate::limits::OverLimit;

/// `wasi:keyvalue@0.1.0`.
pub(crate) mod released {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "host",
        imports: {
            "wasi:keyvalue/types.[static]bucket.open-bucket": async | trappable,
            "wasi:keyvalue/eventual": async | trappable,
            "wasi:keyvalue/atomic": async | trappable,
            "wasi:keyvalue/eventual-batch": async | trappable,
            default: trappable,
        },
        with: {
            "wasi:io": wasmtime_wasi_io::bindings::wasi::io,
            "wasi:keyvalue/wasi-keyvalue-error.error": crate::resources::ErrorResource,
            "wasi:keyvalue/types.bucket": crate::resources::OpenBucket,
            "wasi:keyvalue/types.outgoing-value": crate::resources::OutgoingBytes,
            "wasi:keyvalue/types.incoming-value": crate::resources::IncomingBytes,
        },
    });
}

/// `wasi:keyvalue@0.2.0-draft`.
pub(crate) mod draft {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "host-draft",
        imports: { default: async | trappable },
        with: {
            "wasi:keyvalue/store.bucket": crate::resources::OpenBucket,
        },
        trappable_error_type: {
            "wasi:keyvalue/store.error" => crate::bindings::StoreError,
        },
    });
}

/// What a component exports to be told of changes.
pub(crate) mod told {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "watcher",
        exports: { default: async },
        with: {
            "wasi:keyvalue/store": crate::bindings::draft::wasi::keyvalue0_2_0_draft::store,
        },
    });
}

/// Why a function of the draft does not answer with a value.
#[derive(Debug)]
pub enum StoreError {
    /// The component gets this error.
    Answer(store::Error),
    /// The component is ended.
    Trap(wasmtime::Error),
}

impl From<CallError> for StoreError {
    fn from(error: CallError) -> Self {
        Self::Answer(match error.kind() {
            Kind::NoSuchBucket => store::Error::NoSuchStore,
            Kind::AccessDenied => store::Error::AccessDenied,
            Kind::InvalidArgument | Kind::TooLarge | Kind::Unavailable | Kind::Other => {
                store::Error::Other(error_message(&error))
            }
        })
    }
}

impl From<OverLimit> for StoreError {
    fn from(over: OverLimit) -> Self {
        Self::Answer(store::Error::Other(over.to_string()))
    }
}

impl From<ResourceTableError> for StoreError {
    fn from(error: ResourceTableError) -> Self {
        Self::Trap(error.into())
    }
}

impl From<wasmtime::Error> for StoreError {
    fn from(error: wasmtime::Error) -> Self {
        Self::Trap(error)
    }
}
