//! What the instance of one request may take of memory.

use wasmtime::ResourceLimiter;

/// The memories and tables of one store, all together.
#[derive(Debug)]
pub(super) struct MemoryLimit {
    used: usize,
    max: usize,
    refused: bool,
}

/// What one element of a table takes, in bytes.
const ELEMENT: usize = size_of::<usize>();

impl MemoryLimit {
    /// At most so many bytes.
    pub(super) fn new(max: usize) -> Self {
        Self {
            used: 0,
            max,
            refused: false,
        }
    }

    /// The limit, if the component was refused memory for it.
    pub(super) fn reached(&self) -> Option<usize> {
        self.refused.then_some(self.max)
    }

    fn take(&mut self, more: usize) -> bool {
        match self.used.checked_add(more).filter(|sum| *sum <= self.max) {
            Some(sum) => {
                self.used = sum;
                true
            }
            None => {
                self.refused = true;
                false
            }
        }
    }
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.take(desired.saturating_sub(current)))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.take(desired.saturating_sub(current).saturating_mul(ELEMENT)))
    }

    /// The pool's slot is full. That has the same cause, as the slot is as large as the limit.
    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.refused = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_and_tables_count_together() -> wasmtime::Result<()> {
        let mut limit = MemoryLimit::new(1000);
        assert!(limit.memory_growing(0, 600, None)?);
        assert!(limit.table_growing(0, 10, None)?);
        assert!(!limit.memory_growing(0, 400, None)?);
        assert_eq!(limit.reached(), Some(1000));
        // A refusal takes nothing.
        assert!(limit.memory_growing(600, 920, None)?);
        assert!(!limit.table_growing(10, 11, None)?);
        Ok(())
    }
}
