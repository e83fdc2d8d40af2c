//! What wit-bindgen makes of the world `adapter`, and the export of its implementation.

#![allow(
    unsafe_code,
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic
)]

use crate::Adapter;

#[cfg(not(feature = "older-shape"))]
wit_bindgen::generate!({
    path: [
        "../../wit/deps/wasi-io-0.2.0",
        "../../wit/deps/wasi-keyvalue-0.1.0",
        "../../wit/deps/wrpc-keyvalue-0.1.0",
        "../../wit/adapter",
    ],
    world: "wasmcloud:eventual-batch-adapter/adapter@0.1.0",
    // What is passed on is borrowed from where it is kept, not copied first.
    ownership: Borrowing { duplicate_if_necessary: true },
    generate_all,
});

#[cfg(feature = "older-shape")]
wit_bindgen::generate!({
    path: [
        "../../wit/deps/wasi-io-0.2.0",
        "../../wit/older-shape/wasi-keyvalue-0.1.0",
        "../../wit/deps/wrpc-keyvalue-0.1.0",
        "../../wit/adapter",
    ],
    world: "wasmcloud:eventual-batch-adapter/adapter@0.1.0",
    ownership: Borrowing { duplicate_if_necessary: true },
    generate_all,
});

export!(Adapter);
