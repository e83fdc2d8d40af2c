//! What `bindgen!` makes of the two worlds.

#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]

/// `wasi:keyvalue@0.1.0`.
pub(crate) mod released {
    wasmtime::component::bindgen!({
        path: "../../wit",
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
            "wasi:keyvalue/wasi-keyvalue-error.error": crate::resources::Failure,
            "wasi:keyvalue/types.bucket": crate::resources::OpenBucket,
            "wasi:keyvalue/types.outgoing-value": crate::resources::Outgoing,
            "wasi:keyvalue/types.incoming-value": crate::resources::Incoming,
        },
    });
}

/// `wasi:keyvalue@0.2.0-draft`.
pub(crate) mod draft {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "host-draft",
        imports: { default: async | trappable },
        with: {
            "wasi:keyvalue/store.bucket": crate::resources::OpenBucket,
        },
        trappable_error_type: {
            "wasi:keyvalue/store.error" => crate::draft::StoreError,
        },
    });
}
