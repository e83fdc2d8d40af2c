//! What one store may hold in the host, and how much of it is taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What components may ask of a [`KeyValueHost`](crate::KeyValueHost), beyond the limits of their
/// links.
///
/// A component that goes over one of them gets an error, or a trap where the interface has no error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyValueLimits {
    /// Buckets, values, streams and errors that one store holds at once. Each takes some hundred bytes
    /// of the host's memory.
    pub max_resources: usize,
    /// Bytes of keys and values that the host holds at once for one store, outside of the component's
    /// own memory: values that the component keeps, and what calls under way have read or are to
    /// write. A write counts until it has ended, also if its store is dropped before.
    pub max_bytes: usize,
    /// Bytes of keys and values that the host holds at once for all stores together.
    pub max_total_bytes: usize,
    /// Calls under way at once, over all stores.
    pub max_calls: usize,
}

impl Default for KeyValueLimits {
    fn default() -> Self {
        Self {
            // A batch of the most keys that a link allows by default, and something beside it.
            max_resources: 120_000,
            max_bytes: 128 * 1024 * 1024,
            max_total_bytes: 1024 * 1024 * 1024,
            max_calls: 1024,
        }
    }
}

/// A number that is taken from, and given back to, up to a limit.
#[derive(Debug)]
pub(crate) struct Quota {
    name: &'static str,
    max: usize,
    used: AtomicUsize,
}

impl Quota {
    pub(crate) fn new(name: &'static str, max: usize) -> Self {
        Self {
            name,
            max,
            used: AtomicUsize::new(0),
        }
    }

    fn take(&self, amount: usize) -> Result<(), OverLimit> {
        let taken = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(amount).filter(|sum| *sum <= self.max)
            });
        match taken {
            Ok(_) => Ok(()),
            Err(_) => Err(OverLimit {
                name: self.name,
                max: self.max,
            }),
        }
    }

    fn give_back(&self, amount: usize) {
        self.used.fetch_sub(amount, Ordering::Relaxed);
    }

    fn left(&self) -> usize {
        self.max.saturating_sub(self.used.load(Ordering::Relaxed))
    }
}

/// The name of the quota that all stores share.
pub(crate) const MAX_TOTAL_BYTES: &str = "max_total_bytes";

/// A store, or all of them, hold as much as they may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OverLimit {
    name: &'static str,
    max: usize,
}

impl OverLimit {
    /// Whether it is a limit of all stores, so that there may be room later.
    pub(crate) fn is_of_all_stores(self) -> bool {
        self.name == MAX_TOTAL_BYTES
    }
}

impl std::fmt::Display for OverLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, max } = self;
        write!(f, "the host's limit `{name}` = {max} is reached")
    }
}

impl std::error::Error for OverLimit {}

/// What one store holds.
#[derive(Debug)]
pub(crate) struct Usage {
    resources: Quota,
    bytes: Quota,
    all_bytes: Arc<Quota>,
}

impl Usage {
    pub(crate) fn new(limits: &KeyValueLimits, all_bytes: Arc<Quota>) -> Self {
        Self {
            resources: Quota::new("max_resources", limits.max_resources),
            bytes: Quota::new("max_bytes", limits.max_bytes),
            all_bytes,
        }
    }

    /// Counts one resource that keeps so many bytes.
    pub(crate) fn charge(self: &Arc<Self>, bytes: usize) -> Result<Charge, OverLimit> {
        self.resources.take(1)?;
        let mut charge = Charge {
            usage: Arc::clone(self),
            resources: 1,
            bytes: 0,
        };
        charge.resize(bytes)?;
        Ok(charge)
    }

    /// Counts so many bytes that no resource keeps, such as those of a call.
    pub(crate) fn charge_bytes(self: &Arc<Self>, bytes: usize) -> Result<Charge, OverLimit> {
        let mut charge = self.charge_nothing();
        charge.resize(bytes)?;
        Ok(charge)
    }

    /// Counts nothing yet.
    pub(crate) fn charge_nothing(self: &Arc<Self>) -> Charge {
        Charge {
            usage: Arc::clone(self),
            resources: 0,
            bytes: 0,
        }
    }
}

/// A share of what a store holds, given back when it is dropped. It may outlive the store.
#[derive(Debug)]
pub(crate) struct Charge {
    usage: Arc<Usage>,
    resources: usize,
    bytes: usize,
}

impl Charge {
    /// Changes how many bytes are kept. If that is over a limit, nothing changes.
    pub(crate) fn resize(&mut self, bytes: usize) -> Result<(), OverLimit> {
        let usage = &*self.usage;
        if let Some(more) = bytes.checked_sub(self.bytes) {
            usage.bytes.take(more)?;
            if let Err(over) = usage.all_bytes.take(more) {
                usage.bytes.give_back(more);
                return Err(over);
            }
        } else {
            self.release(self.bytes - bytes);
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Counts one resource that keeps so many of these bytes, which stay counted without a gap.
    pub(crate) fn split_off(&mut self, bytes: usize) -> Result<Self, OverLimit> {
        if self.bytes < bytes {
            self.resize(bytes)?;
        }
        self.usage.resources.take(1)?;
        self.bytes -= bytes;
        Ok(Self {
            usage: Arc::clone(&self.usage),
            resources: 1,
            bytes,
        })
    }

    /// How many more bytes could be kept.
    pub(crate) fn room(&self) -> usize {
        self.usage.bytes.left().min(self.usage.all_bytes.left())
    }

    /// Gives the bytes back; a resource stays.
    pub(crate) fn release_bytes(&mut self) {
        self.release(self.bytes);
        self.bytes = 0;
    }

    fn release(&self, bytes: usize) {
        self.usage.bytes.give_back(bytes);
        self.usage.all_bytes.give_back(bytes);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.release(self.bytes);
        self.usage.resources.give_back(self.resources);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> KeyValueLimits {
        KeyValueLimits {
            max_resources: 2,
            max_bytes: 10,
            ..KeyValueLimits::default()
        }
    }

    #[test]
    fn what_is_dropped_is_given_back() {
        let all = Arc::new(Quota::new(MAX_TOTAL_BYTES, 15));
        let usage = Arc::new(Usage::new(&limits(), Arc::clone(&all)));
        let mut first = usage.charge(6).unwrap();
        let over = usage.charge(5).unwrap_err();
        assert_eq!(over.name, "max_bytes");
        let second = usage.charge(4).unwrap();
        assert_eq!(usage.charge(0).unwrap_err().name, "max_resources");
        assert!(first.resize(7).is_err());
        drop(second);
        first.resize(10).unwrap();
        first.resize(3).unwrap();
        assert_eq!(first.room(), 7);
        drop(first);
        assert_eq!((usage.bytes.left(), all.left()), (10, 15));
        assert_eq!(usage.resources.left(), 2);
    }

    #[test]
    fn what_is_split_off_stays_counted() {
        let all = Arc::new(Quota::new(MAX_TOTAL_BYTES, 15));
        let usage = Arc::new(Usage::new(&limits(), Arc::clone(&all)));
        let mut read = usage.charge_bytes(10).unwrap();
        assert_eq!(usage.resources.left(), 2, "bytes alone are no resource");
        let first = read.split_off(4).unwrap();
        let second = read.split_off(6).unwrap();
        assert_eq!((usage.bytes.left(), all.left()), (0, 5));
        assert_eq!(read.split_off(0).unwrap_err().name, "max_resources");
        assert_eq!(read.split_off(1).unwrap_err().name, "max_bytes");
        drop((first, second, read));
        assert_eq!((usage.bytes.left(), all.left()), (10, 15));
        assert_eq!(usage.resources.left(), 2);
    }

    #[test]
    fn stores_share_the_bytes_of_all() {
        let all = Arc::new(Quota::new(MAX_TOTAL_BYTES, 15));
        let one = Arc::new(Usage::new(&limits(), Arc::clone(&all)));
        let other = Arc::new(Usage::new(&limits(), all));
        let held = one.charge(10).unwrap();
        assert!(other.charge(6).unwrap_err().is_of_all_stores());
        assert_eq!(other.bytes.left(), 10, "a refusal takes nothing");
        drop(held);
        other.charge(6).unwrap();
    }
}
