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

    /// Takes so many more bytes, if they fit.
    fn take(&self, bytes: usize) -> bool {
        let fits = |used: usize| {
            let used = used.saturating_add(bytes);
            (used <= self.max).then_some(used)
        };
        let taken = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        taken.is_ok()
    }
}

/// What one copy takes of the memory. It is given back when the copy is dropped.
#[derive(Debug)]
pub(super) struct MemoryShare {
    memory: Arc<ReplicaMemory>,
    taken: AtomicUsize,
    /// At least so much is taken until the copy has been read.
    reserved: AtomicUsize,
}

impl MemoryShare {
    /// Reserves what the copy will take. `None`: there is no room for it.
    pub(super) fn reserve(memory: Arc<ReplicaMemory>, bytes: usize) -> Option<Self> {
        memory.take(bytes).then(|| Self {
            memory,
            taken: AtomicUsize::new(bytes),
            reserved: AtomicUsize::new(bytes),
        })
    }

    /// Takes or gives back, so that so many bytes are taken, or what is reserved. Returns whether
    /// there was room. Only one task may call this.
    pub(super) fn set(&self, bytes: usize) -> bool {
        let bytes = bytes.max(self.reserved.load(Ordering::Relaxed));
        let before = self.taken.load(Ordering::Relaxed);
        if bytes > before {
            if !self.memory.take(bytes - before) {
                return false;
            }
        } else {
            self.memory
                .used
                .fetch_sub(before - bytes, Ordering::Relaxed);
        }
        self.taken.store(bytes, Ordering::Relaxed);
        true
    }

    /// From now on only what is used is taken.
    pub(super) fn release(&self) {
        self.reserved.store(0, Ordering::Relaxed);
    }
}

impl Drop for MemoryShare {
    fn drop(&mut self) {
        self.release();
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(memory: &Arc<ReplicaMemory>, bytes: usize) -> Option<MemoryShare> {
        MemoryShare::reserve(Arc::clone(memory), bytes)
    }

    #[test]
    fn what_a_copy_took_is_given_back() {
        let memory = Arc::new(ReplicaMemory::new(100));
        let (one, other) = (share(&memory, 0).unwrap(), share(&memory, 0).unwrap());
        assert!(one.set(60) && other.set(40));
        assert!(one.set(10));
        assert!(other.set(90));
        drop(one);
        assert_eq!(memory.used(), 90);
    }

    #[test]
    fn only_the_copy_that_does_not_fit_is_refused() {
        let memory = Arc::new(ReplicaMemory::new(100));
        let (one, other) = (share(&memory, 0).unwrap(), share(&memory, 0).unwrap());
        assert!(one.set(50) && other.set(50));
        assert!(!other.set(51), "over the bound");
        assert!(one.set(50), "the other one's growth is not its fault");
        assert_eq!(memory.used(), 100);
    }

    #[test]
    fn what_is_reserved_is_there_while_others_grow() {
        let memory = Arc::new(ReplicaMemory::new(100));
        let loading = share(&memory, 80).unwrap();
        assert!(loading.set(1));
        assert!(share(&memory, 21).is_none());
        let other = share(&memory, 20).unwrap();
        assert!(loading.set(80));
        loading.release();
        assert!(loading.set(70) && other.set(30));
        assert!(!other.set(31));
    }
}
