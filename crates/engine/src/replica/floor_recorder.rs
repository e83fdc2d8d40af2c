//! Raises the floors by what the server has answered, so that later answers from the copy are not
//! older.

use std::sync::{Arc, Weak};

use super::copy::ReplicaCopy;
use super::floors::{AnsweredMessage, ReplicaFloors};
use super::shared::ReplicaHandle;

/// Records the floors of one call that the server answers.
///
/// Make it before the call's first request. It notes the copy, and the copy's position then.
/// The answer to a write has a sequence above that position, unless the stream was replaced.
/// The copy may receive the write before the answer is here, so a later position says nothing.
#[derive(Debug)]
pub(crate) struct FloorRecorder<'a> {
    replica: &'a ReplicaHandle,
    /// The copy before the first request. The recorder does not keep its memory.
    copy: Weak<ReplicaCopy>,
    /// Where the copy was before the first request.
    position: u64,
}

impl ReplicaHandle {
    /// The recorder of a call that the server will answer. Make it before the first request.
    pub(crate) fn floor_recorder(&self) -> FloorRecorder<'_> {
        let copy = self.state().copy();
        FloorRecorder {
            replica: self,
            position: ReplicaFloors::position(copy.as_ref()),
            copy: copy.as_ref().map(Arc::downgrade).unwrap_or_default(),
        }
    }
}

impl FloorRecorder<'_> {
    /// Records what was read: the last message of each key. `None`: the key has none.
    pub(crate) fn record_read<'k>(
        self,
        answer: impl IntoIterator<Item = Option<AnsweredMessage<'k>>>,
    ) {
        // A copy that is made later includes this answer.
        let Some(copy) = self.same_copy() else {
            return self.replica.raise_floor_to_now();
        };
        let state = self.replica.state();
        let (floors, now) = (&state.floors, state.now());
        let mut without_sequence = false;
        for message in answer {
            match message {
                Some(message) if message.sequence > 0 => {
                    floors.read(message, self.position, Some(&copy), now);
                }
                // A key without a message has no sequence to compare with.
                _ => without_sequence = true,
            }
        }
        if without_sequence {
            self.replica.raise_floor_to_now();
        }
    }

    /// Records that writes were acknowledged, of which these are the lowest and the highest
    /// sequence. No read may miss them from now on.
    pub(crate) fn record_written(&self, (lowest, highest): (u64, u64)) {
        let Some(copy) = self.same_copy() else {
            return self.replica.raise_floor_to_now();
        };
        let state = self.replica.state();
        let now = state.now();
        for sequence in [lowest, highest] {
            state
                .floors
                .raise_to(sequence, self.position, Some(&copy), now);
        }
    }

    /// Records a write that may be carried out, now or later.
    pub(crate) fn record_unclear_write(&self) {
        self.replica.raise_floor_to_now();
    }

    /// The copy, if it is the one of the call's beginning. Another one may be of another stream,
    /// whose sequences say nothing.
    fn same_copy(&self) -> Option<Arc<ReplicaCopy>> {
        let copy = self.replica.state().copy()?;
        let is_same = std::ptr::eq(self.copy.as_ptr(), Arc::as_ptr(&copy));
        is_same.then_some(copy)
    }
}
