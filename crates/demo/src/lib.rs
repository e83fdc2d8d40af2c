//! What both demos show of a component over HTTP.
//!
//! `cargo xtask demo` is the program of this package. `cargo xtask demo --wasmcloud` is a program of
//! the workspace `e2e`, for it needs the host.

mod terminal;
mod tour;

pub use terminal::{since, title, wait_for_enter};
pub use tour::{curl_lines, errors, round_trip, show, thousand_keys, two_buckets};
