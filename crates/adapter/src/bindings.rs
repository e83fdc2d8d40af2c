//! What wit-bindgen makes of the world `adapter`, and the export of its implementation.

#![allow(
    unsafe_code,
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic
)]

use crate::Adapter;

wit_bindgen::generate!({
    path: "../../wit",
    world: "adapter",
    // What is passed on is borrowed from where it is kept, not copied first.
    ownership: Borrowing { duplicate_if_necessary: true },
    generate_all,
});

export!(Adapter);
