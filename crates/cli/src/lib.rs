//! What the command `eventual-batch` can do, without its command line.

mod compose;

pub use compose::{ComposeError, Composed, Shape, compose, shape};
