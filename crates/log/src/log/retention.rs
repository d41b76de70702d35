//! Forgetting the old: whole segments are removed, the oldest first.

use std::io;

use super::Log;
use super::view::Placed;

impl Log {
    /// Removes the segments whose records are all below `offset` and returns how many bytes that freed. When the
    /// active one is among them, a new empty one keeps the end of the log.
    pub fn trim_before(&mut self, offset: i64) -> io::Result<u64> {
        if offset >= self.end_offset() {
            self.start_empty_segment()?;
        }
        self.remove_segments_while(|placed| Ok(placed.offset_limit <= offset))
    }

    /// Removes the segments that are older than `retention_ms`, and as many more as leave at least
    /// `retention_bytes`. Returns how many bytes that freed.
    pub fn retain(
        &mut self,
        now_ms: i64,
        retention_ms: Option<i64>,
        retention_bytes: Option<u64>,
    ) -> io::Result<u64> {
        let oldest_ms = retention_ms.map(|retention| now_ms.saturating_sub(retention));
        let is_expired = |timestamp: Option<i64>| {
            // Without a time there is nothing in it, or its index is damaged and only size can tell.
            matches!((timestamp, oldest_ms), (Some(timestamp), Some(oldest)) if timestamp < oldest)
        };
        if is_expired(self.active.max_timestamp()?) {
            self.start_empty_segment()?;
        }
        let mut surplus = retention_bytes.map_or(0, |kept| self.size_bytes().saturating_sub(kept));
        self.remove_segments_while(|placed| {
            let bytes = placed.segment.len_bytes();
            let is_surplus = bytes <= surplus;
            let may_go = bytes == 0 || is_surplus || is_expired(placed.segment.max_timestamp()?);
            surplus = surplus.saturating_sub(bytes);
            Ok(may_go)
        })
    }

    fn start_empty_segment(&mut self) -> io::Result<()> {
        if self.active.len_bytes() == 0 && self.active.base_offset == self.end_offset() {
            // A restart after a kill may have found it with a name that was never flushed.
            return self.make_name_durable();
        }
        self.roll(self.end_offset())
    }

    /// Readers stop seeing the segments first; those in the middle of one finish, as its file stays open for them.
    fn remove_segments_while(&mut self, may_go: impl FnMut(&Placed) -> io::Result<bool>) -> io::Result<u64> {
        let removed = self.view.remove_first(may_go)?;
        for segment in &removed {
            segment.remove(&*self.disk, &self.dir)?;
        }
        Ok(removed.iter().map(|segment| segment.len_bytes()).sum())
    }
}
