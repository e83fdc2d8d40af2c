//! The interfaces that a component can use a bucket by, behind one.

#[cfg(feature = "released")]
mod adapter;
mod draft;

#[cfg(feature = "released")]
pub use adapter::Adapter;
pub use draft::Draft;

pub type Bytes = Vec<u8>;

/// What is timed: all that a user has to do to have the values, or to have them stored.
pub trait Path: Sized {
    fn open(name: &str) -> Result<Self, String>;
    fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, String>;
    fn set_many(&self, values: &[(String, Bytes)]) -> Result<(), String>;
}
