//! Reading a log while it is written.

use std::io;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::recovery::{self, Damage};
use super::view::{Placed, View};
use crate::batch::{NO_PRODUCER_ID, RecordBatch};
use crate::error::LogError;
use crate::scan::Found;
use crate::segment::Segment;

/// How much is read from the disk at once, at least and at most; a larger batch is still read whole.
const READ_CHUNK_BYTES_MIN: usize = 4 << 10;
pub(super) const READ_CHUNK_BYTES_MAX: usize = 1 << 20;

/// A view of a log that many may share. Each clone remembers where it read last and goes on there without a search.
#[derive(Debug)]
pub struct LogReader {
    pub(super) view: Arc<View>,
    pub(super) resume: Mutex<Option<Resume>>,
}

/// The batch from `offset` on is at `position` of the segment, if that is still part of the log.
#[derive(Debug, Clone)]
pub(super) struct Resume {
    pub(super) offset: i64,
    pub(super) segment: Weak<Segment>,
    pub(super) position: u64,
}

impl Clone for LogReader {
    fn clone(&self) -> LogReader {
        LogReader { view: self.view.clone(), resume: Mutex::new(self.resume.lock().clone()) }
    }
}

impl LogReader {
    pub(super) fn new(view: Arc<View>) -> LogReader {
        LogReader { view, resume: Mutex::new(None) }
    }

    pub fn start_offset(&self) -> i64 {
        self.view.start_offset()
    }

    pub fn end_offset(&self) -> i64 {
        self.view.end_offset()
    }

    /// Of all segments.
    pub fn size_bytes(&self) -> u64 {
        self.view.size_bytes()
    }

    /// The batches from the one that holds `from_offset` on, or the next one when no batch does; one that lost all its
    /// records to compaction is among them if it tells what a producer did last. Batches come whole:
    /// the first whatever its size, others as long as all fit in `max_bytes`. At the end of the log there are none.
    /// Damage is noticed (see [`LogReader::take_damage`]) and gone around.
    pub fn read(&self, from_offset: i64, max_bytes: usize) -> Result<Vec<RecordBatch>, LogError> {
        let mut placed = self.view.segment_at(from_offset)?;
        loop {
            let batches = self.read_segment(&placed, from_offset, max_bytes)?;
            if !batches.is_empty() || placed.is_last {
                return Ok(batches);
            }
            placed = self.view.segment_at(placed.offset_limit)?;
        }
    }

    /// Reads the whole log and returns all the damage in it.
    pub fn verify(&self) -> io::Result<Vec<Damage>> {
        let mut damaged = Vec::new();
        for placed in self.view.all() {
            damaged.extend(recovery::verify(&placed)?);
        }
        // Nothing limits the last segment, so damage at its end is reported without an end.
        let end_offset = self.end_offset();
        damaged.iter_mut().for_each(|damage| damage.offsets.end = damage.offsets.end.min(end_offset));
        Ok(damaged)
    }

    /// The damage reads have come across, each told once.
    pub fn take_damage(&self) -> Vec<Damage> {
        self.view.take_damage()
    }

    fn read_segment(
        &self,
        placed: &Placed,
        from: i64,
        max_bytes: usize,
    ) -> Result<Vec<RecordBatch>, LogError> {
        let segment = &placed.segment;
        let (position, offset) = self.start_of_scan(placed, from)?;
        let chunk_bytes = max_bytes.clamp(READ_CHUNK_BYTES_MIN, READ_CHUNK_BYTES_MAX);
        let mut scanner = segment.scan(position, offset..placed.offset_limit, chunk_bytes);
        // The writer may be adding batches it has not announced: they are for the next read.
        let end_offset = self.end_offset();
        let (mut batches, mut bytes_read, mut next_position) = (Vec::new(), 0, position);
        let mut whole_from = position;
        loop {
            let is_enough = |len| bytes_read + len > max_bytes;
            if !batches.is_empty() && scanner.expected_len()?.is_none_or(is_enough) {
                break;
            }
            match scanner.next()? {
                None => break,
                Some(Found::Damage { bytes, offsets, .. }) => {
                    segment.set_verified(whole_from..bytes.start);
                    whole_from = bytes.end;
                    self.view.notice(Damage::new(&segment.path, bytes, offsets));
                }
                Some(Found::Batch { batch, .. }) if batch.last_offset() < from || is_gap(&batch) => {}
                Some(Found::Batch { batch, .. }) if batch.base_offset() >= end_offset => break,
                Some(Found::Batch { position, batch }) => {
                    bytes_read += batch.len_bytes();
                    next_position = position + batch.len_bytes() as u64;
                    batches.push(batch);
                }
            }
        }
        if let Some(last) = batches.last() {
            segment.set_verified(whole_from..next_position);
            let segment = Arc::downgrade(segment);
            *self.resume.lock() =
                Some(Resume { offset: last.next_offset(), segment, position: next_position });
        }
        Ok(batches)
    }

    pub(super) fn start_of_scan(&self, placed: &Placed, from: i64) -> io::Result<(u64, i64)> {
        if let Some(resume) = &*self.resume.lock()
            && resume.offset == from
            && resume.segment.as_ptr() == Arc::as_ptr(&placed.segment)
        {
            return Ok((resume.position, resume.offset));
        }
        placed.segment.position_before(from)
    }
}

/// Whether a batch is there for its offsets alone. What compaction emptied may still tell what its producer did last.
fn is_gap(batch: &RecordBatch) -> bool {
    batch.is_empty() && batch.producer_id() == NO_PRODUCER_ID
}
