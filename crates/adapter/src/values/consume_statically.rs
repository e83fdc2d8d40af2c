//! Consuming a value in the newer shape: the functions take the value.

use alloc::vec::Vec;

use super::{Incoming, no_stream};
use crate::bindings::exports::wasi::keyvalue::types::{
    Error, GuestIncomingValue, IncomingValue, InputStream,
};

impl GuestIncomingValue for Incoming {
    fn incoming_value_consume_sync(this: IncomingValue) -> Result<Vec<u8>, Error> {
        this.get::<Self>().consume()
    }

    fn incoming_value_consume_async(_: IncomingValue) -> Result<InputStream, Error> {
        no_stream()
    }

    fn incoming_value_size(&self) -> Result<u64, Error> {
        self.size()
    }
}
