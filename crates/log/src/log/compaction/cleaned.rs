//! A compacted segment while it is written.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::swap;
use crate::batch::{self, NO_PRODUCER_ID, OFFSETS_MAX, RecordBatch};
use crate::disk::{Disk, DiskFile};
use crate::index::SegmentIndex;
use crate::segment::{IndexFiles, LOG_SUFFIX, OFFSET_INDEX_SUFFIX, Segment, TIME_INDEX_SUFFIX, path_of};

const WRITE_BYTES: usize = 1 << 20;

/// Flushed as it grows: flushing much at once would make everybody else wait who flushes.
const FLUSH_BYTES: u64 = 1 << 20;

/// Takes the segments `sources`, one after the other.
#[derive(Debug)]
pub(super) struct Cleaned {
    pub(super) base_offset: i64,
    pub(super) sources: Vec<Arc<Segment>>,
    /// Whether anything differs from the source.
    is_changed: bool,
    file: Arc<dyn DiskFile>,
    written: u64,
    flushed: u64,
    buffer: Vec<u8>,
    index: SegmentIndex,
    interval_bytes: u32,
    /// Offsets that nothing is kept of, not written yet.
    gap: Option<Range<i64>>,
}

/// To come back to.
pub(super) struct Mark {
    len: u64,
    index: SegmentIndex,
    gap: Option<Range<i64>>,
    is_changed: bool,
}

impl Cleaned {
    pub(super) fn create(
        disk: &dyn Disk,
        dir: &Path,
        base_offset: i64,
        interval_bytes: u32,
    ) -> io::Result<Cleaned> {
        let file = disk.open(&swap::cleaned_path(dir, base_offset, LOG_SUFFIX))?;
        file.set_len(0)?;
        Ok(Cleaned {
            base_offset,
            sources: Vec::new(),
            is_changed: false,
            file,
            written: 0,
            flushed: 0,
            buffer: Vec::new(),
            index: SegmentIndex::default(),
            interval_bytes,
            gap: None,
        })
    }

    pub(super) fn source_bytes(&self) -> u64 {
        self.sources.iter().map(|source| source.len_bytes()).sum()
    }

    pub(super) fn keep(&mut self, batch: &[u8]) -> io::Result<()> {
        self.write_gap()?;
        self.write(batch)
    }

    pub(super) fn replace(&mut self, batch: &[u8]) -> io::Result<()> {
        self.is_changed = true;
        self.keep(batch)
    }

    /// Leaves a batch out, but for its offsets.
    pub(super) fn leave_out(&mut self, batch: &RecordBatch) -> io::Result<()> {
        let offsets = batch.base_offset()..batch.next_offset();
        let was_gap = batch.is_empty() && batch.producer_id() == NO_PRODUCER_ID;
        let joined = match self.gap.take() {
            Some(gap) if offsets.end - gap.start <= OFFSETS_MAX => {
                self.is_changed = true;
                gap.start..offsets.end
            }
            before => {
                self.gap = before;
                self.write_gap()?;
                offsets
            }
        };
        self.is_changed |= !was_gap;
        self.gap = Some(joined);
        Ok(())
    }

    pub(super) fn mark(&self) -> Mark {
        let len = self.written + self.buffer.len() as u64;
        Mark { len, index: self.index.clone(), gap: self.gap.clone(), is_changed: self.is_changed }
    }

    pub(super) fn go_back(&mut self, mark: Mark) -> io::Result<()> {
        self.write_buffer()?;
        self.file.set_len(mark.len)?;
        (self.written, self.flushed) = (mark.len, self.flushed.min(mark.len));
        (self.index, self.gap, self.is_changed) = (mark.index, mark.gap, mark.is_changed);
        Ok(())
    }

    /// The finished segment, all its files flushed; `None` if it would be what is there already.
    pub(super) fn finish(mut self, disk: &dyn Disk, dir: &Path) -> io::Result<Option<Finished>> {
        self.write_gap()?;
        self.write_buffer()?;
        if self.sources.len() < 2 && !self.is_changed {
            swap::discard(disk, dir, self.base_offset)?;
            return Ok(None);
        }
        self.index.complete();
        let open = |suffix| disk.open(&swap::cleaned_path(dir, self.base_offset, suffix));
        let index_files = IndexFiles { offsets: open(OFFSET_INDEX_SUFFIX)?, times: open(TIME_INDEX_SUFFIX)? };
        index_files.write(&self.index)?;
        for file in [&self.file, &index_files.offsets, &index_files.times] {
            file.sync_data()?;
        }
        let path = path_of(dir, self.base_offset, LOG_SUFFIX);
        let segment = Segment::sealed(self.base_offset, path, self.file, self.written, index_files);
        segment.set_verified(0..self.written);
        Ok(Some(Finished { sources: self.sources, segment: Arc::new(segment) }))
    }

    fn write_gap(&mut self) -> io::Result<()> {
        match self.gap.take() {
            Some(gap) => self.write(&batch::empty_batch(gap)),
            None => Ok(()),
        }
    }

    fn write(&mut self, batch: &[u8]) -> io::Result<()> {
        let position = self.written + self.buffer.len() as u64;
        self.index.add(self.base_offset, position, batch, self.interval_bytes);
        self.buffer.extend_from_slice(batch);
        if self.buffer.len() < WRITE_BYTES { Ok(()) } else { self.write_buffer() }
    }

    fn write_buffer(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.buffer, self.written)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        if self.written - self.flushed >= FLUSH_BYTES {
            self.file.sync_data()?;
            self.flushed = self.written;
        }
        Ok(())
    }
}

#[derive(Debug)]
pub(super) struct Finished {
    pub(super) sources: Vec<Arc<Segment>>,
    pub(super) segment: Arc<Segment>,
}
