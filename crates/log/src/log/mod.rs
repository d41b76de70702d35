//! A log: batches at ascending offsets, in segments, in a directory of its own.

use std::io;
use std::mem;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use crate::batch;
use crate::dirty::Dirty;
use crate::disk::Disk;
use crate::error::{BatchError, LogError};
use crate::recovery_point;
use crate::segment::{LOG_SUFFIX, Segment, path_of};

mod checkpoint;
mod compaction;
mod reader;
mod recovery;
mod region;
mod retention;
mod snapshots;
mod times;
mod view;

pub use compaction::{
    AbortedTransaction, Codec, Compacted, Compaction, CompactionReport, CompactionRules, CompactionRun,
    LastBatch, Pace, Replaced, StreamState,
};
pub use reader::LogReader;
pub use recovery::{Damage, Recovery};
pub use region::Region;
pub use retention::Removed;
pub use times::Timed;

use checkpoint::Checkpoint;
use snapshots::Snapshots;
use view::View;

/// Positions in an index take 32 bits.
const SEGMENT_BYTES_LIMIT: u64 = 1 << 31;

/// Offsets in an index are relative to the segment's first, and Kafka reads them with a sign.
pub(crate) const RELATIVE_OFFSET_MAX: i64 = i32::MAX as i64;

/// The write buffer an idle log keeps: there may be thousands of logs.
const STAGED_BYTES_KEPT_MAX: usize = 16 << 10;

#[derive(Debug, Clone)]
pub struct LogConfig {
    /// A segment that would grow beyond this is followed by a new one.
    pub segment_bytes: u64,
    /// How far apart the entries of the indexes are.
    pub index_interval_bytes: u32,
    /// A segment one of whose indexes would grow beyond this is followed by a new one.
    pub index_bytes_max: u64,
    /// A segment whose first batch is older than this, compared with the batch that is written, is followed by a new
    /// one.
    pub segment_ms: Option<i64>,
    /// Each segment is followed earlier by a part of this, so that not all logs do it at once.
    pub segment_jitter_ms: i64,
    /// Whether opening reads all the log. Otherwise only the last segment is, and damage in others is found by
    /// reading them.
    pub verify_sealed: bool,
    /// Whether [`LogReader::locate`] reads what this process has neither written nor read before it gives it out.
    pub verify_regions: bool,
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig {
            segment_bytes: 16 << 20,
            index_interval_bytes: 4096,
            index_bytes_max: 10 << 20,
            segment_ms: None,
            segment_jitter_ms: 0,
            verify_sealed: false,
            verify_regions: true,
        }
    }
}

/// The one writer of a log.
#[derive(Debug)]
pub struct Log {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    config: LogConfig,
    view: Arc<View>,
    active: Arc<Segment>,
    /// The time of the active segment's first batch.
    first_timestamp_ms: Option<i64>,
    /// Whether the active segment was written to since the last flush.
    is_dirty: bool,
    /// Sealed segments that were not flushed since.
    unflushed: Vec<Arc<Segment>>,
    /// Whether names in the directory changed since the last flush.
    has_new_names: bool,
    /// Whether the last change of them is durable.
    names_are_durable: Arc<AtomicBool>,
    /// Whether the directory itself, and those above it, may be new since the last flush.
    has_new_dir: bool,
    /// No longer part of the log. Their files stay until what took their place is flushed.
    retired: Vec<Arc<Segment>>,
    checkpoint: Checkpoint,
    snapshots: Snapshots,
    /// Batches on their way to the file, and how many they are.
    staged: Vec<u8>,
    staged_batches: usize,
}

impl Log {
    /// Opens the log in `dir`, creating it when it is missing, and repairs what a crash left behind.
    pub fn open(disk: Arc<dyn Disk>, dir: PathBuf, config: LogConfig) -> Result<(Log, Recovery), LogError> {
        config.check();
        let recovered = recovery::recover(&*disk, &dir, &config)?;
        let active = recovered.segments.last().expect("a log has a segment").clone();
        let checkpoint = Checkpoint::open(&disk, &dir, recovered.end_offset)?;
        let snapshots = Snapshots::open(&*disk, &dir, recovered.end_offset)?;
        let view = View::new(recovered.segments, recovered.end_offset);
        view.set_log_start(checkpoint.known().log_start);
        view.set_compacted_below(checkpoint.known().compacted_below);
        view.verify_regions.store(config.verify_regions, Ordering::Relaxed);
        let log = Log {
            // What was found may never have been flushed: the process may have been killed before.
            is_dirty: active.len_bytes() > 0 || recovered.recovery.truncated_bytes > 0,
            unflushed: recovered.unflushed,
            has_new_names: true,
            names_are_durable: Arc::default(),
            has_new_dir: true,
            retired: Vec::new(),
            checkpoint,
            snapshots,
            view: Arc::new(view),
            staged: Vec::new(),
            staged_batches: 0,
            first_timestamp_ms: active.first_timestamp(),
            disk,
            dir,
            config,
            active,
        };
        Ok((log, recovered.recovery))
    }

    /// Writes one encoded batch. Its base offset must not be below the end of the log; a gap is filled with batches
    /// that have no records. The caller vouches for its CRC.
    pub fn append(&mut self, batch: &[u8]) -> Result<(), LogError> {
        self.append_each(std::iter::once(batch))
    }

    /// Writes several batches at once, all of them or, when one is refused, none.
    pub fn append_all(&mut self, batches: &[Bytes]) -> Result<(), LogError> {
        self.append_each(batches.iter().map(|batch| &batch[..]))
    }

    /// Writes a producer's batches at the end, all of them or, when one is refused, none, and returns the offsets they
    /// took. Of their bytes only base offset and leader epoch are changed, which the CRC does not cover; with an append
    /// time also the timestamp type, the latest timestamp and the CRC. The caller vouches for the CRC they come with.
    pub fn append_assigning(
        &mut self,
        batches: &[Bytes],
        append_time_ms: Option<i64>,
    ) -> Result<Range<i64>, LogError> {
        let start = self.end_offset();
        let end = check_assigned(batches, start)?;
        let mut next = start;
        for batch in batches {
            next = self.stage(batch, next, append_time_ms)?;
        }
        self.write_staged(end)?;
        Ok(start..end)
    }

    /// Changes how the log goes on. What is written stays as it is.
    pub fn set_config(&mut self, config: LogConfig) {
        config.check();
        self.view.verify_regions.store(config.verify_regions, Ordering::Relaxed);
        self.config = config;
    }

    /// Starts a new segment if the active one began more than `segment_ms` ago, as the next batch would do.
    pub fn roll_if_due(&mut self, now_ms: i64) -> io::Result<bool> {
        let is_due = self.is_older_than_allowed(now_ms);
        if is_due {
            self.roll(self.end_offset())?;
        }
        Ok(is_due)
    }

    /// The lowest offset that may be read.
    pub fn start_offset(&self) -> i64 {
        self.view.start_offset()
    }

    /// The offset after the last record.
    pub fn end_offset(&self) -> i64 {
        self.view.end_offset()
    }

    /// The size of all segments, without their indexes.
    pub fn size_bytes(&self) -> u64 {
        self.view.size_bytes()
    }

    pub fn reader(&self) -> LogReader {
        LogReader::new(self.view.clone())
    }

    /// What was changed since the last call, for the group flush.
    pub fn take_dirty(&mut self) -> io::Result<Dirty> {
        let mut dirty = Dirty::default();
        if mem::take(&mut self.is_dirty) {
            dirty.add_file(self.active.file.clone());
        }
        if !self.unflushed.is_empty() {
            self.unflushed.drain(..).flat_map(|sealed| sealed.files()).for_each(|file| dirty.add_file(file));
            let file = self.disk.open(&recovery_point::path_in(&self.dir))?;
            dirty.set_recovery_point(&self.dir, file, self.active.base_offset);
            self.has_new_names = true;
        }
        dirty.add(self.checkpoint.take_dirty());
        self.snapshots.take_dirty(&*self.disk, &self.dir, &mut dirty)?;
        if mem::take(&mut self.has_new_names) {
            dirty.add_names_in(&self.dir);
            dirty.tell(self.names_are_durable.clone());
        }
        if mem::take(&mut self.has_new_dir) {
            dirty.add_names_above(&self.dir);
        }
        for segment in mem::take(&mut self.retired) {
            segment.paths(&*self.disk, &self.dir)?.into_iter().for_each(|path| dirty.remove_after(path));
        }
        Ok(dirty)
    }

    fn append_each<'b>(&mut self, batches: impl Iterator<Item = &'b [u8]> + Clone) -> Result<(), LogError> {
        check_order(batches.clone(), self.end_offset())?;
        let mut end_offset = self.end_offset();
        for batch in batches {
            while end_offset < batch::base_offset(batch) {
                let gap_end = batch::base_offset(batch).min(end_offset.saturating_add(batch::OFFSETS_MAX));
                end_offset = self.stage(&batch::empty_batch(end_offset..gap_end), end_offset, None)?;
            }
            end_offset = self.stage(batch, end_offset, None)?;
        }
        Ok(self.write_staged(end_offset)?)
    }

    /// Adds a batch to what is to be written, and returns the offset after it.
    fn stage(&mut self, batch: &[u8], base_offset: i64, append_time_ms: Option<i64>) -> io::Result<i64> {
        let end_offset = base_offset + batch::offset_count(batch);
        let timestamp_ms = append_time_ms.unwrap_or(batch::max_timestamp(batch));
        let has_records = batch::record_count(batch) > 0;
        if self.staged_batches > 0 && !self.has_index_room() {
            self.write_staged(base_offset)?;
        }
        let is_late = has_records && self.is_older_than_allowed(timestamp_ms);
        if is_late || self.has_no_room_for(batch.len(), end_offset) {
            self.write_staged(base_offset)?;
            self.roll(base_offset)?;
        }
        if has_records && timestamp_ms >= 0 {
            self.first_timestamp_ms.get_or_insert(timestamp_ms);
        }
        let start = self.staged.len();
        self.staged.extend_from_slice(batch);
        self.staged_batches += 1;
        let staged = &mut self.staged[start..];
        batch::set_base_offset(staged, base_offset);
        batch::set_served_epoch(staged);
        if let Some(append_time_ms) = append_time_ms {
            batch::set_append_time(staged, append_time_ms);
        }
        Ok(end_offset)
    }

    fn has_no_room_for(&self, bytes: usize, end_offset: i64) -> bool {
        let filled = self.active.len_bytes() + self.staged.len() as u64;
        let is_full =
            filled > 0 && (filled + bytes as u64 > self.config.segment_bytes || !self.has_index_room());
        is_full || end_offset - 1 - self.active.base_offset > RELATIVE_OFFSET_MAX
    }

    /// Whether one batch more is sure to find room: what is staged has an entry for each batch at most.
    fn has_index_room(&self) -> bool {
        self.active.has_index_room_for(self.staged_batches + 1, self.config.index_bytes_max)
    }

    fn is_older_than_allowed(&self, now_ms: i64) -> bool {
        let age_ms = self.first_timestamp_ms.map(|first| now_ms.saturating_sub(first));
        matches!((age_ms, self.config.segment_ms), (Some(age), Some(allowed)) if age > allowed - self.jitter_ms(allowed))
    }

    /// As good as drawn: from the segment's name.
    fn jitter_ms(&self, segment_ms: i64) -> i64 {
        let jitter_ms = self.config.segment_jitter_ms.min(segment_ms);
        if jitter_ms <= 0 {
            return 0;
        }
        let name = path_of(&self.dir, self.active.base_offset, LOG_SUFFIX);
        i64::from(crc_fast::crc32_iscsi(name.as_os_str().as_encoded_bytes())) % jitter_ms
    }

    fn write_staged(&mut self, end_offset: i64) -> io::Result<()> {
        if self.staged.is_empty() {
            return Ok(());
        }
        self.active.append(&self.staged, self.config.index_interval_bytes)?;
        self.staged.clear();
        self.staged_batches = 0;
        self.staged.shrink_to(STAGED_BYTES_KEPT_MAX);
        self.is_dirty = true;
        self.view.set_end_offset(end_offset);
        Ok(())
    }

    /// Seals the active segment and starts the next. Nothing is flushed: that is up to the group flush.
    fn roll(&mut self, base_offset: i64) -> io::Result<()> {
        self.active.seal(&*self.disk, &self.dir)?;
        let next = Arc::new(Segment::create(&*self.disk, &self.dir, base_offset)?);
        self.unflushed.push(mem::replace(&mut self.active, next));
        self.first_timestamp_ms = None;
        self.is_dirty = false;
        self.has_new_names = true;
        self.names_are_durable = Arc::default();
        self.view.push_segment(self.active.clone());
        Ok(())
    }
}

impl LogConfig {
    fn check(&self) {
        assert!(
            self.segment_bytes <= SEGMENT_BYTES_LIMIT,
            "segments are limited to {SEGMENT_BYTES_LIMIT} bytes"
        );
    }
}

/// Checks batches that are given their offsets from `end_offset` on, and returns where they will end.
fn check_assigned(batches: &[Bytes], mut end_offset: i64) -> Result<i64, LogError> {
    for batch in batches {
        check_len(batch)?;
        batch::check_counts_at(batch, end_offset)?;
        end_offset += batch::offset_count(batch);
    }
    Ok(end_offset)
}

fn check_len(batch: &[u8]) -> Result<(), BatchError> {
    let len = batch::encoded_len(batch)?;
    match batch.len() {
        left if left < len => Err(BatchError::Incomplete { needed: len, left }),
        left if left > len => Err(BatchError::BadLength((len - 12) as i32)),
        _ => Ok(()),
    }
}

fn check_order<'b>(batches: impl Iterator<Item = &'b [u8]>, mut end_offset: i64) -> Result<(), LogError> {
    for batch in batches {
        check_len(batch)?;
        batch::check_counts(batch)?;
        let base_offset = batch::base_offset(batch);
        if base_offset < end_offset {
            return Err(LogError::NotAscending { base_offset, end_offset });
        }
        end_offset = batch::last_offset(batch) + 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
