//! Parameters as they come in, decoded as far as they go, within the memory that there is for them.

use bytes::{Bytes, BytesMut};
use tokio_util::codec::Decoder as _;

use super::memory_budget::Reservation;
use super::parameters::{ParameterError, Parameters};

/// What became of an invocation's parameters.
pub(super) enum ParameterOutcome<P> {
    /// They are all there.
    Params(P),
    /// The decoder refused them.
    Undecodable(ParameterError),
    /// They have more bytes than may be read.
    TooLarge,
    /// There is no room for them beside those of other calls.
    NoMemory,
}

/// The parameters that have come so far, decoded as far as they go.
pub(super) struct ParameterBuffer<P: Parameters> {
    decoder: P::Decoder,
    undecoded: BytesMut,
    /// How many bytes have come.
    bytes: usize,
    max_bytes: u64,
}

impl<P: Parameters> ParameterBuffer<P> {
    pub(super) fn new(first: Bytes, max_keys: usize, max_bytes: u64) -> Self {
        Self {
            decoder: P::decoder(max_keys),
            bytes: first.len(),
            undecoded: BytesMut::from(first),
            max_bytes,
        }
    }

    /// Takes one more part; see [`decode`](Self::decode).
    pub(super) fn extend(
        &mut self,
        part: &[u8],
        memory: &Reservation,
    ) -> Option<ParameterOutcome<P>> {
        self.bytes += part.len();
        if !memory.try_grow_to(self.bytes + P::decoder_overhead(&self.decoder)) {
            return Some(ParameterOutcome::NoMemory);
        }
        self.undecoded.extend_from_slice(part);
        self.decode(memory)
    }

    /// Decodes what has come, and returns what became of the parameters if that is known now.
    pub(super) fn decode(&mut self, memory: &Reservation) -> Option<ParameterOutcome<P>> {
        let before = self.undecoded.len();
        match self.decoder.decode(&mut self.undecoded) {
            Err(error) => return Some(ParameterOutcome::Undecodable(error)),
            Ok(Some(params)) => {
                self.undecoded = BytesMut::new();
                let bytes = self.bytes + params.decoded_overhead();
                return Some(if memory.try_grow_to(bytes) {
                    ParameterOutcome::Params(params)
                } else {
                    ParameterOutcome::NoMemory
                });
            }
            Ok(None) => {}
        }
        if u64::try_from(self.bytes).is_ok_and(|bytes| bytes > self.max_bytes) {
            return Some(ParameterOutcome::TooLarge);
        }
        let left = self.undecoded.len();
        if left < before / 2 {
            // The rest pins the whole allocation. Copying the small rest frees the decoded part.
            self.undecoded = BytesMut::from(&self.undecoded[..]);
        }
        let bytes = self.bytes + P::decoder_overhead(&self.decoder);
        (!memory.try_grow_to(bytes)).then_some(ParameterOutcome::NoMemory)
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory_budget::MemoryBudget;
    use super::*;

    type Pairs = (String, Vec<(String, Bytes)>);

    const MIB: usize = 1024 * 1024;
    const PAIRS: usize = 40_000;

    /// The first part of a batch that is never completed.
    fn incomplete() -> Bytes {
        let mut params = vec![1, b'b', 0xff, 0xff, 3];
        for _ in 0..PAIRS {
            params.extend([1, b'k', 1, b'v']);
        }
        params.into()
    }

    #[test]
    fn what_is_decoded_counts_beside_the_bytes() {
        let budget = MemoryBudget::new(4 * MIB);
        let memory = [budget.reservation(), budget.reservation()];
        let [first, second] = memory.map(|memory| {
            let mut buffer = ParameterBuffer::<Pairs>::new(incomplete(), 100_000, u64::MAX);
            (buffer.decode(&memory), memory)
        });
        assert!(first.0.is_none());
        assert!(matches!(second.0, Some(ParameterOutcome::NoMemory)));
        drop(first);
        assert!(second.1.try_grow_to(4 * MIB));
    }

    #[test]
    fn a_buffer_does_not_outlive_what_was_decoded_of_it() {
        let memory = MemoryBudget::new(64 * MIB).reservation();
        let mut first = incomplete().to_vec();
        first.extend([200, b'x']);
        let mut buffer = ParameterBuffer::<Pairs>::new(first.into(), 100_000, u64::MAX);
        assert!(buffer.decode(&memory).is_none());
        assert!(buffer.undecoded.capacity() < 1024);
    }
}
