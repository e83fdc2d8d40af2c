//! The keys of a copy, in shards. Readers lock a shard for one look-up, the one writer for one
//! change.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::record::{Record, RecordParts};

pub(super) const SHARDS: usize = 64;

/// What a key takes in its shard's table: 17 bytes a slot, and a table that is half full after it
/// has grown.
const SLOT: usize = 17 * 2;

/// The last message of every key that the copy knows of, markers included.
#[derive(Debug)]
pub(super) struct ReplicaMap {
    hasher: RandomState,
    shards: Vec<RwLock<HashSet<Record>>>,
    len: AtomicUsize,
    memory: AtomicUsize,
}

impl ReplicaMap {
    pub(super) fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            len: AtomicUsize::new(0),
            memory: AtomicUsize::new(0),
        }
    }

    /// How many keys there are, markers included.
    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// About how many bytes of memory the keys take.
    pub(super) fn memory(&self) -> usize {
        self.memory.load(Ordering::Relaxed)
    }

    pub(super) fn get(&self, key: &str) -> Option<Record> {
        self.read(self.shard(key)).get(key).cloned()
    }

    /// Puts a message in the place of its key's last one.
    pub(super) fn put(&self, parts: &RecordParts<'_>) {
        let record = Record::new(parts);
        let added = record.memory();
        let before = self.write(self.shard(parts.key)).replace(record);
        self.memory.fetch_add(added, Ordering::Relaxed);
        if let Some(before) = before {
            self.memory.fetch_sub(before.memory(), Ordering::Relaxed);
        } else {
            self.len.fetch_add(1, Ordering::Relaxed);
            self.memory.fetch_add(SLOT, Ordering::Relaxed);
        }
    }

    /// Keeps only the records of which this is true. Returns how many are gone.
    pub(super) fn retain(&self, mut keep: impl FnMut(&Record) -> bool) -> usize {
        let mut gone = 0;
        for shard in 0..SHARDS {
            let mut shard = self.write(shard);
            let mut freed = 0;
            let before = shard.len();
            shard.retain(|record| {
                let keeps = keep(record);
                if !keeps {
                    freed += record.memory() + SLOT;
                }
                keeps
            });
            if shard.len() < before / 2 {
                shard.shrink_to_fit();
            }
            gone += before - shard.len();
            self.memory.fetch_sub(freed, Ordering::Relaxed);
        }
        self.len.fetch_sub(gone, Ordering::Relaxed);
        gone
    }

    /// The records of one shard. Nothing is locked when this returns.
    pub(super) fn records(&self, shard: usize) -> Vec<Record> {
        self.read(shard).iter().cloned().collect()
    }

    fn shard(&self, key: &str) -> usize {
        // The remainder is less than the number of shards.
        usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0)
    }

    fn read(&self, shard: usize) -> RwLockReadGuard<'_, HashSet<Record>> {
        self.shards[shard]
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, shard: usize) -> RwLockWriteGuard<'_, HashSet<Record>> {
        self.shards[shard]
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(map: &ReplicaMap, key: &str, value: Option<&[u8]>, sequence: u64) {
        map.put(&RecordParts {
            key,
            value,
            sequence,
            expires: 0,
        });
    }

    #[test]
    fn the_last_message_of_a_key_counts() {
        let map = ReplicaMap::new();
        put(&map, "a", Some(b"1"), 1);
        put(&map, "b", Some(b"1"), 2);
        put(&map, "a", Some(b"2"), 3);
        assert_eq!(map.len(), 2);
        let a = map.get("a").unwrap();
        assert_eq!((a.sequence(), a.value()), (3, Some("2".into())));
        put(&map, "a", None, 4);
        assert_eq!(map.get("a").unwrap().value(), None);
        assert_eq!(map.len(), 2, "a marker is a message, too");
        assert!(map.get("c").is_none());
    }

    #[test]
    fn memory_is_counted_up_and_down() {
        let map = ReplicaMap::new();
        for key in 0..1000 {
            put(&map, &format!("key-{key}"), Some(&[0; 100]), key + 1);
        }
        assert!(map.memory() > 1000 * 100);
        for key in 0..1000 {
            put(&map, &format!("key-{key}"), Some(b"1"), 1000 + key + 1);
        }
        assert!(map.memory() < 1000 * 100);
        assert_eq!(map.retain(|record| record.sequence() > 1999), 999);
        assert_eq!(map.retain(|_| false), 1);
        assert_eq!((map.len(), map.memory()), (0, 0));
    }

    #[test]
    fn a_key_takes_at_most_80_bytes_beside_key_and_value() {
        let map = ReplicaMap::new();
        let (count, mut bytes) = (10_000, 0);
        for number in 0..count {
            let (key, value) = (format!("key-{number:06}"), [0; 128]);
            bytes += key.len() + value.len();
            put(&map, &key, Some(&value), number + 1);
        }
        let beside = (map.memory() - bytes) / map.len();
        assert!(beside <= 80, "{beside} bytes");
        // What the tables really hold is not more than what is counted for them.
        let slots: usize = (0..SHARDS).map(|shard| map.read(shard).capacity()).sum();
        let slots = slots * 8 / 7;
        assert!(slots * 17 <= map.len() * SLOT * 5 / 4, "{slots} slots");
    }
}
