//! The callers that do not say whether they have noticed an acceptance.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lattice_nats::Subject;

/// How many callers are known to be silent, at most.
const MAX_SILENT: usize = 1024;

/// Clients that did not end the parameters of a call. One that never does, as others than the
/// transport crate's may, is waited for at length once; one that gave up a call is soon heard again.
#[derive(Default)]
pub(super) struct SilentCallers(Mutex<HashSet<Box<str>>>);

impl SilentCallers {
    pub(super) fn contains(&self, caller: &Subject) -> bool {
        self.lock().contains(client(caller))
    }

    pub(super) fn add(&self, caller: &Subject) {
        let mut callers = self.lock();
        if callers.len() >= MAX_SILENT {
            callers.clear();
        }
        callers.insert(client(caller).into());
    }

    pub(super) fn remove(&self, caller: &Subject) {
        self.lock().remove(client(caller));
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Box<str>>> {
        let Self(callers) = self;
        callers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the inboxes of one client's calls have in common.
fn client(caller: &Subject) -> &str {
    let caller = caller.as_str();
    caller.rsplit_once('.').map_or(caller, |(client, _)| client)
}
