//! Consuming a value in the older shape: the functions are methods, and the component keeps its handle.

use alloc::vec::Vec;

use super::{Incoming, no_stream};
use crate::bindings::exports::wasi::keyvalue::types::{Error, GuestIncomingValue, InputStream};

impl GuestIncomingValue for Incoming {
    fn incoming_value_consume_sync(&self) -> Result<Vec<u8>, Error> {
        self.consume()
    }

    fn incoming_value_consume_async(&self) -> Result<InputStream, Error> {
        no_stream()
    }

    fn incoming_value_size(&self) -> Result<u64, Error> {
        self.size()
    }
}
