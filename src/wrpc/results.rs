//! Results on their way out: lists are encoded a part at a time, so that large ones are not in
//! memory twice.

use std::io;
use std::vec;

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio_util::codec::Encoder;
use wrpc_transport::Encode;
use wrpc_transport_nats::SubjectWriter;

use super::bindings::exports::wrpc::keyvalue0_1_0::eventual_batch::Value;
use super::bindings::exports::wrpc::keyvalue0_2_0_draft::store::KeyResponse;
use super::size::EncodedSize;

/// What a function returns, as wRPC encodes it.
pub(crate) trait Results {
    /// The element that is encoded part by part.
    type Item: EncodeItem;

    /// An upper bound in bytes, if the function succeeded. An error counts as one byte, without its
    /// text: texts are small, and are encoded as a whole.
    fn encoded_size(&self) -> usize;

    /// Encodes what comes before the items, and hands these over.
    fn begin(self, to: &mut BytesMut) -> io::Result<vec::IntoIter<Self::Item>>;
}

/// A value that is encoded as a whole.
pub(crate) trait EncodeItem: EncodedSize + Sized {
    fn encode(self, to: &mut BytesMut) -> io::Result<()>;
}

impl<T> EncodeItem for T
where
    T: EncodedSize + Encode<SubjectWriter>,
    io::Error: From<<T::Encoder as Encoder<T>>::Error>,
{
    fn encode(self, to: &mut BytesMut) -> io::Result<()> {
        encode(self, to)
    }
}

fn encode<T>(value: T, to: &mut BytesMut) -> io::Result<()>
where
    T: Encode<SubjectWriter>,
    io::Error: From<<T::Encoder as Encoder<T>>::Error>,
{
    Ok(T::Encoder::default().encode(value, to)?)
}

impl<T, E> Results for (Result<T, E>,)
where
    T: OkResults,
    E: Encode<SubjectWriter>,
    io::Error: From<<E::Encoder as Encoder<E>>::Error>,
{
    type Item = T::Item;

    fn encoded_size(&self) -> usize {
        1 + self.0.as_ref().map_or(0, T::encoded_size)
    }

    fn begin(self, to: &mut BytesMut) -> io::Result<vec::IntoIter<T::Item>> {
        match self.0 {
            Ok(success) => {
                to.put_u8(0);
                success.begin(to)
            }
            Err(error) => {
                to.put_u8(1);
                encode(error, to)?;
                Ok(Vec::new().into_iter())
            }
        }
    }
}

/// What a function returns if all went well.
pub(crate) trait OkResults: EncodedSize {
    type Item: EncodeItem;

    fn begin(self, to: &mut BytesMut) -> io::Result<vec::IntoIter<Self::Item>>;
}

impl<T: EncodeItem> OkResults for Vec<T> {
    type Item = T;

    fn begin(self, to: &mut BytesMut) -> io::Result<vec::IntoIter<T>> {
        encode(u32::try_from(self.len()).map_err(io::Error::other)?, to)?;
        Ok(self.into_iter())
    }
}

macro_rules! in_one_piece {
    ($($type:ty),+) => {
        $(impl OkResults for $type {
            type Item = ();

            fn begin(self, to: &mut BytesMut) -> io::Result<vec::IntoIter<()>> {
                to.reserve(self.encoded_size());
                encode(self, to)?;
                Ok(Vec::new().into_iter())
            }
        })+
    };
}

in_one_piece!((), bool, u64, Option<Bytes>, Option<Value>, KeyResponse);

/// Encoded results, in parts of at most `max` bytes.
pub(super) struct Parts<I> {
    items: vec::IntoIter<I>,
    encoded: BytesMut,
    /// About so many bytes are still to be encoded.
    left: usize,
    max: usize,
}

impl<I: EncodeItem> Parts<I> {
    /// The parts of these results. The caller passes their encoded `size`, because computing it
    /// walks all results.
    pub(super) fn new<R: Results<Item = I>>(
        results: R,
        size: usize,
        max: usize,
    ) -> io::Result<Self> {
        let mut encoded = BytesMut::new();
        let items = results.begin(&mut encoded)?;
        Ok(Self {
            items,
            left: size.saturating_sub(encoded.len()),
            encoded,
            max,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.encoded.is_empty() && self.items.as_slice().is_empty()
    }

    /// The next part, which is empty if there is none.
    pub(super) fn next(&mut self) -> io::Result<Bytes> {
        if !self.items.as_slice().is_empty() {
            // Reserve at once, because growing copies the buffer. Twice `max`, because the last
            // item of a part may be larger than what is left of the part.
            self.encoded.reserve(self.left.min(2 * self.max));
        }
        while self.encoded.len() < self.max
            && let Some(item) = self.items.next()
        {
            self.left = self.left.saturating_sub(item.encoded_size());
            item.encode(&mut self.encoded)?;
        }
        let size = self.encoded.len().min(self.max);
        Ok(self.encoded.split_to(size).freeze())
    }
}

#[cfg(test)]
mod tests {
    use wit_bindgen_wrpc::bytes::Buf as _;

    use super::super::bindings::exports::wrpc::keyvalue0_2_0_draft::store::Error;
    use super::*;

    const SIZES: [usize; 5] = [0, 1, 127, 128, 20_000];

    /// That the parts are what wRPC encodes, that they are no larger than they may be, and that
    /// about as much room is made for results with so many items as they take.
    fn check<T>(count: usize, results: impl Fn() -> Result<T, Error>)
    where
        (Result<T, Error>,): Results + Encode<SubjectWriter>,
        io::Error: From<
            <<(Result<T, Error>,) as Encode<SubjectWriter>>::Encoder as Encoder<(
                Result<T, Error>,
            )>>::Error,
        >,
    {
        let mut expected = BytesMut::new();
        encode((results(),), &mut expected).unwrap();
        for max in [1, 100, 1000, 1 << 20] {
            let results = (results(),);
            let size = results.encoded_size();
            let mut parts = Parts::new(results, size, max).unwrap();
            let mut rest = expected.clone();
            while !parts.is_empty() {
                let part = parts.next().unwrap();
                assert!(
                    part.len() == max || parts.is_empty(),
                    "{} of {max}",
                    part.len()
                );
                assert!(rest.starts_with(&part), "{part:?} is not in {rest:?}");
                rest.advance(part.len());
            }
            assert!(rest.is_empty(), "{rest:?} is missing");
            assert!(parts.next().unwrap().is_empty());
            assert!(expected.len() <= size, "{} of {size}", expected.len());
            assert!(size <= expected.len() + 20 * (count + 1), "{size}");
        }
    }

    #[test]
    fn parts_are_what_wrpc_encodes() {
        for length in SIZES {
            let text = || "k".repeat(length);
            let bytes = || Bytes::from(vec![7; length]);
            for count in [0, 1, 200] {
                check(count, || Ok((0..count).map(|_| text()).collect::<Vec<_>>()));
                check(count, || {
                    let entry = |n| (n % 3 > 0).then(|| (text(), bytes()));
                    Ok((0..count).map(entry).collect::<Vec<_>>())
                });
                check(count, || {
                    let entry = |n| match n % 3 {
                        0 => None,
                        1 => Some(Value::Utf8(text())),
                        _ => Some(Value::Base64(text())),
                    };
                    Ok((0..count).map(entry).collect::<Vec<_>>())
                });
                check(count, || {
                    Ok(KeyResponse {
                        keys: (0..count).map(|_| text()).collect(),
                        cursor: (count > 1).then_some(u64::MAX),
                    })
                });
            }
            check(0, || Ok(Some(bytes())));
            check(0, || Ok(Some(Value::Base64(text()))));
        }
        check(0, || Ok(None::<Bytes>));
        check(0, || Ok(None::<Value>));
        check(0, || Ok(()));
        check(0, || Ok(true));
        check(0, || Ok(u64::MAX));
    }
}
