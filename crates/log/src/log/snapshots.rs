//! Files that the owner of a log keeps beside it: what it knows as of an offset, so as not to read the log from its start.
//!
//! The last two are kept, and older ones go once the last is flushed. One beyond the end of the log is removed when the
//! log is opened: the offsets below it may be given again. What is in them is for their owner to check.

use std::io;
use std::mem;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::Log;
use crate::dirty::Dirty;
use crate::disk::{self, Disk};
use crate::segment::{base_offset_of, path_of};

const SUFFIX: &str = "snapshot";
const KEPT: usize = 2;

#[derive(Debug, Default)]
pub(super) struct Snapshots {
    /// Rising.
    offsets: Vec<i64>,
    /// Those that were not flushed.
    dirty: Vec<i64>,
}

impl Log {
    /// Keeps `content`, what the owner knows of all below `offset`, from the next flush on.
    pub fn write_snapshot(&mut self, offset: i64, content: &[u8]) -> io::Result<()> {
        assert!(offset <= self.end_offset(), "a snapshot knows only what was appended");
        let file = self.disk.open(&path_of(&self.dir, offset, SUFFIX))?;
        file.set_len(0)?;
        file.write_all_at(content, 0)?;
        self.has_new_names = true;
        self.snapshots.add(offset);
        Ok(())
    }

    /// The offsets of the snapshots there are, rising.
    pub fn snapshots(&self) -> &[i64] {
        &self.snapshots.offsets
    }

    pub fn read_snapshot(&self, offset: i64) -> io::Result<Bytes> {
        let file = self.disk.open(&path_of(&self.dir, offset, SUFFIX))?;
        Ok(disk::read_all(&*file)?.into())
    }
}

impl Snapshots {
    /// Finds those of a log that ends at `end_offset`.
    pub(super) fn open(disk: &dyn Disk, dir: &Path, end_offset: i64) -> io::Result<Snapshots> {
        let names = disk.list(dir)?;
        let mut offsets: Vec<_> = names.iter().filter_map(|name| base_offset_of(name, SUFFIX)).collect();
        offsets.sort_unstable();
        let beyond = offsets.split_off(offsets.partition_point(|offset| *offset <= end_offset));
        if !beyond.is_empty() {
            beyond.iter().try_for_each(|offset| disk.remove_file(&path_of(dir, *offset, SUFFIX)))?;
            // Now, not with the next flush: the log may grow beyond it, and a power cut bring it back.
            disk.sync_dir(dir)?;
        }
        Ok(Snapshots { dirty: offsets.clone(), offsets })
    }

    fn add(&mut self, offset: i64) {
        if let Err(place) = self.offsets.binary_search(&offset) {
            self.offsets.insert(place, offset);
        }
        self.dirty.push(offset);
    }

    /// Those to be flushed, and to be removed then.
    pub(super) fn take_dirty(&mut self, disk: &dyn Disk, dir: &Path, dirty: &mut Dirty) -> io::Result<()> {
        if self.dirty.is_empty() {
            return Ok(());
        }
        for offset in mem::take(&mut self.dirty) {
            dirty.add_file(disk.open(&path_of(dir, offset, SUFFIX))?);
        }
        self.take_old(dir).for_each(|path| dirty.remove_after(path));
        Ok(())
    }

    /// Removes the old ones without waiting for a flush.
    pub(super) fn remove_old(&mut self, disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        self.take_old(dir).try_for_each(|path| disk.remove_file(&path))?;
        self.dirty.retain(|offset| self.offsets.contains(offset));
        Ok(())
    }

    /// Removes those of lower offsets without waiting for a flush.
    pub(super) fn remove_below(&mut self, disk: &dyn Disk, dir: &Path, offset: i64) -> io::Result<()> {
        let kept = self.offsets.split_off(self.offsets.partition_point(|other| *other < offset));
        let old = mem::replace(&mut self.offsets, kept);
        self.dirty.retain(|dirty| *dirty >= offset);
        old.iter().try_for_each(|old| disk.remove_file(&path_of(dir, *old, SUFFIX)))
    }

    fn take_old(&mut self, dir: &Path) -> impl Iterator<Item = PathBuf> {
        let old = self.offsets.len().saturating_sub(KEPT);
        self.offsets.drain(..old).map(|offset| path_of(dir, offset, SUFFIX))
    }
}
