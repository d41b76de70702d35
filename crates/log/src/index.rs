//! Where in a segment an offset or a time is, roughly: one entry every few kilobytes. Kafka's formats, big endian.
//!
//! ```text
//! .index      relative offset u32 | position u32
//! .timeindex  timestamp i64 | relative offset u32
//! ```
//!
//! The indexes are hints. What they point to is checked, and they are rebuilt from the segment when they are missing.

use std::io;

use crate::batch;
use crate::disk::DiskFile;

const OFFSET_ENTRY_BYTES: usize = 8;
const TIME_ENTRY_BYTES: usize = 12;

/// The batch at `position` ends with `relative_offset` from the segment's base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OffsetEntry {
    pub(crate) relative_offset: u32,
    pub(crate) position: u32,
}

/// Nothing up to `relative_offset` is later than `timestamp_ms`, which is the latest time in the batch that ends there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeEntry {
    pub(crate) timestamp_ms: i64,
    pub(crate) relative_offset: u32,
}

/// Both indexes of one segment, in memory while it grows.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct SegmentIndex {
    offsets: Vec<OffsetEntry>,
    times: Vec<TimeEntry>,
    /// The latest time so far and the offset up to which it was the latest.
    latest: Option<TimeEntry>,
    first_timestamp_ms: Option<i64>,
    bytes_since_entry: u64,
}

impl SegmentIndex {
    /// Takes note of a batch written at `position` of the segment.
    pub(crate) fn add(&mut self, segment_base: i64, position: u64, batch: &[u8], interval_bytes: u32) {
        let relative_offset = (batch::last_offset(batch) - segment_base) as u32;
        let timestamp_ms = batch::max_timestamp(batch);
        // Records may come without a time, which is -1.
        if batch::record_count(batch) > 0 && timestamp_ms >= 0 {
            self.first_timestamp_ms.get_or_insert(timestamp_ms);
            if self.latest.is_none_or(|latest| timestamp_ms > latest.timestamp_ms) {
                self.latest = Some(TimeEntry { timestamp_ms, relative_offset });
            }
        }
        if self.bytes_since_entry > u64::from(interval_bytes) {
            self.offsets.push(OffsetEntry { relative_offset, position: position as u32 });
            self.push_latest_time();
            self.bytes_since_entry = 0;
        }
        self.bytes_since_entry += batch.len() as u64;
    }

    /// Adds what a segment that takes no more batches should know: its latest time.
    pub(crate) fn complete(&mut self) {
        self.push_latest_time();
    }

    /// The last entry at or below an offset.
    pub(crate) fn entry_for_offset(&self, relative_offset: i64) -> Option<OffsetEntry> {
        let after = self.offsets.partition_point(|entry| entry.is_at_or_below(relative_offset));
        Some(self.offsets[after.checked_sub(1)?])
    }

    /// The last entry before a time.
    pub(crate) fn entry_before_time(&self, timestamp_ms: i64) -> Option<TimeEntry> {
        let after = self.times.partition_point(|entry| entry.timestamp_ms < timestamp_ms);
        Some(self.times[after.checked_sub(1)?])
    }

    pub(crate) fn latest(&self) -> Option<TimeEntry> {
        self.latest
    }

    /// How much the larger of the two files may take for so many entries more, as Kafka counts it.
    pub(crate) fn has_room_for(&self, entries: usize, bytes_max: u64) -> bool {
        // The time index keeps room for its last entry.
        let entries_max = (bytes_max as usize / TIME_ENTRY_BYTES).saturating_sub(1).max(1);
        self.offsets.len() + entries <= entries_max
    }

    pub(crate) fn first_timestamp(&self) -> Option<i64> {
        self.first_timestamp_ms
    }

    pub(crate) fn encode_offsets(&self) -> Vec<u8> {
        let encode =
            |entry: &OffsetEntry| [entry.relative_offset.to_be_bytes(), entry.position.to_be_bytes()];
        self.offsets.iter().flat_map(encode).flatten().collect()
    }

    pub(crate) fn encode_times(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.times.len() * TIME_ENTRY_BYTES);
        for entry in &self.times {
            bytes.extend(entry.timestamp_ms.to_be_bytes());
            bytes.extend(entry.relative_offset.to_be_bytes());
        }
        bytes
    }

    fn push_latest_time(&mut self) {
        let Some(latest) = self.latest else { return };
        if self.times.last().is_none_or(|last| latest.timestamp_ms > last.timestamp_ms) {
            self.times.push(latest);
        }
    }
}

impl OffsetEntry {
    fn is_at_or_below(&self, relative_offset: i64) -> bool {
        i64::from(self.relative_offset) <= relative_offset
    }
}

/// [`SegmentIndex::entry_for_offset`] in a file.
pub(crate) fn find_offset(file: &dyn DiskFile, relative_offset: i64) -> io::Result<Option<OffsetEntry>> {
    last_entry(file, decode_offset, |entry| entry.is_at_or_below(relative_offset))
}

/// [`SegmentIndex::entry_before_time`] in a file.
pub(crate) fn find_time(file: &dyn DiskFile, timestamp_ms: i64) -> io::Result<Option<TimeEntry>> {
    last_entry(file, decode_time, |entry| entry.timestamp_ms < timestamp_ms)
}

/// The entry of a segment's latest time.
pub(crate) fn latest_time(file: &dyn DiskFile) -> io::Result<Option<TimeEntry>> {
    last_entry(file, decode_time, |_| true)
}

/// The last entry for which `is_before` holds, by halving. Where entries are damaged another may be found, but always
/// one for which it holds.
fn last_entry<const BYTES: usize, Entry>(
    file: &dyn DiskFile,
    decode: impl Fn(&[u8; BYTES]) -> Entry,
    is_before: impl Fn(&Entry) -> bool,
) -> io::Result<Option<Entry>> {
    let (mut low, mut high, mut found) = (0, file.len()? / BYTES as u64, None);
    while low < high {
        let middle = low + (high - low) / 2;
        let mut bytes = [0; BYTES];
        let is_whole = file.read_at(&mut bytes, middle * BYTES as u64)? == BYTES;
        let entry = decode(&bytes);
        if is_whole && is_before(&entry) {
            (low, found) = (middle + 1, Some(entry));
        } else {
            high = middle;
        }
    }
    Ok(found)
}

fn decode_offset(bytes: &[u8; OFFSET_ENTRY_BYTES]) -> OffsetEntry {
    let [a, b, c, d, e, f, g, h] = *bytes;
    OffsetEntry {
        relative_offset: u32::from_be_bytes([a, b, c, d]),
        position: u32::from_be_bytes([e, f, g, h]),
    }
}

fn decode_time(bytes: &[u8; TIME_ENTRY_BYTES]) -> TimeEntry {
    let [t0, t1, t2, t3, t4, t5, t6, t7, a, b, c, d] = *bytes;
    TimeEntry {
        timestamp_ms: i64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7]),
        relative_offset: u32::from_be_bytes([a, b, c, d]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::BatchBuilder;

    #[test]
    fn an_entry_is_made_each_time_the_interval_is_passed() {
        let index = index_of(&[(100, 10), (101, 30), (102, 20), (103, 40)]);
        let offsets: Vec<_> =
            index.offsets.iter().map(|entry| (entry.relative_offset, entry.position)).collect();
        assert_eq!(offsets, [(1, 70), (2, 140), (3, 210)]);
        let times: Vec<_> =
            index.times.iter().map(|entry| (entry.timestamp_ms, entry.relative_offset)).collect();
        assert_eq!(times, [(30, 1), (40, 3)]);
    }

    #[test]
    fn entries_are_found_at_or_below_an_offset_and_before_a_time() {
        let index = index_of(&[(100, 10), (101, 30), (102, 20), (103, 40)]);
        assert_eq!(index.entry_for_offset(0), None);
        assert_eq!(index.entry_for_offset(2).unwrap().position, 140);
        assert_eq!(index.entry_for_offset(9).unwrap().position, 210);
        assert_eq!(index.entry_before_time(30), None);
        assert_eq!(index.entry_before_time(31).unwrap().relative_offset, 1);
        assert_eq!(index.latest().unwrap().timestamp_ms, 40);
    }

    #[test]
    fn the_files_hold_big_endian_entries() {
        let index = index_of(&[(100, 10), (101, 30)]);
        assert_eq!(index.encode_offsets(), [0, 0, 0, 1, 0, 0, 0, 70]);
        assert_eq!(index.encode_times(), [0, 0, 0, 0, 0, 0, 0, 30, 0, 0, 0, 1]);
    }

    #[test]
    fn what_is_found_in_the_files_is_what_is_found_in_memory() {
        let index = index_of(&[(100, 10), (101, 30), (102, 20), (103, 40), (104, 5), (105, 41)]);
        let (offsets, times) = (file_of(&index.encode_offsets()), file_of(&index.encode_times()));
        for offset in -1..8 {
            assert_eq!(find_offset(&*offsets, offset).unwrap(), index.entry_for_offset(offset));
        }
        for time in 0..45 {
            assert_eq!(find_time(&*times, time).unwrap(), index.entry_before_time(time));
        }
        assert_eq!(latest_time(&*times).unwrap(), index.latest);
        assert_eq!(latest_time(&*file_of(&[])).unwrap(), None);
        assert_eq!(find_offset(&*file_of(&[1; 7]), 9).unwrap(), None);
    }

    fn file_of(content: &[u8]) -> std::sync::Arc<dyn DiskFile> {
        let file = crate::disk::Disk::open(&crate::MemoryDisk::new(), "f".as_ref()).unwrap();
        file.write_all_at(content, 0).unwrap();
        file
    }

    /// Batches of 70 bytes each at these offsets and times, one entry per batch but the first.
    fn index_of(batches: &[(i64, i64)]) -> SegmentIndex {
        let (mut index, mut builder, mut position) = (SegmentIndex::default(), BatchBuilder::new(), 0);
        for (offset, timestamp_ms) in batches {
            builder.start(*offset, *timestamp_ms);
            builder.push(*offset, *timestamp_ms, None, Some(&[b"vv"]), &[]);
            let batch = builder.finish();
            index.add(100, position, &batch, 50);
            position += batch.len() as u64;
        }
        index.complete();
        index
    }
}
