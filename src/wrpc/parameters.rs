//! Reads a call's parameters as they come in, and believes no length in them.
//!
//! wRPC's decoder of a list makes room for as many elements as the list says it has. One that lies
//! would end the process for lack of memory, a few bytes after the call began; so here room is made
//! for what has come. The elements are wRPC's to decode.

use bytes::{Buf as _, Bytes, BytesMut};
use tokio_util::codec::Decoder;
use wrpc_transport::{Decode, Deferred as _};
use wrpc_transport_nats::Reader;

/// The longest bucket name, in bytes, in parameters that are a name, or a name and a list.
const MAX_NAME_BYTES: usize = 64 * 1024;

/// The parameters of a function. The first is the name of a bucket. A list, a key (and a
/// value or numbers), or a cursor may follow.
pub trait Parameters: Sized {
    /// Takes them from the bytes that have come so far; there is one for each call.
    type Decoder: Decoder<Item = Self, Error = ParameterError> + Send;

    /// A decoder that refuses a list of more elements.
    fn decoder(max_elements: usize) -> Self::Decoder;

    /// How many bytes the decoder takes for what it has decoded, beside the bytes that have come.
    #[must_use]
    fn decoder_overhead(_: &Self::Decoder) -> usize {
        0
    }

    /// How many bytes the decoded parameters take, beside the bytes that have come.
    #[must_use]
    fn decoded_overhead(&self) -> usize {
        0
    }
}

/// Why parameters are not decoded.
#[derive(Debug)]
pub enum ParameterError {
    /// The list has this many elements, which is too many.
    TooMany(usize),
    /// They are not of the function's types.
    Malformed,
}

impl From<std::io::Error> for ParameterError {
    fn from(_: std::io::Error) -> Self {
        Self::Malformed
    }
}

impl Parameters for (String,) {
    type Decoder = NameDecoder;

    fn decoder(_: usize) -> NameDecoder {
        NameDecoder
    }
}

/// The decoder of a bucket's name alone.
#[derive(Debug)]
pub struct NameDecoder;

impl Decoder for NameDecoder {
    type Item = (String,);
    type Error = ParameterError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<(String,)>, ParameterError> {
        Ok(take_name(src)?.map(|name| (name,)))
    }
}

impl<T: Decode<Reader> + Send> Parameters for (String, Vec<T>) {
    type Decoder = BatchDecoder<T>;

    fn decoder(max_elements: usize) -> BatchDecoder<T> {
        BatchDecoder {
            max_elements,
            name: None,
            list: None,
            element: T::Decoder::default(),
        }
    }

    fn decoder_overhead(decoder: &BatchDecoder<T>) -> usize {
        decoder
            .list
            .as_ref()
            .map_or(0, |list| list_overhead(&list.elements))
    }

    fn decoded_overhead(&self) -> usize {
        list_overhead(&self.1)
    }
}

/// What a list takes beside the bytes of its keys and values. Room that was made for elements
/// counts before they have come.
fn list_overhead<T>(elements: &Vec<T>) -> usize {
    /// What the allocator adds to an element's key and its value.
    const ALLOCATIONS: usize = 2 * 16;
    elements.capacity() * size_of::<T>() + elements.len() * ALLOCATIONS
}

/// The decoder of a bucket's name and a list.
#[derive(Debug)]
pub struct BatchDecoder<T: Decode<Reader>> {
    max_elements: usize,
    name: Option<String>,
    list: Option<List<T>>,
    element: T::Decoder,
}

#[derive(Debug)]
struct List<T> {
    length: usize,
    elements: Vec<T>,
}

impl<T: Decode<Reader>> Decoder for BatchDecoder<T> {
    type Item = (String, Vec<T>);
    type Error = ParameterError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Self::Item>, ParameterError> {
        if self.name.is_none() {
            self.name = take_name(src)?;
        }
        if self.name.is_some() && self.list.is_none() {
            self.list = take_length(src)?
                .map(|length| List::new(length, self.max_elements, src.len()))
                .transpose()?;
        }
        let Some(list) = &mut self.list else {
            return Ok(None);
        };
        while list.elements.len() < list.length {
            let decoded = self.element.decode(src);
            let Some(element) = decoded.map_err(|_| ParameterError::Malformed)? else {
                return Ok(None);
            };
            list.elements.push(element);
            // wRPC's decoder of a list takes this too. Without streams in the types it is always
            // empty.
            drop(self.element.take_deferred());
        }
        Ok(self
            .name
            .take()
            .zip(self.list.take().map(|list| list.elements)))
    }
}

impl<T> List<T> {
    fn new(length: usize, max: usize, bytes: usize) -> Result<Self, ParameterError> {
        if length > max {
            return Err(ParameterError::TooMany(length));
        }
        Ok(Self {
            length,
            // No element takes less than a byte.
            elements: Vec::with_capacity(length.min(bytes)),
        })
    }
}

macro_rules! parameters_without_list {
    ($($parameters:ty),*) => {$(
        impl Parameters for $parameters {
            type Decoder = PlainDecoder<Self>;

            fn decoder(_: usize) -> PlainDecoder<Self> {
                PlainDecoder(<Self as Decode<Reader>>::Decoder::default())
            }
        }
    )*};
}

parameters_without_list!(
    (String, String),
    (String, String, Bytes),
    (String, String, u64),
    (String, String, u64, u64),
    (String, Option<u64>)
);

/// The decoder of parameters without a list: wRPC's own, which makes no room in advance for a
/// string or for bytes.
pub struct PlainDecoder<P: Decode<Reader>>(P::Decoder);

impl<P: Decode<Reader>> Decoder for PlainDecoder<P> {
    type Item = P;
    type Error = ParameterError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<P>, ParameterError> {
        self.0.decode(src).map_err(|_| ParameterError::Malformed)
    }
}

/// Takes a name off `src`, or nothing if not all of it is there.
fn take_name(src: &mut BytesMut) -> Result<Option<String>, ParameterError> {
    let Some((bytes, rest)) = length(src)? else {
        return Ok(None);
    };
    if bytes > MAX_NAME_BYTES {
        return Err(ParameterError::Malformed);
    }
    if rest.len() < bytes {
        return Ok(None);
    }
    src.advance(src.len() - rest.len());
    let name = String::from_utf8(src.split_to(bytes).into());
    name.map(Some).map_err(|_| ParameterError::Malformed)
}

/// Takes a length off `src`, or nothing if not all of it is there.
fn take_length(src: &mut BytesMut) -> Result<Option<usize>, ParameterError> {
    let Some((value, rest)) = length(src)? else {
        return Ok(None);
    };
    src.advance(src.len() - rest.len());
    Ok(Some(value))
}

/// The length at the start of `bytes`, an unsigned LEB128 of at most 32 bits, and what follows it.
/// `None` if the bytes end within it.
fn length(bytes: &[u8]) -> Result<Option<(usize, &[u8])>, ParameterError> {
    let mut value = 0_u64;
    for (place, byte) in bytes.iter().enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            let value = u32::try_from(value).map_err(|_| ParameterError::Malformed)?;
            let value = usize::try_from(value).map_err(|_| ParameterError::Malformed)?;
            return Ok(Some((value, &bytes[place + 1..])));
        }
        if place == 4 {
            return Err(ParameterError::Malformed);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
