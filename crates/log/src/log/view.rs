//! What the writer of a log and its readers share.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use parking_lot::{Mutex, RwLock};

use super::recovery::Damage;
use crate::error::LogError;
use crate::scan::NO_OFFSET_LIMIT;
use crate::segment::Segment;

/// Damage kept until somebody asks. Beyond it more would not tell an operator more.
const DAMAGE_KEPT_MAX: usize = 1024;

#[derive(Debug)]
pub(super) struct View {
    /// In order of their offsets, never none. The last one grows.
    segments: RwLock<Vec<Arc<Segment>>>,
    /// Records below are deleted, though the first segment may hold them.
    log_start: AtomicI64,
    end_offset: AtomicI64,
    compacted_below: AtomicI64,
    pub(super) verify_regions: AtomicBool,
    damage: Mutex<Noticed>,
}

#[derive(Debug, Default)]
struct Noticed {
    /// Told once, however often it is read.
    known: Vec<Damage>,
    untold: Vec<Damage>,
}

/// A segment and the offset at which what follows it begins; of the last one no limit is known, as it grows.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    pub(super) segment: Arc<Segment>,
    pub(super) offset_limit: i64,
    pub(super) is_last: bool,
}

impl View {
    pub(super) fn new(segments: Vec<Arc<Segment>>, end_offset: i64) -> View {
        View {
            segments: RwLock::new(segments),
            log_start: AtomicI64::new(0),
            end_offset: AtomicI64::new(end_offset),
            compacted_below: AtomicI64::new(0),
            verify_regions: AtomicBool::new(true),
            damage: Mutex::default(),
        }
    }

    pub(super) fn start_offset(&self) -> i64 {
        self.log_start.load(Ordering::Acquire).max(self.segments.read()[0].base_offset)
    }

    pub(super) fn set_log_start(&self, offset: i64) {
        self.log_start.store(offset, Ordering::Release);
    }

    pub(super) fn end_offset(&self) -> i64 {
        self.end_offset.load(Ordering::Acquire)
    }

    pub(super) fn set_end_offset(&self, end_offset: i64) {
        self.end_offset.store(end_offset, Ordering::Release);
    }

    /// All keys below were compared with each other.
    pub(super) fn compacted_below(&self) -> i64 {
        self.compacted_below.load(Ordering::Acquire)
    }

    pub(super) fn set_compacted_below(&self, offset: i64) {
        self.compacted_below.store(offset, Ordering::Release);
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.segments.read().iter().map(|segment| segment.len_bytes()).sum()
    }

    pub(super) fn push_segment(&self, segment: Arc<Segment>) {
        self.segments.write().push(segment);
    }

    /// Takes the first segments, as many as `may_go` says, but never the last one.
    pub(super) fn remove_first(
        &self,
        mut may_go: impl FnMut(&Placed) -> io::Result<bool>,
    ) -> io::Result<Vec<Arc<Segment>>> {
        let placed = self.all();
        let mut going = 0;
        while !placed[going].is_last && may_go(&placed[going])? {
            going += 1;
        }
        Ok(self.segments.write().drain(..going).collect())
    }

    /// Puts a segment in the place of neighbours that hold the same offsets.
    pub(super) fn replace(&self, sources: &[Arc<Segment>], segment: Arc<Segment>) {
        let mut segments = self.segments.write();
        let first = segments.partition_point(|other| other.base_offset < segment.base_offset);
        segments.splice(first..first + sources.len(), [segment]);
    }

    pub(super) fn all(&self) -> Vec<Placed> {
        let segments = self.segments.read();
        (0..segments.len()).map(|index| place(&segments, index)).collect()
    }

    /// The segment in which `offset` would be.
    pub(super) fn segment_at(&self, offset: i64) -> Result<Placed, LogError> {
        let segments = self.segments.read();
        let start = segments[0].base_offset.max(self.log_start.load(Ordering::Acquire));
        let end = self.end_offset();
        if offset < start || offset > end {
            return Err(LogError::OutOfRange { wanted: offset, start, end });
        }
        let after = segments.partition_point(|segment| segment.base_offset <= offset);
        Ok(place(&segments, after - 1))
    }

    pub(super) fn notice(&self, mut damage: Damage) {
        damage.offsets.end = damage.offsets.end.min(self.end_offset());
        let mut noticed = self.damage.lock();
        if noticed.known.len() < DAMAGE_KEPT_MAX && !noticed.known.contains(&damage) {
            noticed.known.push(damage.clone());
            noticed.untold.push(damage);
        }
    }

    pub(super) fn take_damage(&self) -> Vec<Damage> {
        std::mem::take(&mut self.damage.lock().untold)
    }
}

fn place(segments: &[Arc<Segment>], index: usize) -> Placed {
    let next = segments.get(index + 1);
    Placed {
        segment: segments[index].clone(),
        offset_limit: next.map_or(NO_OFFSET_LIMIT, |next| next.base_offset),
        is_last: next.is_none(),
    }
}

impl Placed {
    pub(super) fn offsets(&self) -> Range<i64> {
        self.segment.base_offset..self.offset_limit
    }
}
