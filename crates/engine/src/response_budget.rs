//! A front end's bound on the memory of answers.

use std::fmt;

use super::error::Error;

/// Decides whether an answer may take memory.
///
/// A front end bounds the answers of all of its calls together with it. The engine asks before it
/// keeps what it has read.
pub trait ResponseBudget: fmt::Debug + Send + Sync {
    /// Whether the answer may grow to this many bytes of keys and values. A read that starts again
    /// counts from zero again.
    fn grow_to(&self, bytes: usize) -> bool;
}

/// Asks the budget for an answer of this many bytes.
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

/// No bound.
#[derive(Debug)]
pub(crate) struct Unbounded;

impl ResponseBudget for Unbounded {
    fn grow_to(&self, _: usize) -> bool {
        true
    }
}
