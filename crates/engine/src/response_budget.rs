//! The memory budget that a front end sets for answers.

use std::fmt;

use super::error::Error;

/// Decides whether an answer may take memory.
///
/// With it, a front end bounds the answers to all of its calls together. The engine asks it before
/// it keeps more values or keys.
pub trait ResponseBudget: fmt::Debug + Send + Sync {
    /// Whether the answer may grow to this many bytes of keys and values. If a read starts again,
    /// it counts from zero again.
    fn grow_to(&self, bytes: usize) -> bool;
}

/// Succeeds if the budget has room for an answer of this many bytes.
///
/// # Errors
///
/// [`Error::NoMemory`] if there is no room.
pub(crate) fn check(budget: &dyn ResponseBudget, bytes: usize) -> Result<(), Error> {
    if budget.grow_to(bytes) {
        return Ok(());
    }
    Err(Error::NoMemory)
}

/// A budget without a bound.
#[derive(Debug)]
pub(crate) struct Unbounded;

impl ResponseBudget for Unbounded {
    fn grow_to(&self, _: usize) -> bool {
        true
    }
}
