//! Reads a call's parameters as they come in, and believes no length in them.
//!
//! wRPC's decoder of a list makes room for as many elements as the list says it has. One that lies
//! would end the process for lack of memory, a few bytes after the call began; so here room is made
//! for what has come. The elements are wRPC's to decode.

use bytes::{Buf as _, Bytes, BytesMut};
use tokio_util::codec::Decoder;
use wrpc_transport::{Decode, Deferred as _};
use wrpc_transport_nats::Reader;

/// The longest name of a bucket that is read, in bytes.
const MAX_NAME_BYTES: usize = 64 * 1024;

/// The parameters of a function: the name of a bucket, and then a list if it is a batch, or a key.
pub trait Parameters: Sized {
    /// Takes them from the bytes that have come so far; there is one for each call.
    type Decoder: Decoder<Item = Self, Error = ParameterError> + Send;

    /// A decoder that refuses a list of more elements.
    fn decoder(max_elements: usize) -> Self::Decoder;
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
            // As wRPC's list does after each. Without streams in the types there is nothing in it.
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

macro_rules! parameters_of_one_key {
    ($($parameters:ty),*) => {$(
        impl Parameters for $parameters {
            type Decoder = PlainDecoder<Self>;

            fn decoder(_: usize) -> PlainDecoder<Self> {
                PlainDecoder(<Self as Decode<Reader>>::Decoder::default())
            }
        }
    )*};
}

parameters_of_one_key!(
    (String, String),
    (String, String, Bytes),
    (String, String, u64),
    (String, Option<u64>)
);

/// The decoder of parameters without a list: wRPC's own, which makes no room in advance for a string
/// or for bytes.
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
mod tests {
    use super::*;

    const MAX: usize = 1_000_000;

    type Keys = (String, Vec<String>);

    fn batch(bytes: &[u8]) -> Result<Option<Keys>, ParameterError> {
        Keys::decoder(3).decode(&mut BytesMut::from(bytes))
    }

    #[test]
    fn lengths_are_read_as_leb128() {
        assert!(matches!(length(&[]), Ok(None)));
        assert!(matches!(length(&[0x80]), Ok(None)));
        assert!(matches!(length(&[7, 9]), Ok(Some((7, [9])))));
        assert!(matches!(
            length(&[0xe5, 0x8e, 0x26]),
            Ok(Some((624_485, [])))
        ));
        let max = [0xff, 0xff, 0xff, 0xff, 0x0f];
        assert!(matches!(length(&max), Ok(Some((4_294_967_295, [])))));
        assert!(length(&[0xff, 0xff, 0xff, 0xff, 0x1f]).is_err());
        assert!(length(&[0x80; 6]).is_err());
    }

    #[test]
    fn a_batch_is_decoded_only_with_a_list_that_is_short_enough() {
        let whole = batch(b"\x01b\x03\x01x\x00\x02yz").unwrap();
        let keys = ["x", "", "yz"].map(str::to_owned).to_vec();
        assert_eq!(whole, Some(("b".to_owned(), keys)));
        assert!(matches!(
            batch(b"\x01b\x04rest"),
            Err(ParameterError::TooMany(4))
        ));
        let lie = b"\x01b\xff\xff\xff\xff\x0f";
        assert!(matches!(
            batch(lie),
            Err(ParameterError::TooMany(4_294_967_295))
        ));
        for unfinished in [&b""[..], b"\x05", b"\x01b", b"\x01b\xff", b"\x01b\x02\x01x"] {
            assert!(matches!(batch(unfinished), Ok(None)), "{unfinished:?}");
        }
        for not_a_batch in [&b"\xff\xff\x7f"[..], b"\x01\xff\x00", b"\x01b\x01\x01\xff"] {
            let refused = matches!(batch(not_a_batch), Err(ParameterError::Malformed));
            assert!(refused, "{not_a_batch:?}");
        }
    }

    #[test]
    fn a_list_takes_no_more_room_than_what_has_come_of_it() {
        let mut decoder = Keys::decoder(MAX);
        let mut sent = BytesMut::from(&b"\x01b\xc0\x84\x3d\x01x"[..]);
        assert!(matches!(decoder.decode(&mut sent), Ok(None)));
        let list = decoder.list.unwrap();
        assert_eq!((list.length, list.elements.len()), (MAX, 1));
        assert!(list.elements.capacity() < 100);
    }

    #[test]
    fn a_key_or_value_that_lies_about_its_length_gets_no_room() {
        fn room<P: Parameters>(bytes: &[u8]) -> usize {
            let mut buffer = BytesMut::from(bytes);
            let decoded = P::decoder(3).decode(&mut buffer);
            assert!(matches!(decoded, Ok(None)), "{bytes:?}");
            buffer.capacity()
        }
        for lie in [
            &b"\x01b\xff\xff\xff\xff\x0f"[..],
            b"\x01b\xff\xff\xff\xff\x0fstart",
        ] {
            assert!(room::<(String, String)>(lie) < 1024);
            assert!(room::<(String, String, u64)>(lie) < 1024);
            assert!(room::<(String, String, Bytes)>(lie) < 1024);
        }
        let value = b"\x01b\x01k\xff\xff\xff\xff\x0fstart";
        assert!(room::<(String, String, Bytes)>(value) < 1024);
    }
}
