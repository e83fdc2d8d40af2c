//! A bound on the memory that calls take together.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The budget is counted in units of this many bytes.
const UNIT: usize = 1024;

/// A call that takes no more than this is not counted, so that small calls are served while large
/// ones fill the budget. The limit on the number of invocations bounds small calls together.
const SMALL_CALL: usize = 16 * 1024;

/// A bound on the bytes that the calls under way hold together. Clones share one bound.
#[derive(Clone)]
pub(super) struct MemoryBudget {
    free: Arc<Semaphore>,
    units: usize,
}

impl MemoryBudget {
    pub(super) fn new(bytes: usize) -> Self {
        let units = bytes.div_ceil(UNIT).min(Semaphore::MAX_PERMITS).min(
            // What one reservation can ask for.
            usize::try_from(u32::MAX).unwrap_or(usize::MAX),
        );
        Self {
            free: Arc::new(Semaphore::new(units)),
            units,
        }
    }

    /// The bound, in MiB.
    pub(super) fn mebibytes(&self) -> usize {
        self.units / (1024 * 1024 / UNIT)
    }

    /// A reservation of nothing yet.
    pub(super) fn reservation(&self) -> Reservation {
        Reservation {
            budget: self.clone(),
            permit: Mutex::default(),
        }
    }

    /// A call may be larger than the whole budget. It takes all of the budget then, so it runs
    /// while no other call holds a part. The call's link says how large a call may be.
    fn units_for(&self, bytes: usize) -> usize {
        if bytes <= SMALL_CALL {
            0
        } else {
            bytes.div_ceil(UNIT).min(self.units)
        }
    }
}

impl fmt::Debug for MemoryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let free = self.free.available_permits();
        write!(f, "MemoryBudget({free} of {} KiB free)", self.units)
    }
}

/// What one call has reserved of a budget. The budget gets it back when this is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    budget: MemoryBudget,
    permit: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Reservation {
    /// Grows to this many bytes, if there is room now.
    #[must_use]
    pub(super) fn try_grow_to(&self, bytes: usize) -> bool {
        let mut held = self.lock();
        let missing = self.missing(held.as_ref(), bytes);
        if missing == 0 {
            return true;
        }
        let free = Arc::clone(&self.budget.free);
        match free.try_acquire_many_owned(missing) {
            Ok(permit) => {
                add(&mut held, permit);
                true
            }
            Err(_) => false,
        }
    }

    /// Waits for room, and grows to this many bytes. Reservations that wait get room in the order
    /// in which they came. A reservation that waits should hold nothing: two that wait for each
    /// other would wait for ever.
    pub(super) async fn wait_for(&self, bytes: usize) {
        let missing = self.missing(self.lock().as_ref(), bytes);
        let free = Arc::clone(&self.budget.free);
        // The semaphore is never closed.
        if let Ok(permit) = free.acquire_many_owned(missing).await {
            add(&mut self.lock(), permit);
        }
    }

    /// Gives back what it holds beyond this many bytes.
    pub(super) fn shrink_to(&self, bytes: usize) {
        let units = self.budget.units_for(bytes);
        if let Some(permit) = &mut *self.lock() {
            let spare = permit.num_permits().saturating_sub(units);
            drop(permit.split(spare));
        }
    }

    /// Gives everything back.
    pub(super) fn release(&self) {
        *self.lock() = None;
    }

    pub(super) fn budget(&self) -> &MemoryBudget {
        &self.budget
    }

    fn missing(&self, held: Option<&OwnedSemaphorePermit>, bytes: usize) -> u32 {
        let held = held.map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = self.budget.units_for(bytes).saturating_sub(held);
        u32::try_from(missing).unwrap_or(u32::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Option<OwnedSemaphorePermit>> {
        self.permit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(held: &mut Option<OwnedSemaphorePermit>, more: OwnedSemaphorePermit) {
    match held {
        Some(permit) => permit.merge(more),
        None => *held = Some(more),
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    const MIB: usize = 1024 * 1024;

    #[test]
    fn calls_share_the_budget_and_give_it_back() {
        let budget = MemoryBudget::new(4 * MIB);
        let (one, two) = (budget.reservation(), budget.reservation());
        assert!(one.try_grow_to(MIB));
        assert!(one.try_grow_to(3 * MIB));
        assert!(!two.try_grow_to(2 * MIB));
        assert!(two.try_grow_to(MIB));
        assert!(one.try_grow_to(MIB), "it holds more already");
        drop(one);
        assert!(two.try_grow_to(4 * MIB));
    }

    #[test]
    fn a_call_that_is_alone_always_finds_room() {
        let budget = MemoryBudget::new(4 * MIB);
        let (large, other) = (budget.reservation(), budget.reservation());
        assert!(large.try_grow_to(3 * MIB));
        assert!(large.try_grow_to(400 * MIB));
        assert!(!other.try_grow_to(MIB));
    }

    #[test]
    fn what_a_call_does_not_need_is_given_back() {
        let budget = MemoryBudget::new(4 * MIB);
        let (one, two) = (budget.reservation(), budget.reservation());
        assert!(one.try_grow_to(4 * MIB));
        one.shrink_to(MIB);
        assert!(two.try_grow_to(3 * MIB));
        one.shrink_to(2 * MIB);
        assert!(!two.try_grow_to(4 * MIB));
        one.shrink_to(0);
        assert!(two.try_grow_to(4 * MIB));
    }

    #[test]
    fn a_small_call_needs_no_room() {
        let budget = MemoryBudget::new(MIB);
        let large = budget.reservation();
        assert!(large.try_grow_to(10 * MIB));
        assert!(budget.reservation().try_grow_to(SMALL_CALL));
        assert!(!budget.reservation().try_grow_to(SMALL_CALL + 1));
    }

    #[test]
    fn those_that_wait_are_served_before_those_that_come_later() {
        let budget = MemoryBudget::new(4 * MIB);
        let (first, waits, later) = (
            budget.reservation(),
            budget.reservation(),
            budget.reservation(),
        );
        assert!(first.try_grow_to(3 * MIB));
        let mut waiting = Box::pin(waits.wait_for(2 * MIB));
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(!later.try_grow_to(MIB));
        drop(first);
        assert!(waiting.as_mut().now_or_never().is_some());
        assert!(later.try_grow_to(2 * MIB));
        assert!(!later.try_grow_to(3 * MIB));
    }
}
