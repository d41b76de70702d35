//! Forgetting the old: whole segments are removed, the oldest first.

use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Log;
use super::checkpoint::Known;
use super::view::Placed;
use crate::error::LogError;
use crate::segment::Segment;

/// What is no longer part of the log. The files that are gone take their space until this is dropped, which may take a
/// while.
#[derive(Debug)]
pub struct Removed {
    pub bytes: u64,
    _segments: Vec<Arc<Segment>>,
}

impl Log {
    /// Removes the segments whose records are all below `offset` and returns how many bytes that freed. When the
    /// active one is among them, a new empty one keeps the end of the log.
    pub fn trim_before(&mut self, offset: i64) -> io::Result<u64> {
        if offset >= self.end_offset() {
            self.start_empty_segment()?;
        }
        self.remove_segments_while(|placed| Ok(placed.offset_limit <= offset))
    }

    /// Deletes the records below `offset`, which must not be beyond the end of the log, and returns how many bytes that
    /// freed. What the first segment still holds of them is read no more. Kept from the next flush on.
    pub fn delete_records(&mut self, offset: i64) -> Result<u64, LogError> {
        let (start, end) = (self.start_offset(), self.end_offset());
        if offset > end {
            return Err(LogError::OutOfRange { wanted: offset, start, end });
        }
        let known = self.checkpoint.known();
        if offset > start {
            self.checkpoint.set(&self.disk, &self.dir, Known { log_start: offset, ..known })?;
            self.view.set_log_start(offset);
        }
        Ok(self.remove_segments_while(|placed| Ok(placed.offset_limit <= offset))?)
    }

    /// Removes the segments that are older than `retention_ms`, and as many more as leave at least
    /// `retention_bytes`. What has no time is as old as its file.
    pub fn retain(
        &mut self,
        now_ms: i64,
        retention_ms: Option<i64>,
        retention_bytes: Option<u64>,
    ) -> io::Result<Removed> {
        let oldest_ms = retention_ms.map(|retention| now_ms.saturating_sub(retention));
        let is_expired = |segment: &Segment| match (oldest_ms, segment.max_timestamp()?) {
            (None, _) => Ok(false),
            (Some(oldest_ms), Some(latest_ms)) => Ok(latest_ms < oldest_ms),
            (Some(oldest_ms), None) => Ok::<_, io::Error>(segment.modified_ms()? < oldest_ms),
        };
        if self.active.len_bytes() > 0 && is_expired(&self.active)? {
            self.start_empty_segment()?;
        }
        let mut surplus = retention_bytes.map_or(0, |kept| self.size_bytes().saturating_sub(kept));
        self.take_segments_while(|placed| {
            let bytes = placed.segment.len_bytes();
            let is_surplus = bytes <= surplus;
            let may_go = bytes == 0 || is_surplus || is_expired(&placed.segment)?;
            surplus = surplus.saturating_sub(bytes);
            Ok(may_go)
        })
    }

    fn start_empty_segment(&mut self) -> io::Result<()> {
        if self.active.len_bytes() == 0 && self.active.base_offset == self.end_offset() {
            return Ok(());
        }
        self.roll(self.end_offset())
    }

    /// Removes the files of what was trimmed, and old snapshots, without waiting for a flush. After a power cut the log
    /// may then end earlier than before.
    pub fn remove_retired(&mut self) -> io::Result<()> {
        self.snapshots.remove_old(&*self.disk, &self.dir)?;
        self.remove_retired_segments()
    }

    fn remove_retired_segments(&mut self) -> io::Result<()> {
        let retired = mem::take(&mut self.retired);
        self.unflushed.retain(|segment| !retired.iter().any(|gone| Arc::ptr_eq(gone, segment)));
        retired.iter().try_for_each(|segment| segment.remove(&*self.disk, &self.dir))
    }

    /// Readers stop seeing the segments first; those in the middle of one finish, as its file stays open for them.
    /// The files go at once, unless the name of the segment that keeps the end of the log is not yet durable.
    fn remove_segments_while(&mut self, may_go: impl FnMut(&Placed) -> io::Result<bool>) -> io::Result<u64> {
        Ok(self.take_segments_while(may_go)?.bytes)
    }

    fn take_segments_while(
        &mut self,
        may_go: impl FnMut(&Placed) -> io::Result<bool>,
    ) -> io::Result<Removed> {
        let segments = self.view.remove_first(may_go)?;
        self.retired.extend(segments.iter().cloned());
        if self.names_are_durable.load(Ordering::Acquire) {
            self.remove_retired_segments()?;
        }
        Ok(Removed { bytes: segments.iter().map(|segment| segment.len_bytes()).sum(), _segments: segments })
    }
}
