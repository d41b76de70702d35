//! Reading what a partition shows. These calls read files: they are for threads that may wait.

use std::io;
use std::ops::Range;

use cauce_log::{self as log, LogError, LogReader, RecordBatch, Region};

use super::codec::Compression;
use super::handle::PartitionHandle;
use crate::storage::report_damage;

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

    /// The first record that is as late as this, if it is below `end`.
    pub fn offset_for_time(&self, timestamp_ms: i64, end: u64) -> io::Result<Option<Timed>> {
        self.timed(end, |reader| reader.offset_for_time(timestamp_ms, &Compression))
    }

    /// The first record with the latest time, if it is below `end`.
    pub fn latest_time(&self, end: u64) -> io::Result<Option<Timed>> {
        self.timed(end, |reader| reader.latest_time(&Compression))
    }

    fn timed(
        &self,
        end: u64,
        look: impl FnOnce(&LogReader) -> io::Result<Option<log::Timed>>,
    ) -> io::Result<Option<Timed>> {
        let Some(reader) = self.reader() else { return Ok(None) };
        let found =
            look(&reader)?.map(|(offset, timestamp_ms)| Timed { offset: offset as u64, timestamp_ms });
        Ok(found.filter(|found| found.offset < end))
    }
}
