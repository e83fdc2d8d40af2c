//! The resource `error`.

use alloc::string::String;

use crate::Adapter;
use crate::bindings::exports::wasi::keyvalue::wasi_keyvalue_error::{Error, Guest, GuestError};
use crate::bindings::wrpc::keyvalue::eventual_batch as lattice;

/// Why an operation failed, as a sentence.
pub(crate) struct Trace(String);

impl Trace {
    pub(crate) fn error(sentence: impl Into<String>) -> Error {
        Error::new(Self(sentence.into()))
    }
}

impl Guest for Adapter {
    type Error = Trace;
}

impl GuestError for Trace {
    fn trace(&self) -> String {
        self.0.clone()
    }
}

/// Each case carries the sentence already; the case itself has no place in `wasi:keyvalue`.
impl From<lattice::Error> for Error {
    fn from(error: lattice::Error) -> Self {
        let (lattice::Error::NoSuchBucket(sentence)
        | lattice::Error::AccessDenied(sentence)
        | lattice::Error::InvalidArgument(sentence)
        | lattice::Error::TooLarge(sentence)
        | lattice::Error::Unavailable(sentence)
        | lattice::Error::Other(sentence)) = error;
        Trace::error(sentence)
    }
}
