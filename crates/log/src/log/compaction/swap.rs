//! Putting a compacted segment in the place of those it was made from, so that a crash leaves either it or them.
//!
//! ```text
//! 1  00000000000000000000.log.cleaned                       written, with its indexes, and flushed; removed at start
//! 2  00000000000000000000-00000000000000004711.log.swap     renamed: once this is durable it counts instead of
//!                                                           all segments from the first offset to below the second
//! 3                                                         these and their indexes are removed, which is flushed
//! 4  00000000000000000000.log                               renamed, its indexes too, and flushed
//! ```
//!
//! A start that finds a name of step 2 goes on with step 3.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::disk::Disk;
use crate::segment::{self, LOG_SUFFIX, OFFSET_INDEX_SUFFIX, TIME_INDEX_SUFFIX, base_offset_of, path_of};

const CLEANED: &str = ".cleaned";
const SWAP: &str = ".swap";
const INDEX_SUFFIXES: [&str; 2] = [OFFSET_INDEX_SUFFIX, TIME_INDEX_SUFFIX];

pub(super) fn cleaned_path(dir: &Path, base_offset: i64, suffix: &str) -> PathBuf {
    path_of(dir, base_offset, &format!("{suffix}{CLEANED}"))
}

/// Makes a compacted segment, whose files are flushed, count instead of those of these offsets.
pub(super) fn swap(disk: &dyn Disk, dir: &Path, offsets: &Range<i64>) -> io::Result<()> {
    disk.rename(&cleaned_path(dir, offsets.start, LOG_SUFFIX), &swap_path(dir, offsets))?;
    disk.sync_dir(dir)?;
    complete(disk, dir, std::slice::from_ref(offsets))
}

/// Forgets a compacted segment that did not come to count.
pub(super) fn discard(disk: &dyn Disk, dir: &Path, base_offset: i64) -> io::Result<()> {
    let names = disk.list(dir)?;
    let paths = [LOG_SUFFIX, OFFSET_INDEX_SUFFIX, TIME_INDEX_SUFFIX]
        .map(|suffix| cleaned_path(dir, base_offset, suffix));
    paths.iter().filter(|path| is_among(&names, path)).try_for_each(|path| disk.remove_file(path))
}

/// Completes or discards what a crash left.
pub(in crate::log) fn recover(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let names = disk.list(dir)?;
    let swapped: Vec<_> = names.iter().filter_map(|name| swapped_offsets(name)).collect();
    if !swapped.is_empty() {
        complete(disk, dir, &swapped)?;
    }
    let cleaned = names.iter().filter(|name| name.ends_with(CLEANED)).map(|name| dir.join(name));
    let names = disk.list(dir)?;
    cleaned.filter(|path| is_among(&names, path)).try_for_each(|path| disk.remove_file(&path))
}

fn complete(disk: &dyn Disk, dir: &Path, swapped: &[Range<i64>]) -> io::Result<()> {
    let names = disk.list(dir)?;
    // The name of the log itself is taken over by renaming, so that there is always one of that name.
    let is_replaced = |name: &&String| {
        let log = base_offset_of(name, LOG_SUFFIX);
        let is_log = log.is_some_and(|base| swapped.iter().any(|of| of.contains(&base) && base != of.start));
        let index = segment::indexed_offset_of(name);
        is_log || index.is_some_and(|base| swapped.iter().any(|of| of.contains(&base)))
    };
    names.iter().filter(is_replaced).try_for_each(|name| disk.remove_file(&dir.join(name)))?;
    disk.sync_dir(dir)?;
    for offsets in swapped {
        for suffix in INDEX_SUFFIXES {
            let cleaned = cleaned_path(dir, offsets.start, suffix);
            if is_among(&names, &cleaned) {
                disk.rename(&cleaned, &path_of(dir, offsets.start, suffix))?;
            }
        }
        disk.rename(&swap_path(dir, offsets), &path_of(dir, offsets.start, LOG_SUFFIX))?;
    }
    disk.sync_dir(dir)
}

fn swap_path(dir: &Path, offsets: &Range<i64>) -> PathBuf {
    let suffix = format!("{LOG_SUFFIX}{SWAP}");
    dir.join(format!("{:020}-{}", offsets.start, segment::file_name(offsets.end, &suffix)))
}

fn swapped_offsets(name: &str) -> Option<Range<i64>> {
    let (start, rest) = name.split_once('-')?;
    let is_number = start.len() == 20 && start.bytes().all(|byte| byte.is_ascii_digit());
    let end = base_offset_of(rest.strip_suffix(SWAP)?, LOG_SUFFIX)?;
    is_number.then(|| start.parse().ok()).flatten().map(|start| start..end)
}

fn is_among(names: &[String], path: &Path) -> bool {
    names.iter().any(|name| path.ends_with(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_swap_says_which_segments_it_replaces() {
        let path = swap_path(Path::new("d"), &(42..4711));
        let name = "00000000000000000042-00000000000000004711.log.swap";
        assert_eq!(path, Path::new("d").join(name));
        assert_eq!(swapped_offsets(name), Some(42..4711));
        for name in
            ["42-00000000000000004711.log.swap", "00000000000000000042.log.swap", "00000000000000000042.log"]
        {
            assert_eq!(swapped_offsets(name), None);
        }
    }
}
