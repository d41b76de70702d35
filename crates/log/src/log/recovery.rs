//! Opening a log after a crash: telling a torn tail, which is cut, from damage in the middle, which is kept and
//! reported.
//!
//! Segments below the recovery point were flushed whole: all that is wrong there is damage. In one that was not, bytes
//! that are no whole batch are
//!
//! - a *torn tail* when no whole batch follows them in this segment. A crash in the middle of a write leaves this. The
//!   tail is cut, and so are the segments behind: nothing in them was promised, for that would have moved the recovery
//!   point beyond this one first.
//! - *damage* when a whole batch follows. Cutting here could lose batches that were promised to be safe, so nothing
//!   is cut; reads go around it.
//!
//! See docs/formats/log.md for what cannot be told apart by looking.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::LogConfig;
use super::compaction;
use super::view::Placed;
use crate::disk::Disk;
use crate::index::SegmentIndex;
use crate::recovery_point;
use crate::scan::{Found, NO_OFFSET_LIMIT};
use crate::segment::{self, LOG_SUFFIX, Segment};
use crate::verified::Verified;

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
    /// What was cut: a torn tail and what lay behind it. Zero after an orderly stop.
    pub truncated_bytes: u64,
    pub damaged: Vec<Damage>,
}

#[derive(Debug, Default)]
pub(super) struct Recovered {
    pub(super) segments: Vec<Arc<Segment>>,
    /// Those of them that are sealed and may be in the kernel's memory only.
    pub(super) unflushed: Vec<Arc<Segment>>,
    pub(super) end_offset: i64,
    pub(super) recovery: Recovery,
}

pub(super) fn recover(disk: &dyn Disk, dir: &Path, config: &LogConfig) -> io::Result<Recovered> {
    disk.create_dir_all(dir)?;
    compaction::swap::recover(disk, dir)?;
    let names = disk.list(dir)?;
    let mut bases: Vec<_> =
        names.iter().filter_map(|name| segment::base_offset_of(name, LOG_SUFFIX)).collect();
    bases.sort_unstable();
    remove_orphaned_indexes(disk, dir, &names, &bases)?;

    if bases.is_empty() {
        bases.push(0);
    }
    let recovery_point = match recovery_point::read(disk, dir, &names)? {
        Some(offset) => offset,
        None => take_all_as_flushed(disk, dir, &bases)?,
    };
    let flushed = bases.partition_point(|base| *base < recovery_point).min(bases.len() - 1);
    let mut recovered = Recovered::default();
    for pair in bases[..=flushed].windows(2) {
        open_sealed(disk, dir, pair[0]..pair[1], config, &mut recovered)?;
    }
    recover_unflushed(disk, dir, &bases[flushed..], config, &mut recovered)?;
    Ok(recovered)
}

/// Where the recovery point cannot be read nothing is cut, as it may have been promised. What is written from now on
/// may be: so there must be one that can be read before that.
fn take_all_as_flushed(disk: &dyn Disk, dir: &Path, bases: &[i64]) -> io::Result<i64> {
    let (last, sealed) = bases.split_last().expect("a log has a segment");
    let open = |base: &i64| disk.open(&segment::path_of(dir, *base, LOG_SUFFIX));
    let files = sealed.iter().map(open).collect::<io::Result<Vec<_>>>()?;
    disk.sync(&files, &[dir.to_owned()])?;
    recovery_point::repair(disk, dir, *last)?;
    Ok(*last)
}

/// Reads the segments that a crash may have torn, up to the first that does not lead to the next.
fn recover_unflushed(
    disk: &dyn Disk,
    dir: &Path,
    bases: &[i64],
    config: &LogConfig,
    recovered: &mut Recovered,
) -> io::Result<()> {
    for (index, base_offset) in bases.iter().enumerate() {
        let next_base = bases.get(index + 1).copied();
        let offsets = *base_offset..next_base.unwrap_or(NO_OFFSET_LIMIT);
        let (segment, end_offset) = recover_segment(disk, dir, offsets, config, &mut recovered.recovery)?;
        let segment = Arc::new(segment);
        recovered.segments.push(segment.clone());
        recovered.end_offset = end_offset;
        match next_base {
            Some(next_base) if next_base == end_offset => {
                segment.seal(disk, dir)?;
                recovered.unflushed.push(segment);
            }
            Some(_) => return remove_segments(disk, dir, &bases[index + 1..], &mut recovered.recovery),
            None => {}
        }
    }
    Ok(())
}

/// Removes what lies behind a hole, the last first.
fn remove_segments(disk: &dyn Disk, dir: &Path, bases: &[i64], recovery: &mut Recovery) -> io::Result<()> {
    for base_offset in bases.iter().rev() {
        let path = segment::path_of(dir, *base_offset, LOG_SUFFIX);
        recovery.truncated_bytes += disk.open(&path)?.len()?;
        disk.remove_file(&path)?;
    }
    // Now, not with the next flush: the log may grow up to where one of them begins, and a power cut bring it back.
    disk.sync_dir(dir)
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
    recovered: &mut Recovered,
) -> io::Result<()> {
    let (segment, has_new_index) =
        Segment::open_sealed(disk, dir, offsets.clone(), config.index_interval_bytes)?;
    let segment = Arc::new(segment);
    if config.verify_sealed {
        let placed = Placed { segment: segment.clone(), offset_limit: offsets.end, is_last: false };
        recovered.recovery.damaged.extend(verify(&placed)?);
    }
    if has_new_index {
        recovered.unflushed.push(segment.clone());
    }
    recovered.segments.push(segment);
    Ok(())
}

/// Reads a segment through, cuts its torn tail and indexes it anew.
fn recover_segment(
    disk: &dyn Disk,
    dir: &Path,
    offsets: Range<i64>,
    config: &LogConfig,
    recovery: &mut Recovery,
) -> io::Result<(Segment, i64)> {
    let base_offset = offsets.start;
    let path = segment::path_of(dir, base_offset, LOG_SUFFIX);
    let file = disk.open(&path)?;
    let file_len = file.len()?;
    let whole = Segment::growing(base_offset, path.clone(), file.clone(), file_len, SegmentIndex::default());
    let (mut index, mut end_offset, mut len) = (SegmentIndex::default(), base_offset, file_len);
    let (mut scanner, mut verified) = (whole.scan_all(offsets), Verified::default());
    while let Some(found) = scanner.next()? {
        match found {
            Found::Batch { position, batch } => {
                index.add(base_offset, position, batch.bytes(), config.index_interval_bytes);
                verified.add(position..position + batch.len_bytes() as u64);
                end_offset = batch.next_offset();
            }
            Found::Damage { bytes, reaches_end: true, .. } => len = bytes.start,
            Found::Damage { bytes, offsets, .. } => recovery.damaged.push(Damage::new(&path, bytes, offsets)),
        }
    }
    if len < file_len {
        recovery.truncated_bytes += file_len - len;
        file.set_len(len)?;
    }
    let segment = Segment::growing(base_offset, path, file, len, index);
    verified.stretches().for_each(|bytes| segment.set_verified(bytes));
    Ok((segment, end_offset))
}

/// All the damage in a segment. What is not damaged counts as verified from then on.
pub(super) fn verify(placed: &Placed) -> io::Result<Vec<Damage>> {
    let mut damaged = Vec::new();
    let mut scanner = placed.segment.scan_all(placed.offsets());
    while let Some(found) = scanner.next()? {
        match found {
            Found::Batch { position, batch } => {
                placed.segment.set_verified(position..position + batch.len_bytes() as u64);
            }
            Found::Damage { bytes, offsets, .. } => {
                damaged.push(Damage::new(&placed.segment.path, bytes, offsets));
            }
        }
    }
    Ok(damaged)
}

impl Damage {
    pub(crate) fn new(file: &Path, bytes: Range<u64>, offsets: Range<i64>) -> Damage {
        Damage { file: file.to_owned(), position: bytes.start, bytes: bytes.end - bytes.start, offsets }
    }
}
