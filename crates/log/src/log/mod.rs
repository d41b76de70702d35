//! A log: batches at ascending offsets, in segments, in a directory of its own.

use std::io;
use std::mem;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;

use crate::batch;
use crate::dirty::Dirty;
use crate::disk::Disk;
use crate::error::{BatchError, LogError};
use crate::recovery_point;
use crate::segment::Segment;

mod reader;
mod recovery;
mod retention;
mod view;

pub use reader::LogReader;
pub use recovery::{Damage, Recovery};

use view::View;

/// Positions in an index take 32 bits.
const SEGMENT_BYTES_LIMIT: u64 = 1 << 31;

/// The write buffer an idle log keeps: there may be thousands of logs.
const STAGED_BYTES_KEPT_MAX: usize = 16 << 10;

#[derive(Debug, Clone)]
pub struct LogConfig {
    /// A segment that would grow beyond this is followed by a new one.
    pub segment_bytes: u64,
    /// How far apart the entries of the indexes are.
    pub index_interval_bytes: u32,
    /// Whether opening reads all the log. Otherwise only the last segment is, and damage in others is found by
    /// reading them.
    pub verify_sealed: bool,
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig { segment_bytes: 16 << 20, index_interval_bytes: 4096, verify_sealed: false }
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
    /// Batches on their way to the file.
    staged: Vec<u8>,
}

impl Log {
    /// Opens the log in `dir`, creating it when it is missing, and repairs what a crash left behind.
    pub fn open(disk: Arc<dyn Disk>, dir: PathBuf, config: LogConfig) -> Result<(Log, Recovery), LogError> {
        assert!(
            config.segment_bytes <= SEGMENT_BYTES_LIMIT,
            "segments are limited to {SEGMENT_BYTES_LIMIT} bytes"
        );
        let recovered = recovery::recover(&*disk, &dir, &config)?;
        let active = recovered.segments.last().expect("a log has a segment").clone();
        let log = Log {
            // What was found may never have been flushed: the process may have been killed before.
            is_dirty: active.len_bytes() > 0 || recovered.recovery.truncated_bytes > 0,
            unflushed: recovered.unflushed,
            has_new_names: true,
            names_are_durable: Arc::default(),
            has_new_dir: true,
            retired: Vec::new(),
            view: Arc::new(View::new(recovered.segments, recovered.end_offset)),
            staged: Vec::new(),
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
                end_offset = self.stage(&batch::empty_batch(end_offset..gap_end))?;
            }
            end_offset = self.stage(batch)?;
        }
        Ok(self.write_staged(end_offset)?)
    }

    /// Adds a batch to what is to be written, and returns the offset after it.
    fn stage(&mut self, batch: &[u8]) -> io::Result<i64> {
        if self.must_roll_before(batch) {
            self.write_staged(batch::base_offset(batch))?;
            self.roll(batch::base_offset(batch))?;
        }
        let start = self.staged.len();
        self.staged.extend_from_slice(batch);
        batch::set_served_epoch(&mut self.staged[start..]);
        Ok(batch::last_offset(batch) + 1)
    }

    fn must_roll_before(&self, batch: &[u8]) -> bool {
        let filled = self.active.len_bytes() + self.staged.len() as u64;
        let is_full = filled > 0 && filled + batch.len() as u64 > self.config.segment_bytes;
        let is_out_of_reach = batch::last_offset(batch) - self.active.base_offset > i64::from(u32::MAX);
        is_full || is_out_of_reach
    }

    fn write_staged(&mut self, end_offset: i64) -> io::Result<()> {
        if self.staged.is_empty() {
            return Ok(());
        }
        self.active.append(&self.staged, self.config.index_interval_bytes)?;
        self.staged.clear();
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
        self.is_dirty = false;
        self.has_new_names = true;
        self.names_are_durable = Arc::default();
        self.view.push_segment(self.active.clone());
        Ok(())
    }
}

fn check_order<'b>(batches: impl Iterator<Item = &'b [u8]>, mut end_offset: i64) -> Result<(), LogError> {
    for batch in batches {
        let len = batch::encoded_len(batch)?;
        if batch.len() < len {
            return Err(BatchError::Incomplete { needed: len, left: batch.len() }.into());
        }
        if batch.len() > len {
            return Err(BatchError::BadLength((len - 12) as i32).into());
        }
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
