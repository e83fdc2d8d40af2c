//! The interfaces as real components see them, on real servers.

#![allow(clippy::unwrap_used)]

mod dropped;
mod functions;
mod limits;
mod opening;
mod shared_context;
mod support;
