//! The generated client of the world `caller`.
#![allow(missing_docs, unreachable_pub, clippy::pedantic)]

wit_bindgen_wrpc::generate!({
    world: "caller",
    path: "../../wit",
    generate_all,
    additional_derives: [PartialEq, Eq],
});
