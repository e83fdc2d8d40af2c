//! Parameters of all functions, as the wire carries them.

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use eventual_batch_nats_provider::wrpc::{ParameterError, Parameters, Value};
use tokio_util::codec::Decoder as _;

/// What the link would allow in a batch.
const MAX_ELEMENTS: usize = 1000;

/// The first byte picks the types, the next two how the rest is cut into parts.
pub fn check(input: &[u8]) {
    let [types, small, large, wire @ ..] = input else {
        return;
    };
    let parts = [usize::from(*small) % 8 + 1, usize::from(*large) + 1];
    match types % 4 {
        0 => check_as::<(String,)>(wire, parts),
        1 => check_as::<(String, Vec<String>)>(wire, parts),
        2 => check_as::<(String, Vec<(String, Value)>)>(wire, parts),
        _ => check_as::<(String, Vec<(String, Bytes)>)>(wire, parts),
    }
}

/// However they are cut, they are the same parameters; and written again, they are read again.
fn check_as<P: Parameters + WireEncode + Debug>(wire: &[u8], parts: [usize; 2]) {
    let whole = read::<P>([wire]);
    let cut = read::<P>(Chunks {
        rest: wire,
        sizes: parts.into_iter().cycle(),
    });
    assert_eq!(format!("{whole:?}"), format!("{cut:?}"));
    if let Ok(Some(params)) = whole {
        assert!(params.elements() <= MAX_ELEMENTS);
        let mut written = Vec::new();
        params.write(&mut written);
        // A length may have been written with more bytes than it needs.
        assert!(written.len() <= wire.len());
        let again = read::<P>([written.as_slice()]);
        assert_eq!(
            format!("{:?}", Ok::<_, ParameterError>(Some(params))),
            format!("{again:?}")
        );
    }
}

fn read<'a, P: Parameters>(
    parts: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Option<P>, ParameterError> {
    let mut decoder = P::decoder(MAX_ELEMENTS);
    let mut buffer = BytesMut::new();
    for part in parts {
        buffer.extend_from_slice(part);
        if let Some(params) = decoder.decode(&mut buffer)? {
            return Ok(Some(params));
        }
    }
    Ok(None)
}

/// The parts of `rest`, of these sizes.
struct Chunks<'a, S> {
    rest: &'a [u8],
    sizes: S,
}

impl<'a, S: Iterator<Item = usize>> Iterator for Chunks<'a, S> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let (part, rest) = self.rest.split_at(self.sizes.next()?.min(self.rest.len()));
        self.rest = rest;
        Some(part)
    }
}

/// How the component model's values are written.
trait WireEncode {
    fn write(&self, wire: &mut Vec<u8>);

    fn elements(&self) -> usize {
        1
    }
}

fn length(mut length: usize, wire: &mut Vec<u8>) {
    while length > 0x7f {
        wire.extend((length as u8 | 0x80).to_le_bytes());
        length >>= 7;
    }
    wire.push(length as u8);
}

impl WireEncode for str {
    fn write(&self, wire: &mut Vec<u8>) {
        self.as_bytes().write(wire);
    }
}

impl WireEncode for [u8] {
    fn write(&self, wire: &mut Vec<u8>) {
        length(self.len(), wire);
        wire.extend_from_slice(self);
    }
}

impl WireEncode for String {
    fn write(&self, wire: &mut Vec<u8>) {
        self.as_str().write(wire);
    }
}

impl WireEncode for Bytes {
    fn write(&self, wire: &mut Vec<u8>) {
        self.as_ref().write(wire);
    }
}

impl WireEncode for Value {
    fn write(&self, wire: &mut Vec<u8>) {
        let (case, text) = match self {
            Self::Utf8(text) => (0, text),
            Self::Base64(text) => (1, text),
        };
        wire.push(case);
        text.write(wire);
    }
}

impl WireEncode for (String,) {
    fn write(&self, wire: &mut Vec<u8>) {
        self.0.write(wire);
    }
}

impl<V: WireEncode> WireEncode for (String, V) {
    fn write(&self, wire: &mut Vec<u8>) {
        self.0.write(wire);
        self.1.write(wire);
    }

    fn elements(&self) -> usize {
        self.1.elements()
    }
}

impl<T: WireEncode> WireEncode for Vec<T> {
    fn write(&self, wire: &mut Vec<u8>) {
        length(self.len(), wire);
        for element in self {
            element.write(wire);
        }
    }

    fn elements(&self) -> usize {
        self.len()
    }
}
