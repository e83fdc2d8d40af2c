#![doc = include_str!("../README.md")]

mod bindings;
mod call;
#[allow(unreachable_pub, reason = "the generated bindings re-export the error")]
mod draft;
mod host;
mod limits;
mod linker;
mod read_charge;
mod released;
#[allow(
    unreachable_pub,
    reason = "the generated bindings re-export the resources"
)]
mod resources;
mod streams;
mod watcher;

pub use host::{KeyValueCtx, KeyValueCtxView, KeyValueHost, KeyValueView};
pub use limits::KeyValueLimits;
pub use linker::{add_to_linker, add_to_linker_with};
pub use watcher::WatcherExport;
