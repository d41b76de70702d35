//! One file of a log and the indexes beside it.
//!
//! The last segment grows, its index is in memory. All others are sealed: their indexes are in files.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::batch::{self, HEADER_BYTES};
use crate::disk::{Disk, DiskFile};
use crate::index::{self, SegmentIndex, TimeEntry};
use crate::scan::{Found, NO_OFFSET_LIMIT, Scanner};
use crate::verified::Verified;

/// How much recovery and index rebuilding read at once.
const SCAN_CHUNK_BYTES: usize = 1 << 20;
/// How much is read at once on the way from one index to the batch the other points at.
const INDEX_CHECK_CHUNK_BYTES: usize = 8 << 10;

const OFFSET_DIGITS: usize = 20;
pub(crate) const LOG_SUFFIX: &str = "log";
pub(crate) const OFFSET_INDEX_SUFFIX: &str = "index";
pub(crate) const TIME_INDEX_SUFFIX: &str = "timeindex";

#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) base_offset: i64,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    len: AtomicU64,
    index: RwLock<Index>,
    /// What is latest in a sealed segment, once it was looked for.
    latest: Mutex<Option<Latest>>,
    verified: Mutex<Verified>,
}

/// `None` when there is nothing with a time.
type Latest = Option<TimeEntry>;

#[derive(Debug)]
enum Index {
    Growing(SegmentIndex),
    Sealed(IndexFiles),
}

#[derive(Debug, Clone)]
pub(crate) struct IndexFiles {
    pub(crate) offsets: Arc<dyn DiskFile>,
    pub(crate) times: Arc<dyn DiskFile>,
}

impl Segment {
    /// Creates or overwrites the segment that will hold what comes from `base_offset` on.
    pub(crate) fn create(disk: &dyn Disk, dir: &Path, base_offset: i64) -> io::Result<Segment> {
        let path = path_of(dir, base_offset, LOG_SUFFIX);
        let file = disk.open(&path)?;
        if file.len()? > 0 {
            file.set_len(0)?;
        }
        Ok(Segment::growing(base_offset, path, file, 0, SegmentIndex::default()))
    }

    /// A segment whose content is known, to be written on.
    pub(crate) fn growing(
        base_offset: i64,
        path: PathBuf,
        file: Arc<dyn DiskFile>,
        len: u64,
        index: SegmentIndex,
    ) -> Segment {
        Segment::new(base_offset, path, file, len, Index::Growing(index))
    }

    /// Opens a segment that others follow, and says whether its indexes had to be written anew.
    pub(crate) fn open_sealed(
        disk: &dyn Disk,
        dir: &Path,
        offsets: Range<i64>,
        interval_bytes: u32,
    ) -> io::Result<(Segment, bool)> {
        let base_offset = offsets.start;
        let path = path_of(dir, base_offset, LOG_SUFFIX);
        let file = disk.open(&path)?;
        let len = file.len()?;
        let index_files = IndexFiles::open(disk, dir, base_offset)?;
        let is_missing = len > 0 && index_files.times.len()? == 0;
        if is_missing {
            index_files.write(&rebuild_index(&*file, len, offsets, interval_bytes)?)?;
        }
        Ok((Segment::sealed(base_offset, path, file, len, index_files), is_missing))
    }

    /// A segment whose files are all written.
    pub(crate) fn sealed(
        base_offset: i64,
        path: PathBuf,
        file: Arc<dyn DiskFile>,
        len: u64,
        index_files: IndexFiles,
    ) -> Segment {
        Segment::new(base_offset, path, file, len, Index::Sealed(index_files))
    }

    fn new(base_offset: i64, path: PathBuf, file: Arc<dyn DiskFile>, len: u64, index: Index) -> Segment {
        Segment {
            base_offset,
            path,
            file,
            len: AtomicU64::new(len),
            index: RwLock::new(index),
            latest: Mutex::default(),
            verified: Mutex::default(),
        }
    }

    pub(crate) fn len_bytes(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    /// Writes batches one behind the other and lets readers see them.
    pub(crate) fn append(&self, batches: &[u8], interval_bytes: u32) -> io::Result<()> {
        let start = self.len_bytes();
        self.file.write_all_at(batches, start)?;
        let Index::Growing(index) = &mut *self.index.write() else {
            panic!("a sealed segment takes no batches");
        };
        let mut rest = batches;
        while !rest.is_empty() {
            let len = batch::encoded_len(rest).expect("the batches were checked");
            let position = start + (batches.len() - rest.len()) as u64;
            index.add(self.base_offset, position, &rest[..len], interval_bytes);
            rest = &rest[len..];
        }
        let end = start + batches.len() as u64;
        self.set_verified(start..end);
        self.len.store(end, Ordering::Release);
        Ok(())
    }

    /// Writes the indexes. The segment takes no more batches.
    pub(crate) fn seal(&self, disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        let mut index = self.index.write();
        let Index::Growing(growing) = &mut *index else {
            return Ok(());
        };
        growing.complete();
        let files = IndexFiles::open(disk, dir, self.base_offset)?;
        files.write(growing)?;
        *index = Index::Sealed(files);
        Ok(())
    }

    /// A position from which scanning finds the batch that holds `offset`, and what offset is there.
    pub(crate) fn position_before(&self, offset: i64) -> io::Result<(u64, i64)> {
        let relative_offset = offset - self.base_offset;
        let entry = match &*self.index.read() {
            Index::Growing(growing) => growing.entry_for_offset(relative_offset),
            Index::Sealed(files) => index::find_offset(&*files.offsets, relative_offset)?,
        };
        let Some(entry) = entry else { return Ok((0, self.base_offset)) };
        let position = u64::from(entry.position);
        let last_offset = self.base_offset + i64::from(entry.relative_offset);
        let start = self.start_of_batch_that_ends(position, last_offset)?;
        Ok(start.map_or((0, self.base_offset), |offset| (position, offset)))
    }

    /// An offset from which on the first record at or after a time is to be looked for.
    pub(crate) fn offset_before_time(&self, timestamp_ms: i64) -> io::Result<i64> {
        let entry = match &*self.index.read() {
            Index::Growing(growing) => growing.entry_before_time(timestamp_ms),
            Index::Sealed(files) => index::find_time(&*files.times, timestamp_ms)?,
        };
        Ok(match entry {
            Some(entry) if self.is_true(entry)? => self.base_offset + i64::from(entry.relative_offset),
            _ => self.base_offset,
        })
    }

    /// The latest time in the segment; `None` when no record has one.
    pub(crate) fn max_timestamp(&self) -> io::Result<Option<i64>> {
        Ok(self.latest()?.map(|latest| latest.timestamp_ms))
    }

    /// The latest time in the segment, and where the first batch ends that holds it.
    pub(crate) fn latest(&self) -> io::Result<Option<TimeEntry>> {
        if let Some(known) = *self.latest.lock() {
            return Ok(known);
        }
        let entry = match &*self.index.read() {
            Index::Growing(growing) => return Ok(growing.latest()),
            Index::Sealed(files) => index::latest_time(&*files.times)?,
        };
        let found = match entry {
            Some(entry) if self.is_true(entry)? => Some(entry),
            _ => self.look_for_latest()?,
        };
        *self.latest.lock() = Some(found);
        Ok(found)
    }

    /// When its file was last written to, by the disk's own clock.
    pub(crate) fn modified_ms(&self) -> io::Result<i64> {
        self.file.modified_ms()
    }

    /// Whether the indexes may take so many entries more.
    pub(crate) fn has_index_room_for(&self, entries: usize, bytes_max: u64) -> bool {
        match &*self.index.read() {
            Index::Growing(growing) => growing.has_room_for(entries, bytes_max),
            Index::Sealed(_) => false,
        }
    }

    /// The time of the first batch with records, read from the file.
    pub(crate) fn look_for_first_timestamp(&self) -> io::Result<Option<i64>> {
        let mut scanner = self.scan(0, self.base_offset..NO_OFFSET_LIMIT, INDEX_CHECK_CHUNK_BYTES);
        while let Some(found) = scanner.next()? {
            match found {
                Found::Batch { batch, .. } if !batch.is_empty() => return Ok(Some(batch.max_timestamp())),
                _ => {}
            }
        }
        Ok(None)
    }

    /// The time of the first batch with records, if the segment grows.
    pub(crate) fn first_timestamp(&self) -> Option<i64> {
        match &*self.index.read() {
            Index::Growing(growing) => growing.first_timestamp(),
            Index::Sealed(_) => None,
        }
    }

    /// Scans from `position`, where `offsets.start` is, to the end.
    pub(crate) fn scan(&self, position: u64, offsets: Range<i64>, chunk_bytes: usize) -> Scanner<'_> {
        Scanner::new(&*self.file, position..self.len_bytes(), offsets, chunk_bytes)
    }

    pub(crate) fn scan_all(&self, offsets: Range<i64>) -> Scanner<'_> {
        self.scan(0, offsets, SCAN_CHUNK_BYTES)
    }

    /// Its files, those of the indexes included once it is sealed.
    pub(crate) fn files(&self) -> Vec<Arc<dyn DiskFile>> {
        let mut files = vec![self.file.clone()];
        if let Index::Sealed(index) = &*self.index.read() {
            files.extend([index.offsets.clone(), index.times.clone()]);
        }
        files
    }

    /// The paths of its files that exist, in the order in which they should be removed.
    pub(crate) fn paths(&self, disk: &dyn Disk, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let names = disk.list(dir)?;
        let suffixes = [LOG_SUFFIX, OFFSET_INDEX_SUFFIX, TIME_INDEX_SUFFIX];
        let own = suffixes.map(|suffix| file_name(self.base_offset, suffix));
        Ok(own.into_iter().filter(|name| names.contains(name)).map(|name| dir.join(name)).collect())
    }

    pub(crate) fn remove(&self, disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        self.paths(disk, dir)?.iter().try_for_each(|path| disk.remove_file(path))
    }

    /// An index entry is a hint: a batch that ends with `last_offset` must really be there. Returns where it starts.
    fn start_of_batch_that_ends(&self, position: u64, last_offset: i64) -> io::Result<Option<i64>> {
        let mut header = [0; HEADER_BYTES];
        let read = self.file.read_at(&mut header, position)?;
        let is_header = batch::encoded_len(&header).is_ok() && batch::has_served_epoch(&header);
        let is_within = position < self.len_bytes() && read == header.len();
        let is_right = is_within && is_header && batch::last_offset(&header) == last_offset;
        let base_offset = batch::base_offset(&header);
        Ok((is_right && (self.base_offset..=last_offset).contains(&base_offset)).then_some(base_offset))
    }

    /// Whether the batch that ends where a time entry says is there, and has its time.
    fn is_true(&self, entry: TimeEntry) -> io::Result<bool> {
        let last_offset = self.base_offset + i64::from(entry.relative_offset);
        let (position, offset) = self.position_before(last_offset)?;
        let mut scanner = self.scan(position, offset..NO_OFFSET_LIMIT, INDEX_CHECK_CHUNK_BYTES);
        while let Some(found) = scanner.next()? {
            let Found::Batch { batch, .. } = found else { return Ok(false) };
            if batch.last_offset() >= last_offset {
                let is_there = batch.last_offset() == last_offset && !batch.is_empty();
                return Ok(is_there && batch.max_timestamp() == entry.timestamp_ms);
            }
        }
        Ok(false)
    }

    fn look_for_latest(&self) -> io::Result<Option<TimeEntry>> {
        let (mut scanner, mut latest) = (self.scan_all(self.base_offset..NO_OFFSET_LIMIT), None::<TimeEntry>);
        while let Some(found) = scanner.next()? {
            let Found::Batch { batch, .. } = found else { continue };
            let timestamp_ms = batch.max_timestamp();
            let is_later = latest.is_none_or(|latest| timestamp_ms > latest.timestamp_ms);
            if !batch.is_empty() && timestamp_ms >= 0 && is_later {
                let relative_offset = (batch.last_offset() - self.base_offset) as u32;
                latest = Some(TimeEntry { timestamp_ms, relative_offset });
            }
        }
        Ok(latest)
    }

    /// Takes note that the batches in these bytes are whole.
    pub(crate) fn set_verified(&self, bytes: Range<u64>) {
        self.verified.lock().add(bytes);
    }

    /// Whether the batches in these bytes were whole when this process wrote or last read them.
    pub(crate) fn is_verified(&self, bytes: &Range<u64>) -> bool {
        self.verified.lock().holds(bytes)
    }
}

impl IndexFiles {
    fn open(disk: &dyn Disk, dir: &Path, base_offset: i64) -> io::Result<IndexFiles> {
        let open = |suffix| disk.open(&path_of(dir, base_offset, suffix));
        Ok(IndexFiles { offsets: open(OFFSET_INDEX_SUFFIX)?, times: open(TIME_INDEX_SUFFIX)? })
    }

    pub(crate) fn write(&self, index: &SegmentIndex) -> io::Result<()> {
        for (file, bytes) in [(&self.offsets, index.encode_offsets()), (&self.times, index.encode_times())] {
            file.write_all_at(&bytes, 0)?;
            file.set_len(bytes.len() as u64)?;
        }
        Ok(())
    }
}

fn rebuild_index(
    file: &dyn DiskFile,
    len: u64,
    offsets: Range<i64>,
    interval_bytes: u32,
) -> io::Result<SegmentIndex> {
    let (mut index, base_offset) = (SegmentIndex::default(), offsets.start);
    let mut scanner = Scanner::new(file, 0..len, offsets, SCAN_CHUNK_BYTES);
    while let Some(found) = scanner.next()? {
        if let Found::Batch { position, batch } = found {
            index.add(base_offset, position, batch.bytes(), interval_bytes);
        }
    }
    index.complete();
    Ok(index)
}

pub(crate) fn path_of(dir: &Path, base_offset: i64, suffix: &str) -> PathBuf {
    dir.join(file_name(base_offset, suffix))
}

pub(crate) fn file_name(base_offset: i64, suffix: &str) -> String {
    format!("{base_offset:0OFFSET_DIGITS$}.{suffix}")
}

/// The base offset in a name like `00000000000000000042.log`.
pub(crate) fn base_offset_of(name: &str, suffix: &str) -> Option<i64> {
    let digits = name.strip_suffix(suffix)?.strip_suffix('.')?;
    let is_number = digits.len() == OFFSET_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok())?
}

/// The base offset of an index file's name.
pub(crate) fn indexed_offset_of(name: &str) -> Option<i64> {
    base_offset_of(name, OFFSET_INDEX_SUFFIX).or_else(|| base_offset_of(name, TIME_INDEX_SUFFIX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_named_by_its_first_offset_in_twenty_digits() {
        assert_eq!(file_name(42, LOG_SUFFIX), "00000000000000000042.log");
        assert_eq!(base_offset_of("00000000000000000042.log", LOG_SUFFIX), Some(42));
        assert_eq!(indexed_offset_of("00000000000000000042.timeindex"), Some(42));
        for name in
            ["42.log", "0000000000000000004x.log", "00000000000000000042.index", "99999999999999999999.log"]
        {
            assert_eq!(base_offset_of(name, LOG_SUFFIX), None, "{name}");
        }
    }
}
