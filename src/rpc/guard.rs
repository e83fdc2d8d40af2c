//! Looks at how many keys a call says it has, before its parameters are decoded.
//!
//! wRPC's decoder believes a list's length and makes room for that many elements. One that lies
//! would end the process for lack of memory, a few bytes after the call began.

use bytes::BytesMut;
use tokio_util::codec::Decoder;

/// The longest name of a bucket that is read, in bytes.
const MAX_NAME_BYTES: usize = 64 * 1024;

/// The parameters of a function: the name of a bucket, and of a batch also a list.
pub(super) trait Parameters {
    const HAVE_LIST: bool;
}

impl Parameters for (String,) {
    const HAVE_LIST: bool = false;
}

impl<T> Parameters for (String, Vec<T>) {
    const HAVE_LIST: bool = true;
}

/// Why parameters are not decoded.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The list has this many elements, which is too many.
    TooMany(usize),
    /// They are not of the function's types.
    Malformed,
}

impl From<std::io::Error> for Refusal {
    fn from(_: std::io::Error) -> Self {
        Self::Malformed
    }
}

/// A decoder that starts when the lengths at the start of the parameters have been checked.
pub(super) struct Guarded<D> {
    decoder: D,
    have_list: bool,
    max_elements: usize,
    checked: bool,
}

impl<D: Default> Guarded<D> {
    pub(super) fn new<P: Parameters>(max_elements: usize) -> Self {
        Self {
            decoder: D::default(),
            have_list: P::HAVE_LIST,
            max_elements,
            checked: false,
        }
    }
}

impl<D: Decoder> Decoder for Guarded<D> {
    type Item = D::Item;
    type Error = Refusal;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Self::Item>, Self::Error> {
        if !self.checked {
            let Some((name, rest)) = length(src)? else {
                return Ok(None);
            };
            if name > MAX_NAME_BYTES {
                return Err(Refusal::Malformed);
            }
            if self.have_list {
                let Some(list) = rest.get(name..) else {
                    return Ok(None);
                };
                let Some((elements, _)) = length(list)? else {
                    return Ok(None);
                };
                if elements > self.max_elements {
                    return Err(Refusal::TooMany(elements));
                }
            }
            self.checked = true;
        }
        self.decoder.decode(src).map_err(|_| Refusal::Malformed)
    }
}

/// The length at the start of `bytes`, an unsigned LEB128 of at most 32 bits, and what follows it.
/// `None` if the bytes end within it.
fn length(bytes: &[u8]) -> Result<Option<(usize, &[u8])>, Refusal> {
    let mut value = 0_u64;
    for (place, byte) in bytes.iter().enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            let value = u32::try_from(value).map_err(|_| Refusal::Malformed)?;
            let value = usize::try_from(value).map_err(|_| Refusal::Malformed)?;
            return Ok(Some((value, &bytes[place + 1..])));
        }
        if place == 4 {
            return Err(Refusal::Malformed);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    /// Gives back all there is, if it is asked.
    #[derive(Default)]
    struct All;

    impl Decoder for All {
        type Item = Bytes;
        type Error = std::io::Error;

        fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Bytes>, std::io::Error> {
            Ok(Some(src.split().freeze()))
        }
    }

    fn batch(bytes: &[u8]) -> Result<Option<Bytes>, Refusal> {
        Guarded::<All>::new::<(String, Vec<String>)>(3).decode(&mut BytesMut::from(bytes))
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
        assert!(matches!(batch(b"\x01b\x03rest"), Ok(Some(_))));
        assert!(matches!(batch(b"\x01b\x04rest"), Err(Refusal::TooMany(4))));
        let lie = b"\x01b\xff\xff\xff\xff\x0f";
        assert!(matches!(batch(lie), Err(Refusal::TooMany(4_294_967_295))));
        for unfinished in [&b""[..], b"\x05", b"\x01b", b"\x01b\xff"] {
            assert!(matches!(batch(unfinished), Ok(None)), "{unfinished:?}");
        }
        assert!(matches!(batch(b"\xff\xff\x7f"), Err(Refusal::Malformed)));
    }
}
