//! Looking for records by their time. Times may come in any order: an index entry says what the latest was so far.

use std::io;

use super::compaction::{Codec, records_of};
use super::reader::{LogReader, READ_CHUNK_BYTES_MAX};
use super::recovery::Damage;
use super::view::Placed;
use crate::batch::RecordBatch;
use crate::scan::Found;

/// A record's offset and time.
pub type Timed = (i64, i64);

impl LogReader {
    /// The first record at or after a time, with its own time. Of a batch that cannot be decompressed, the first offset
    /// and the earliest time it can have.
    pub fn offset_for_time(&self, timestamp_ms: i64, codec: &dyn Codec) -> io::Result<Option<Timed>> {
        for placed in self.view.all() {
            let is_earlier = placed.segment.max_timestamp()?.is_none_or(|latest| latest < timestamp_ms);
            if is_earlier {
                continue;
            }
            let from = placed.segment.offset_before_time(timestamp_ms)?.max(self.start_offset());
            if let Some(found) = self.find_time(&placed, from, timestamp_ms, codec)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The first of the records with the latest time.
    pub fn latest_time(&self, codec: &dyn Codec) -> io::Result<Option<Timed>> {
        let (start, mut latest) = (self.start_offset(), None);
        for placed in self.view.all() {
            let known = match placed.segment.latest()? {
                Some(entry) if placed.segment.base_offset >= start => {
                    Some((placed.segment.base_offset + i64::from(entry.relative_offset), entry.timestamp_ms))
                }
                Some(_) => self.latest_batch(&placed, start)?,
                None => None,
            };
            if let Some((last_offset, timestamp_ms)) = known
                && latest.as_ref().is_none_or(|(_, _, latest_ms)| timestamp_ms > *latest_ms)
            {
                latest = Some((placed, last_offset, timestamp_ms));
            }
        }
        let Some((placed, last_offset, timestamp_ms)) = latest else { return Ok(None) };
        self.find_time(&placed, last_offset, timestamp_ms, codec)
    }

    /// Where the batch with the latest time ends, of those that reach `start`, and that time. Reads them all.
    fn latest_batch(&self, placed: &Placed, start: i64) -> io::Result<Option<Timed>> {
        let (position, offset) = placed.segment.position_before(start)?;
        let mut scanner = placed.segment.scan(position, offset..placed.offset_limit, READ_CHUNK_BYTES_MAX);
        let mut latest = None;
        while let Some(found) = scanner.next()? {
            let Found::Batch { batch, .. } = found else { continue };
            let is_later = latest.is_none_or(|(_, latest_ms)| batch.max_timestamp() > latest_ms);
            if batch.last_offset() >= start && !batch.is_empty() && is_later {
                latest = Some((batch.last_offset(), batch.max_timestamp()));
            }
        }
        Ok(latest)
    }

    /// The first record that is late enough, from the batch on that holds `from`.
    fn find_time(
        &self,
        placed: &Placed,
        from: i64,
        timestamp_ms: i64,
        codec: &dyn Codec,
    ) -> io::Result<Option<Timed>> {
        let (segment, start, end_offset) = (&placed.segment, self.start_offset(), self.end_offset());
        let (position, offset) = segment.position_before(from)?;
        let mut scanner = segment.scan(position, offset..placed.offset_limit, READ_CHUNK_BYTES_MAX);
        while let Some(found) = scanner.next()? {
            match found {
                Found::Damage { bytes, offsets, .. } => {
                    self.view.notice(Damage::new(&segment.path, bytes, offsets));
                }
                Found::Batch { batch, .. } if batch.base_offset() >= end_offset => break,
                Found::Batch { batch, .. } => {
                    let may_hold = batch.last_offset() >= start.max(from)
                        && !batch.is_empty()
                        && batch.max_timestamp() >= timestamp_ms;
                    let found = may_hold.then(|| first_in(&batch, start, timestamp_ms, codec)).flatten();
                    if found.is_some() {
                        return Ok(found);
                    }
                }
            }
        }
        Ok(None)
    }
}

fn first_in(batch: &RecordBatch, start: i64, timestamp_ms: i64, codec: &dyn Codec) -> Option<Timed> {
    let Ok(records) = records_of(batch, codec) else {
        return Some((batch.base_offset().max(start), timestamp_ms.max(batch.base_timestamp())));
    };
    let mut records = batch.records_in(&records).map_while(Result::ok);
    let found = records.find(|record| record.offset >= start && record.timestamp_ms >= timestamp_ms)?;
    Some((found.offset, found.timestamp_ms))
}
