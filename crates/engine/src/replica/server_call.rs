//! Calls that the server answers, of a bucket that has a copy: later answers from the copy must not be
//! older than what was read and written.

use std::sync::{Arc, Weak};

use super::copy::ReplicaCopy;
use super::floors::{AnsweredMessage, ReplicaFloors};
use super::shared::ReplicaUser;

/// A call that the server answers. It is begun before the first request is sent.
#[derive(Debug)]
pub(crate) struct ServerCall<'a> {
    user: &'a ReplicaUser,
    /// The copy at the beginning. The call does not keep its memory.
    copy: Weak<ReplicaCopy>,
    /// Where the copy was before.
    position: u64,
}

impl ReplicaUser {
    /// Begins a call that the server answers.
    pub(crate) fn server_call(&self) -> ServerCall<'_> {
        let copy = self.shared_state().copy();
        ServerCall {
            user: self,
            position: ReplicaFloors::position(copy.as_ref()),
            copy: copy.as_ref().map(Arc::downgrade).unwrap_or_default(),
        }
    }
}

impl ServerCall<'_> {
    /// Takes note of what was read: the last message of each key. `None`: the key has none.
    pub(crate) fn has_read<'k>(
        self,
        answer: impl IntoIterator<Item = Option<AnsweredMessage<'k>>>,
    ) {
        // A copy that is begun later has it all.
        let Some(shown) = self.same_copy() else {
            return self.user.note_server_answered();
        };
        let state = self.user.shared_state();
        let (floors, now) = (&state.floors, state.now());
        let mut without_sequence = false;
        for message in answer {
            match message {
                Some(message) if message.sequence > 0 => {
                    floors.read(message, self.position, Some(&shown), now);
                }
                // That a key has no message has no sequence.
                _ => without_sequence = true,
            }
        }
        if without_sequence {
            self.user.note_server_answered();
        }
    }

    /// Takes note that writes were acknowledged, of which these are the lowest and the highest sequence.
    /// No read may miss them from now on.
    pub(crate) fn has_written(&self, (lowest, highest): (u64, u64)) {
        let Some(shown) = self.same_copy() else {
            return self.user.note_server_answered();
        };
        let state = self.user.shared_state();
        let now = state.now();
        for sequence in [lowest, highest] {
            state
                .floors
                .wrote(sequence, self.position, Some(&shown), now);
        }
    }

    /// Takes note that a write may be carried out, now or later.
    pub(crate) fn may_have_written(&self) {
        self.user.note_server_answered();
    }

    /// The copy, if it is the one of the call's beginning. Another one may be of another stream, whose
    /// sequences say nothing.
    fn same_copy(&self) -> Option<Arc<ReplicaCopy>> {
        let shown = self.user.shared_state().copy()?;
        let is_same = std::ptr::eq(self.copy.as_ptr(), Arc::as_ptr(&shown));
        is_same.then_some(shown)
    }
}
