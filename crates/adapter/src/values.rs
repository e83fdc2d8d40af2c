//! The resources `bucket`, `outgoing-value` and `incoming-value`.

#[cfg(feature = "older-shape")]
mod consume_by_method;
#[cfg(not(feature = "older-shape"))]
mod consume_statically;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::{Ref, RefCell};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::Adapter;
use crate::bindings::exports::wasi::keyvalue::types::{
    Bucket, Error, Guest, GuestBucket, GuestOutgoingValue, IncomingValue, InputStream,
    OutgoingValue, OutputStream,
};
use crate::bindings::wrpc::keyvalue::eventual_batch::{self as lattice, ValueParam, ValueResult};
use crate::error::Trace;

impl Guest for Adapter {
    type Bucket = NamedBucket;
    type OutgoingValue = Outgoing;
    type IncomingValue = Incoming;
}

/// A bucket: its name, which the link gives a meaning to in each call.
pub(crate) struct NamedBucket(String);

impl NamedBucket {
    pub(crate) fn name(&self) -> &str {
        &self.0
    }
}

impl GuestBucket for NamedBucket {
    fn open_bucket(name: String) -> Result<Bucket, Error> {
        lattice::open_bucket(&name)?;
        Ok(Bucket::new(Self(name)))
    }
}

/// A value's bytes as they cross the lattice. Strings, because a host passes a string on as a
/// whole, and a list of bytes byte by byte.
pub(crate) enum EncodedValue {
    Utf8(String),
    Base64(String),
}

impl EncodedValue {
    fn new(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Self::Utf8(text),
            Err(error) => Self::Base64(STANDARD.encode(error.as_bytes())),
        }
    }

    pub(crate) fn as_param(&self) -> ValueParam<'_> {
        match self {
            Self::Utf8(text) => ValueParam::Utf8(text),
            Self::Base64(text) => ValueParam::Base64(text),
        }
    }
}

/// A value on its way: nothing, until it is written.
pub(crate) struct Outgoing(RefCell<Option<EncodedValue>>);

impl Outgoing {
    /// The value as it crosses the lattice, to be set for `key`.
    ///
    /// # Errors
    ///
    /// The value was never written.
    pub(crate) fn encoded_for(&self, key: &str) -> Result<Ref<'_, EncodedValue>, Error> {
        Ref::filter_map(self.0.borrow(), Option::as_ref).map_err(|_| {
            Trace::error(format!(
                "the value of key {key:?} was never written, so nothing was set: call \
                 outgoing-value-write-body-sync first"
            ))
        })
    }
}

impl GuestOutgoingValue for Outgoing {
    fn new_outgoing_value() -> OutgoingValue {
        OutgoingValue::new(Self(RefCell::new(None)))
    }

    fn outgoing_value_write_body_async(&self) -> Result<OutputStream, Error> {
        Err(Trace::error(
            "a value cannot be written as a stream, because no stream crosses the lattice: use \
             outgoing-value-write-body-sync",
        ))
    }

    fn outgoing_value_write_body_sync(&self, value: Vec<u8>) -> Result<(), Error> {
        self.0.replace(Some(EncodedValue::new(value)));
        Ok(())
    }
}

/// A value that has come: its bytes, until they are consumed.
pub(crate) struct Incoming(RefCell<Option<Vec<u8>>>);

/// The value of `key` as a resource.
///
/// # Errors
///
/// It is said to be base64, and is not.
pub(crate) fn decode(key: &str, value: ValueResult) -> Result<IncomingValue, Error> {
    let bytes = match value {
        ValueResult::Utf8(text) => text.into_bytes(),
        ValueResult::Base64(text) => STANDARD.decode(text).map_err(|error| {
            Trace::error(format!(
                "the value of key {key:?} came as base64 that does not decode: {error}"
            ))
        })?,
    };
    Ok(IncomingValue::new(Incoming(RefCell::new(Some(bytes)))))
}

impl Incoming {
    fn consume(&self) -> Result<Vec<u8>, Error> {
        self.0.take().ok_or_else(consumed)
    }

    fn size(&self) -> Result<u64, Error> {
        let bytes = self.0.borrow();
        let bytes = bytes.as_ref().ok_or_else(consumed)?;
        Ok(bytes.len() as u64)
    }
}

fn consumed() -> Error {
    Trace::error("the value was consumed before")
}

fn no_stream() -> Result<InputStream, Error> {
    Err(Trace::error(
        "a value cannot be read as a stream, because no stream crosses the lattice: use \
         incoming-value-consume-sync",
    ))
}
