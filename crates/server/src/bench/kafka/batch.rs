//! The batch a producer is filling, and the time each of its records was made.

use std::time::Duration;

use bytes::Bytes;
use cauce_log::BatchBuilder;
use tokio::time::Instant;

use crate::kafka_client::Compression;

/// Before each value, so that only this process can read it.
const STAMP_BYTES: usize = 8;
/// More than a record takes beside its value.
const RECORD_OVERHEAD_MAX: usize = 24;
/// Values are cut from it in turn, so that compression does not find one in the other.
const LETTERS: usize = 1 << 20;

#[derive(Debug, Clone, Copy)]
pub(super) struct Batching {
    pub(super) value_bytes: usize,
    pub(super) bytes_max: usize,
    pub(super) linger: Duration,
    pub(super) compression: Compression,
}

/// When the records of a batch were made, and how many were made then.
pub(super) type Stamps = Vec<(u64, u64)>;

pub(super) struct Batch {
    batching: Batching,
    builder: BatchBuilder,
    stamps: Stamps,
    opened_at: Instant,
    letters: Vec<u8>,
    at: usize,
}

impl Batch {
    pub(super) fn new(batching: Batching) -> Batch {
        Batch {
            letters: letters(LETTERS + batching.value_bytes),
            batching,
            builder: BatchBuilder::new(),
            stamps: Stamps::new(),
            opened_at: Instant::now(),
            at: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.builder.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        let next = self.batching.value_bytes + RECORD_OVERHEAD_MAX;
        !self.is_empty() && self.builder.len_bytes() + next > self.batching.bytes_max
    }

    /// When it goes even if it is not full; of an empty one it means nothing.
    pub(super) fn leaves_at(&self) -> Instant {
        self.opened_at + self.batching.linger
    }

    /// Adds as many as there is room for, `count` at most, all made now; returns how many.
    pub(super) fn fill(&mut self, count: u64, now: u64, timestamp_ms: i64) -> u64 {
        if self.is_empty() && count > 0 {
            self.builder.start(0, timestamp_ms);
            self.opened_at = Instant::now();
        }
        let mut added = 0;
        while added < count && !self.is_full() {
            let letters = &self.letters[self.at..self.at + self.batching.value_bytes];
            self.at = (self.at + self.batching.value_bytes) % LETTERS;
            let offset = self.builder.record_count() as i64;
            match letters.get(STAMP_BYTES..) {
                Some(rest) => {
                    self.builder.push(offset, timestamp_ms, None, Some(&[&now.to_be_bytes(), rest]), &[]);
                }
                None => self.builder.push(offset, timestamp_ms, None, Some(&[letters]), &[]),
            }
            added += 1;
        }
        if added > 0 {
            self.stamps.push((now, added));
        }
        added
    }

    /// What is in it, which makes it empty.
    pub(super) fn take(&mut self) -> (Bytes, Stamps) {
        let batch = self.batching.compression.compress(self.builder.finish());
        (batch, std::mem::take(&mut self.stamps))
    }
}

/// The time at which a value was made.
pub(super) fn stamp(value: &[u8]) -> Option<u64> {
    value.first_chunk().map(|stamp| u64::from_be_bytes(*stamp))
}

/// Without order, but the same in every run.
fn letters(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        b'A' + ((state >> 33) % 26) as u8
    };
    std::iter::repeat_with(next).take(count).collect()
}

#[cfg(test)]
mod tests {
    use cauce_log::RecordBatch;

    use super::*;

    #[test]
    fn a_batch_is_full_before_it_is_too_large() {
        let mut batch = Batch::new(batching(100, 1000));
        assert_eq!(batch.fill(u64::MAX, 7, 1), 8);
        assert!(batch.is_full());
        let (bytes, stamps) = batch.take();
        assert!(bytes.len() <= 1000 && batch.is_empty(), "{}", bytes.len());
        assert_eq!(stamps, [(7, 8)]);
        assert_eq!(read(bytes), vec![(100, Some(7)); 8]);
    }

    #[test]
    fn a_record_larger_than_a_batch_goes_alone() {
        let mut batch = Batch::new(batching(100, 10));
        assert_eq!(batch.fill(5, 7, 1), 1);
        assert_eq!(read(batch.take().0), [(100, Some(7))]);
    }

    #[test]
    fn records_made_at_several_times_are_told_apart() {
        let mut batch = Batch::new(batching(8, 10_000));
        batch.fill(2, 7, 1);
        batch.fill(0, 8, 1);
        batch.fill(1, 9, 1);
        let (bytes, stamps) = batch.take();
        assert_eq!(stamps, [(7, 2), (9, 1)]);
        assert_eq!(read(bytes), [(8, Some(7)), (8, Some(7)), (8, Some(9))]);
    }

    #[test]
    fn small_values_have_no_room_for_the_time() {
        let mut batch = Batch::new(batching(3, 10_000));
        batch.fill(1, 7, 1);
        assert_eq!(read(batch.take().0), [(3, None)]);
    }

    fn batching(value_bytes: usize, bytes_max: usize) -> Batching {
        Batching { value_bytes, bytes_max, linger: Duration::ZERO, compression: Compression::None }
    }

    /// The length and the time of each value.
    fn read(bytes: Bytes) -> Vec<(usize, Option<u64>)> {
        let (batch, rest) = RecordBatch::parse(bytes).expect("a batch");
        assert!(rest.is_empty());
        let value = |record: cauce_log::Record<'_>| record.value.expect("a value").to_vec();
        let values = batch.records().map(|record| value(record.expect("a record")));
        values.map(|value| (value.len(), stamp(&value))).collect()
    }
}
