//! The resources that a component holds.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::limits::{Charge, OverLimit};

/// Values up to this size are copied when they arrive. Each is a slice of what was read from the
/// connection at once, and a component that keeps one value would keep all of that.
const COPIED: usize = 4096;

/// An open bucket: its name, which the links give a meaning to in each call.
#[derive(Debug)]
pub struct OpenBucket {
    pub(crate) name: Arc<str>,
    _charge: Charge,
}

impl OpenBucket {
    pub(crate) fn new(name: &str, charge: Charge) -> Self {
        Self {
            name: name.into(),
            _charge: charge,
        }
    }
}

/// Why an operation failed.
#[derive(Debug)]
pub struct ErrorResource {
    pub(crate) trace: String,
    _charge: Charge,
}

impl ErrorResource {
    pub(crate) fn new(trace: String, charge: Charge) -> Self {
        Self {
            trace,
            _charge: charge,
        }
    }
}

/// A value that came from a bucket.
#[derive(Debug)]
pub struct IncomingBytes {
    /// `None` once it was consumed by a method, which leaves the component its handle.
    bytes: Option<Bytes>,
    charge: Charge,
}

impl IncomingBytes {
    pub(crate) fn new(bytes: Bytes, charge: Charge) -> Self {
        let bytes = if bytes.len() <= COPIED {
            Bytes::copy_from_slice(&bytes)
        } else {
            bytes
        };
        Self {
            bytes: Some(bytes),
            charge,
        }
    }

    pub(crate) fn size(&self) -> Option<usize> {
        self.bytes.as_ref().map(Bytes::len)
    }

    /// Takes the bytes out, and what was counted for them.
    pub(crate) fn take(&mut self) -> Option<Bytes> {
        let bytes = self.bytes.take()?;
        self.charge.release_bytes();
        Some(bytes)
    }
}

/// A value on its way to a bucket. A stream of its body shares it.
#[derive(Debug)]
pub struct OutgoingBytes(Arc<Mutex<Body>>);

/// Keeps an outgoing value counted, also when its resource is dropped.
#[derive(Debug)]
pub(crate) struct HeldValue {
    _body: Arc<Mutex<Body>>,
}

/// What an outgoing value is so far.
#[derive(Debug)]
pub(crate) struct Body {
    state: BodyState,
    charge: Charge,
}

#[derive(Debug)]
enum BodyState {
    /// Nothing was written.
    Unwritten,
    /// These bytes, whole.
    Written(Bytes),
    /// A stream is open, and these bytes were written to it so far. Their capacity is counted.
    Open(Vec<u8>),
    /// A stream could not take what was written to it.
    Broken(OverLimit),
}

/// Why an outgoing value cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    Unwritten,
    StreamOpen,
    Broken(OverLimit),
}

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unwritten => f.write_str("no body was written"),
            Self::StreamOpen => f.write_str("the stream of its body is still open; drop it first"),
            Self::Broken(over) => write!(f, "its body could not be written as a whole: {over}"),
        }
    }
}

impl OutgoingBytes {
    pub(crate) fn new(charge: Charge) -> Self {
        Self(Arc::new(Mutex::new(Body {
            state: BodyState::Unwritten,
            charge,
        })))
    }

    /// The value's bytes, and what keeps them counted.
    pub(crate) fn hold(&self) -> Result<(Bytes, HeldValue), Unusable> {
        match &self.locked().state {
            BodyState::Written(bytes) => {
                let held = HeldValue {
                    _body: Arc::clone(&self.0),
                };
                Ok((bytes.clone(), held))
            }
            BodyState::Unwritten => Err(Unusable::Unwritten),
            BodyState::Open(_) => Err(Unusable::StreamOpen),
            BodyState::Broken(over) => Err(Unusable::Broken(*over)),
        }
    }

    /// Makes these bytes the value, in place of what was written before.
    pub(crate) fn write(&self, bytes: Vec<u8>) -> Result<(), Unusable> {
        let mut body = self.locked();
        if matches!(body.state, BodyState::Open(_)) {
            return Err(Unusable::StreamOpen);
        }
        body.charge.resize(bytes.len()).map_err(Unusable::Broken)?;
        body.state = BodyState::Written(bytes.into());
        Ok(())
    }

    /// Begins a stream, whose bytes take the place of what was written before.
    pub(crate) fn open(&self) -> Result<OpenBody, Unusable> {
        let mut body = self.locked();
        if matches!(body.state, BodyState::Open(_)) {
            return Err(Unusable::StreamOpen);
        }
        body.charge.resize(0).map_err(Unusable::Broken)?;
        body.state = BodyState::Open(Vec::new());
        Ok(OpenBody(Arc::clone(&self.0)))
    }

    fn locked(&self) -> MutexGuard<'_, Body> {
        locked(&self.0)
    }
}

/// The writing end of an outgoing value's stream. Dropping it ends the value.
#[derive(Debug)]
pub(crate) struct OpenBody(Arc<Mutex<Body>>);

impl OpenBody {
    /// How many more bytes there is room for.
    pub(crate) fn room(&self) -> Result<usize, OverLimit> {
        let body = locked(&self.0);
        match &body.state {
            BodyState::Broken(over) => Err(*over),
            BodyState::Open(written) => {
                Ok(body.charge.room() + (written.capacity() - written.len()))
            }
            BodyState::Unwritten | BodyState::Written(_) => Ok(body.charge.room()),
        }
    }

    /// Appends bytes. Once that was over a limit, the value is broken.
    pub(crate) fn append(&self, bytes: &[u8]) -> Result<(), OverLimit> {
        let mut body = locked(&self.0);
        let Body { state, charge } = &mut *body;
        let written = match state {
            BodyState::Open(written) => written,
            BodyState::Broken(over) => return Err(*over),
            // The stream is the only one to end this state.
            BodyState::Unwritten | BodyState::Written(_) => return Ok(()),
        };
        match make_room(written, bytes.len(), charge) {
            Ok(()) => {
                written.extend_from_slice(bytes);
                Ok(())
            }
            Err(over) => {
                *state = BodyState::Broken(over);
                charge.release_bytes();
                Err(over)
            }
        }
    }
}

/// Makes room for so many more bytes, and counts it: for twice as many as there was room for, so that
/// bytes are not copied for each part that is written, or else for no more than these.
fn make_room(written: &mut Vec<u8>, more: usize, charge: &mut Charge) -> Result<(), OverLimit> {
    let (capacity, needed) = (written.capacity(), written.len().saturating_add(more));
    if needed <= capacity {
        return Ok(());
    }
    let ample = needed.max(capacity.saturating_mul(2));
    let room = match charge.resize(ample) {
        Ok(()) => ample,
        Err(_) => charge.resize(needed).map(|()| needed)?,
    };
    written.reserve_exact(room - written.len());
    Ok(())
}

impl Drop for OpenBody {
    fn drop(&mut self) {
        let mut body = locked(&self.0);
        let Body { state, charge } = &mut *body;
        if let BodyState::Open(written) = state {
            let mut bytes = std::mem::take(written);
            bytes.shrink_to_fit();
            // Less than before, so it cannot fail.
            let _ = charge.resize(bytes.len());
            *state = BodyState::Written(bytes.into());
        }
    }
}

fn locked(body: &Mutex<Body>) -> MutexGuard<'_, Body> {
    body.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{KeyValueLimits, MAX_TOTAL_BYTES, Quota, Usage};

    #[test]
    fn a_stream_counts_the_room_that_it_has_made() {
        let limits = KeyValueLimits {
            max_bytes: 100,
            ..KeyValueLimits::default()
        };
        let all = Arc::new(Quota::new(MAX_TOTAL_BYTES, 1000));
        let usage = Arc::new(Usage::new(&limits, all));
        let left = || usage.charge_nothing().room();
        let value = OutgoingBytes::new(usage.charge(0).unwrap());
        let stream = value.open().unwrap();
        stream.append(&[0; 40]).unwrap();
        stream.append(&[0; 10]).unwrap();
        assert_eq!((left(), stream.room()), (20, Ok(50)));
        // There is not twice as much.
        stream.append(&[0; 45]).unwrap();
        assert_eq!((left(), stream.room()), (5, Ok(5)));
        drop(stream);
        let (bytes, held) = value.hold().unwrap();
        assert_eq!((bytes.len(), left()), (95, 5));
        drop(value);
        assert_eq!(left(), 5, "a call holds it");
        drop(held);
        assert_eq!(left(), 100);

        let broken = OutgoingBytes::new(usage.charge(0).unwrap());
        let stream = broken.open().unwrap();
        assert!(stream.append(&[0; 101]).is_err());
        assert_eq!(left(), 100);
        assert!(stream.append(&[0]).is_err());
        drop(stream);
        assert!(matches!(broken.hold(), Err(Unusable::Broken(_))));
    }
}
