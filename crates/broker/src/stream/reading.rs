//! Reading what a partition shows. These calls read files: they are for threads that may wait.

use std::ops::Range;

use cauce_log::{LogError, RecordBatch, Region};

use super::compression;
use super::handle::PartitionHandle;
use crate::storage::report_damage;

/// Kafka's word for a record without a time.
const NO_TIMESTAMP: i64 = -1;

/// The offset and time of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timed {
    pub offset: u64,
    pub timestamp_ms: i64,
}

impl PartitionHandle {
    /// Where the batches are from the one that holds the first offset on, within the offsets. They come whole, and
    /// the first does whatever its size.
    pub fn locate(&self, offsets: Range<u64>, bytes_max: usize) -> Result<Option<Region>, LogError> {
        let Some(reader) = self.reader().filter(|_| !offsets.is_empty()) else { return Ok(None) };
        let region = reader.locate(offsets.start as i64, offsets.end as i64, bytes_max as u64);
        report_damage(&self.at.to_string(), &reader);
        region
    }

    /// Batches from the one that holds the offset on, none at the end: for what the broker keeps for itself.
    pub(crate) fn read(&self, from: u64, bytes_max: usize) -> Result<Vec<RecordBatch>, LogError> {
        let Some(reader) = self.reader() else { return Ok(Vec::new()) };
        let batches = reader.read(from as i64, bytes_max);
        report_damage(&self.at.to_string(), &reader);
        batches
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
