//! What must hold for any input: one `check` for each target, which panics if it does not.

pub mod configuration;
pub mod keys;
pub mod parameters;
