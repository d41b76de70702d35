//! The latest offset of each key, in bounded memory.
//!
//! Of a key only a hash is kept: the first 16 bytes of its SHA-256. Two keys of the same hash would lose a record, so
//! it is one for which nobody can find such a pair.

use sha2::{Digest, Sha256};

type KeyHash = [u8; 16];

const SLOT_BYTES: usize = size_of::<Option<Slot>>();
const SLOTS_MIN: usize = 64;

/// A table with open addressing. It grows by doubling, when the old and the new one are in memory together.
#[derive(Debug)]
pub(super) struct KeyMap {
    slots: Vec<Option<Slot>>,
    slots_max: usize,
    len: usize,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    key: KeyHash,
    offset: i64,
}

impl KeyMap {
    pub(super) fn new(bytes_max: usize) -> KeyMap {
        let slots_max = (bytes_max / (SLOT_BYTES + SLOT_BYTES / 2)).max(SLOTS_MIN);
        KeyMap { slots: vec![None; SLOTS_MIN], slots_max, len: 0 }
    }

    pub(super) fn bytes(&self) -> usize {
        self.slots.len() * SLOT_BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether so many more keys fit within the limit.
    pub(super) fn has_room_for(&self, keys: usize) -> bool {
        self.len + keys <= self.slots_max / 4 * 3
    }

    /// Offsets come rising, so the last one of a key is the latest. Beyond the limit the map grows all the same.
    pub(super) fn put(&mut self, key: &[u8], offset: i64) {
        if self.len + 1 > self.slots.len() / 4 * 3 {
            self.grow();
        }
        let key = hash(key);
        let at = self.place(&key);
        self.len += usize::from(self.slots[at].is_none());
        self.slots[at] = Some(Slot { key, offset });
    }

    pub(super) fn latest(&self, key: &[u8]) -> Option<i64> {
        self.slots[self.place(&hash(key))].map(|slot| slot.offset)
    }

    /// Where the key is or would be.
    fn place(&self, key: &KeyHash) -> usize {
        let start = u64::from_ne_bytes(*key.first_chunk().expect("a hash has 16 bytes"));
        let mut at = (start % self.slots.len() as u64) as usize;
        while self.slots[at].is_some_and(|slot| slot.key != *key) {
            at = (at + 1) % self.slots.len();
        }
        at
    }

    fn grow(&mut self) {
        let doubled = self.slots.len() * 2;
        let slots = if self.slots.len() < self.slots_max { doubled.min(self.slots_max) } else { doubled };
        let old = std::mem::replace(&mut self.slots, vec![None; slots]);
        for slot in old.into_iter().flatten() {
            let at = self.place(&slot.key);
            self.slots[at] = Some(slot);
        }
    }
}

fn hash(key: &[u8]) -> KeyHash {
    *Sha256::digest(key).first_chunk().expect("it has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_offset_of_each_key_is_kept_while_the_map_grows() {
        let mut map = KeyMap::new(1 << 20);
        for offset in 0..10_000i64 {
            map.put(&(offset % 3_000).to_be_bytes(), offset);
        }
        for key in 0..3_000i64 {
            let latest = (0..4).map(|round| key + round * 3_000).filter(|offset| *offset < 10_000).max();
            assert_eq!(map.latest(&key.to_be_bytes()), latest);
        }
        assert_eq!((map.latest(b"unknown"), map.len), (None, 3_000));
    }

    #[test]
    fn within_its_limit_it_takes_no_more_memory() {
        let bytes_max = 100_000;
        let mut map = KeyMap::new(bytes_max);
        let mut keys = 0i64;
        while map.has_room_for(1) {
            map.put(&keys.to_be_bytes(), keys);
            keys += 1;
        }
        assert!(keys > 1_000 && map.slots.len() * SLOT_BYTES * 3 / 2 <= bytes_max);
        map.put(b"one more", keys);
        assert_eq!(map.latest(b"one more"), Some(keys));
    }
}
