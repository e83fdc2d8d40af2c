//! Reads that the server answers, of a bucket that has a copy: later answers from the copy must not be
//! older.

use std::sync::Arc;

use super::copy::ReplicaCopy;
use super::floors::{AnsweredMessage, ReplicaFloors};
use super::shared::ReplicaUser;

/// A read that the server answers. It is begun before the request is sent.
#[derive(Debug)]
pub(crate) struct ServerRead<'a> {
    user: &'a ReplicaUser,
    copy: Option<Arc<ReplicaCopy>>,
    /// Where the copy was before.
    position: u64,
}

impl ReplicaUser {
    /// Begins a read that the server answers.
    pub(crate) fn server_read(&self) -> ServerRead<'_> {
        let copy = self.shared_state().copy();
        ServerRead {
            user: self,
            position: ReplicaFloors::position(copy.as_ref()),
            copy,
        }
    }
}

impl ServerRead<'_> {
    /// Takes note of the answer: the last message of each key. `None`: the key has none.
    pub(crate) fn finish<'k>(self, answer: impl IntoIterator<Item = Option<AnsweredMessage<'k>>>) {
        // A copy that is begun later has it all.
        let state = self.user.shared_state();
        let Some(shown) = state.copy() else {
            return;
        };
        let is_same = |copy: &Arc<ReplicaCopy>| Arc::ptr_eq(copy, &shown);
        if !self.copy.as_ref().is_some_and(is_same) {
            return self.user.note_server_answered();
        }
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
}
