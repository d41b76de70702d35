//! Opening a log after a crash: telling a torn tail, which is cut, from damage in the middle, which is kept and
//! reported.
//!
//! Only the last segment can end torn, because a segment is flushed before the next one is created. In it, bytes that
//! are no whole batch are
//!
//! - a *torn tail* when no whole batch follows them. A crash in the middle of a write leaves this. The tail is cut.
//! - *damage* when a whole batch follows. Cutting here would lose batches that were promised to be safe, so nothing
//!   is cut; reads go around it.
//!
//! Two cases cannot be told apart from these by looking, and both err to the safe side. A power cut can keep a later
//! unflushed write and lose an earlier one: this is reported as damage, though nobody was promised those bytes. And
//! damage to the very last flushed batch looks like a torn tail: it is cut, and the report says how much.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::LogConfig;
use super::view::Placed;
use crate::disk::Disk;
use crate::index::SegmentIndex;
use crate::scan::{Found, NO_OFFSET_LIMIT};
use crate::segment::{self, LOG_SUFFIX, Segment};

/// Bytes that are no batch although batches follow: lost to the disk, never served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    pub file: PathBuf,
    pub position: u64,
    pub bytes: u64,
    /// The offsets the lost batches can have had.
    pub offsets: Range<i64>,
}

/// What opening a log found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The torn tail that was cut; zero after an orderly stop.
    pub truncated_bytes: u64,
    pub damaged: Vec<Damage>,
}

#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) end_offset: i64,
    pub(super) recovery: Recovery,
}

pub(super) fn recover(disk: &dyn Disk, dir: &Path, config: &LogConfig) -> io::Result<Recovered> {
    disk.create_dir_all(dir)?;
    let names = disk.list(dir)?;
    let mut bases: Vec<_> =
        names.iter().filter_map(|name| segment::base_offset_of(name, LOG_SUFFIX)).collect();
    bases.sort_unstable();
    remove_orphaned_indexes(disk, dir, &names, &bases)?;

    let Some(last_base) = bases.last().copied() else {
        let segments = vec![Arc::new(Segment::create(disk, dir, 0)?)];
        return Ok(Recovered { segments, end_offset: 0, recovery: Recovery::default() });
    };
    let mut recovery = Recovery::default();
    let mut segments = Vec::with_capacity(bases.len());
    for pair in bases.windows(2) {
        segments.push(open_sealed(disk, dir, pair[0]..pair[1], config, &mut recovery)?);
    }
    let (active, end_offset) = recover_last(disk, dir, last_base, config, &mut recovery)?;
    segments.push(Arc::new(active));
    Ok(Recovered { segments, end_offset, recovery })
}

/// Removing a segment removes its log first, so a crash in between leaves indexes of nothing.
fn remove_orphaned_indexes(disk: &dyn Disk, dir: &Path, names: &[String], bases: &[i64]) -> io::Result<()> {
    let is_orphan = |name: &&String| {
        segment::indexed_offset_of(name).is_some_and(|base_offset| bases.binary_search(&base_offset).is_err())
    };
    names.iter().filter(is_orphan).try_for_each(|name| disk.remove_file(&dir.join(name)))
}

fn open_sealed(
    disk: &dyn Disk,
    dir: &Path,
    offsets: Range<i64>,
    config: &LogConfig,
    recovery: &mut Recovery,
) -> io::Result<Arc<Segment>> {
    let segment = Segment::open_sealed(disk, dir, offsets.clone(), config.index_interval_bytes)?;
    let segment = Arc::new(segment);
    if config.verify_sealed {
        let placed = Placed { segment: segment.clone(), offset_limit: offsets.end, is_last: false };
        recovery.damaged.extend(verify(&placed)?);
    }
    Ok(segment)
}

/// Reads the last segment through, cuts its torn tail and indexes it anew.
fn recover_last(
    disk: &dyn Disk,
    dir: &Path,
    base_offset: i64,
    config: &LogConfig,
    recovery: &mut Recovery,
) -> io::Result<(Segment, i64)> {
    let path = segment::path_of(dir, base_offset, LOG_SUFFIX);
    let file = disk.open(&path)?;
    let file_len = file.len()?;
    let whole = Segment::growing(base_offset, path.clone(), file.clone(), file_len, SegmentIndex::default());
    let (mut index, mut end_offset, mut len) = (SegmentIndex::default(), base_offset, file_len);
    let mut scanner = whole.scan_all(base_offset..NO_OFFSET_LIMIT);
    while let Some(found) = scanner.next()? {
        match found {
            Found::Batch { position, batch } => {
                index.add(base_offset, position, batch.bytes(), config.index_interval_bytes);
                end_offset = batch.next_offset();
            }
            Found::Damage { bytes, reaches_end: true, .. } => len = bytes.start,
            Found::Damage { bytes, offsets, .. } => recovery.damaged.push(Damage::new(&path, bytes, offsets)),
        }
    }
    if len < file_len {
        recovery.truncated_bytes = file_len - len;
        file.set_len(len)?;
    }
    Ok((Segment::growing(base_offset, path, file, len, index), end_offset))
}

/// All the damage in a segment.
pub(super) fn verify(placed: &Placed) -> io::Result<Vec<Damage>> {
    let mut damaged = Vec::new();
    let mut scanner = placed.segment.scan_all(placed.offsets());
    while let Some(found) = scanner.next()? {
        if let Found::Damage { bytes, offsets, .. } = found {
            damaged.push(Damage::new(&placed.segment.path, bytes, offsets));
        }
    }
    Ok(damaged)
}

impl Damage {
    pub(crate) fn new(file: &Path, bytes: Range<u64>, offsets: Range<i64>) -> Damage {
        Damage { file: file.to_owned(), position: bytes.start, bytes: bytes.end - bytes.start, offsets }
    }
}
