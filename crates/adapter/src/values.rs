//! The resources `bucket`, `outgoing-value` and `incoming-value`.

use alloc::string::String;
use alloc::vec::Vec;
use core::cell::{Ref, RefCell};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::Adapter;
use crate::bindings::exports::wasi::keyvalue0_1_0::types::{
    Bucket, Error, Guest, GuestBucket, GuestIncomingValue, GuestOutgoingValue, IncomingValue,
    InputStream, OutgoingValue, OutputStream,
};
use crate::bindings::wrpc::keyvalue0_1_0::eventual_batch::{
    self as lattice, ValueParam, ValueResult,
};
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
    /// The value as it crosses the lattice, if it has been written.
    pub(crate) fn encoded(&self) -> Option<Ref<'_, EncodedValue>> {
        Ref::filter_map(self.0.borrow(), Option::as_ref).ok()
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

/// A value that has come.
pub(crate) struct Incoming(Vec<u8>);

impl Incoming {
    pub(crate) fn decode(value: ValueResult) -> Result<IncomingValue, base64::DecodeError> {
        let bytes = match value {
            ValueResult::Utf8(text) => text.into_bytes(),
            ValueResult::Base64(text) => STANDARD.decode(text)?,
        };
        Ok(IncomingValue::new(Self(bytes)))
    }
}

impl GuestIncomingValue for Incoming {
    fn incoming_value_consume_sync(this: IncomingValue) -> Result<Vec<u8>, Error> {
        Ok(this.into_inner::<Self>().0)
    }

    fn incoming_value_consume_async(_: IncomingValue) -> Result<InputStream, Error> {
        Err(Trace::error(
            "a value cannot be read as a stream, because no stream crosses the lattice: use \
             incoming-value-consume-sync",
        ))
    }

    fn incoming_value_size(&self) -> Result<u64, Error> {
        Ok(self.0.len() as u64)
    }
}
