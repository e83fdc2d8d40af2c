//! A copy of a bucket in memory that is never wrong for long.
//!
//! The copy answers reads only while it is not older than allowed. Its age counts from a question
//! to the stream's leader whose answer said that the copy was complete: from when the question was
//! sent. [`machine`] decides what is asked, taken and dropped; [`run`] does it, in one task for
//! each bucket and login.
//!
//! A read that the copy cannot answer goes to the server. What this process has written, and what
//! the server has answered, set a floor: the copy answers nothing until it has caught up with them.

mod atomic_time;
mod clock;
mod copy;
mod delivery;
mod floor_recorder;
mod floors;
mod listing;
mod machine;
mod map;
mod memory;
mod reader;
mod record;
mod requests;
mod run;
mod shared;
#[cfg(test)]
mod simulation;
mod state;
mod stats;
mod stream_state;
mod task_slot;
mod waiting;

pub(crate) use floor_recorder::FloorRecorder;
pub(crate) use floors::AnsweredMessage;
pub(crate) use reader::{CopiedValue, CopyReader};
pub(crate) use requests::ReplicaSource;
pub(crate) use shared::ReplicaHandle;
pub use shared::{ReplicaMode, ReplicaSettings, Replicas};
pub use stats::{FallbackReason, ReplicaStats};
