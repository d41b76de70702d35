//! Reading what a partition shows. These calls read files: they are for threads that may wait.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use cauce_log::{LogError, RecordBatch};

use super::compression;
use super::handle::PartitionHandle;
use crate::storage::report_damage;

/// Kafka's word for a record without a time.
const NO_TIMESTAMP: i64 = -1;

/// Batches on their way to a reader.
#[derive(Debug, Default)]
pub struct Slice {
    batches: Vec<RecordBatch>,
}

impl Slice {
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    pub fn len_bytes(&self) -> usize {
        self.batches.iter().map(RecordBatch::len_bytes).sum()
    }

    /// The offset after the last record.
    pub fn end(&self) -> Option<u64> {
        self.batches.last().map(|batch| batch.next_offset() as u64)
    }

    /// The batches one behind the other.
    pub fn into_bytes(mut self) -> Bytes {
        if self.batches.len() <= 1 {
            return self.batches.pop().map(RecordBatch::into_bytes).unwrap_or_default();
        }
        let mut joined = BytesMut::with_capacity(self.len_bytes());
        self.batches.iter().for_each(|batch| joined.extend_from_slice(batch.bytes()));
        joined.freeze()
    }
}

/// The offset and time of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timed {
    pub offset: u64,
    pub timestamp_ms: i64,
}

impl PartitionHandle {
    /// Batches from the one that holds the first offset on, within the offsets. They come whole, and the first does
    /// whatever its size.
    pub fn read(&self, offsets: Range<u64>, bytes_max: usize) -> Result<Slice, LogError> {
        let Some(reader) = self.reader().filter(|_| !offsets.is_empty()) else {
            return Ok(Slice::default());
        };
        let mut batches = reader.read(offsets.start as i64, bytes_max)?;
        report_damage(&self.at.to_string(), &reader);
        let hidden = |batch: &RecordBatch| batch.base_offset() as u64 >= offsets.end;
        let shown = batches.iter().position(hidden).unwrap_or(batches.len());
        batches.truncate(shown);
        Ok(Slice { batches })
    }

    /// The first record below `end` that is as late as this.
    pub fn offset_for_time(&self, timestamp_ms: i64, end: u64) -> Result<Option<Timed>, LogError> {
        let Some(reader) = self.reader() else { return Ok(None) };
        let Some((offset, found_ms)) = reader.offset_for_time(timestamp_ms)? else { return Ok(None) };
        let found = match reader.read(offset, 1)?.first() {
            Some(batch) if batch.compression_codec() != 0 => first_in(batch, timestamp_ms)
                .unwrap_or(Timed { offset: offset as u64, timestamp_ms: found_ms }),
            _ => Timed { offset: offset as u64, timestamp_ms: found_ms },
        };
        let log_start = self.extent().log_start;
        Ok(Some(found).filter(|found| (log_start..end).contains(&found.offset)))
    }

    /// The record below `end` with the latest time. Found by asking for ever narrower times, each answered by the
    /// indexes.
    pub fn latest_time(&self, end: u64) -> Result<Option<Timed>, LogError> {
        let Some(mut latest) = self.offset_for_time(NO_TIMESTAMP + 1, end)? else { return Ok(None) };
        let mut beyond = i64::MAX;
        while latest.timestamp_ms < beyond - 1 {
            let middle = latest.timestamp_ms + (beyond - latest.timestamp_ms) / 2;
            match self.offset_for_time(middle, end)? {
                Some(later) => latest = later,
                None => beyond = middle,
            }
        }
        Ok(Some(latest))
    }
}

/// The record in a compressed batch.
fn first_in(batch: &RecordBatch, timestamp_ms: i64) -> Option<Timed> {
    let records = compression::decompress(batch).ok()?;
    let mut records = batch.records_in(&records).map_while(Result::ok);
    let record = records.find(|record| record.timestamp_ms >= timestamp_ms)?;
    Some(Timed { offset: record.offset as u64, timestamp_ms: record.timestamp_ms })
}
