//! The memory that all replicas of a process may take together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A bound on the memory of replicas, and how much of it is taken.
#[derive(Debug)]
pub(super) struct ReplicaMemory {
    max: usize,
    used: AtomicUsize,
}

impl ReplicaMemory {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            used: AtomicUsize::new(0),
        }
    }

    /// How many bytes are taken.
    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether so many more bytes would fit.
    pub(super) fn has_room_for(&self, bytes: usize) -> bool {
        self.used().saturating_add(bytes) <= self.max
    }
}

/// What one copy takes of the memory. It is given back when the copy is dropped.
#[derive(Debug)]
pub(super) struct MemoryShare {
    memory: Arc<ReplicaMemory>,
    taken: AtomicUsize,
}

impl MemoryShare {
    pub(super) fn new(memory: Arc<ReplicaMemory>) -> Self {
        Self {
            memory,
            taken: AtomicUsize::new(0),
        }
    }

    /// Takes or gives back, so that so many bytes are taken. Returns whether all replicas are within the
    /// bound.
    pub(super) fn set(&self, bytes: usize) -> bool {
        let before = self.taken.swap(bytes, Ordering::Relaxed);
        let used = &self.memory.used;
        if bytes >= before {
            used.fetch_add(bytes - before, Ordering::Relaxed);
        } else {
            used.fetch_sub(before - bytes, Ordering::Relaxed);
        }
        self.memory.used() <= self.memory.max
    }
}

impl Drop for MemoryShare {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_copy_took_is_given_back() {
        let memory = Arc::new(ReplicaMemory::new(100));
        let (one, other) = (
            MemoryShare::new(Arc::clone(&memory)),
            MemoryShare::new(Arc::clone(&memory)),
        );
        assert!(one.set(60) && other.set(40));
        assert!(!other.set(41), "over the bound");
        assert!(one.set(10));
        assert!(memory.has_room_for(49) && !memory.has_room_for(50));
        drop(one);
        assert_eq!(memory.used(), 41);
    }
}
