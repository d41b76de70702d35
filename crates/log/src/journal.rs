//! Small state that changes often, kept as a snapshot and the changes since.
//!
//! Each file of a journal begins with a snapshot. When the changes outgrow it, a new file takes over. The old one stays
//! until the new one is flushed: a crash leaves either the old file or a new one that is whole.

use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::batch::{BatchBuilder, RecordBatch};
use crate::dirty::Dirty;
use crate::disk::{Disk, DiskFile};
use crate::error::{BatchError, LogError};
use crate::log::{Damage, Recovery};
use crate::scan::{Found, NO_OFFSET_LIMIT, Scanner};

/// A journal below this size is not worth rewriting.
const REWRITE_BYTES_MIN: u64 = 64 << 10;
/// Rewriting when the file is this many times its snapshot keeps the bytes rewritten below those appended.
const REWRITE_GROWTH: u64 = 4;
/// A snapshot is cut into batches of about this size.
const SNAPSHOT_BATCH_BYTES: usize = 256 << 10;
const SCAN_CHUNK_BYTES: usize = 1 << 20;

const SUFFIX: &str = "journal";
const NUMBER_DIGITS: usize = 20;

/// Crashes, and no flush between them, may leave more and more older files. Beyond this opening flushes.
const OLDER_FILES_MAX: usize = 8;

/// The key of records that belong to the snapshot; changes have none.
const SNAPSHOT_KEY: &[u8] = b"snapshot";
/// The key of the record that ends a snapshot.
const SNAPSHOT_END_KEY: &[u8] = b"end";

/// The one writer of a journal. Entries are bytes it does not look into.
#[derive(Debug)]
pub struct Journal {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    number: u64,
    /// The numbers of older files, rising, which serve if this one does not survive.
    older: Vec<u64>,
    /// Files after this one are of this process and not flushed. Of these, the last and the one before are enough.
    kept: u64,
    file: Arc<dyn DiskFile>,
    len: u64,
    snapshot_bytes: u64,
    next_offset: i64,
    is_dirty: bool,
    has_new_name: bool,
    builder: BatchBuilder,
}

impl Journal {
    /// Opens the journal in `dir`, creating it when it is missing. Returns its entries: the snapshot's, then the
    /// changes in the order they were appended.
    pub fn open(disk: Arc<dyn Disk>, dir: PathBuf) -> Result<(Journal, Vec<Bytes>, Recovery), LogError> {
        disk.create_dir_all(&dir)?;
        let mut older = numbers_in(&*disk, &dir)?;
        let (number, file, contents) = open_newest_whole(&*disk, &dir, &mut older)?;
        let journal = Journal {
            // What was found may never have been flushed: the process may have been killed before.
            has_new_name: true,
            is_dirty: contents.len > 0 || contents.recovery.truncated_bytes > 0,
            disk,
            dir,
            number,
            older,
            kept: number,
            file,
            len: contents.len,
            snapshot_bytes: contents.snapshot_bytes,
            next_offset: contents.next_offset,
            builder: BatchBuilder::new(),
        };
        Ok((journal, contents.entries, contents.recovery))
    }

    /// Writes entries, all of which or none survive a crash.
    pub fn append(&mut self, entries: &[&[u8]]) -> Result<(), LogError> {
        if entries.is_empty() {
            return Ok(());
        }
        self.builder.start(self.next_offset, 0);
        for entry in entries {
            self.builder.push(self.next_offset, 0, None, Some(&[entry]), &[]);
            self.next_offset += 1;
        }
        self.len += write_batch(&mut self.builder, &*self.file, self.len)?;
        self.is_dirty = true;
        Ok(())
    }

    pub fn size_bytes(&self) -> u64 {
        self.len
    }

    /// Whether the changes have outgrown the snapshot.
    pub fn should_rewrite(&self) -> bool {
        self.len > REWRITE_BYTES_MIN.max(REWRITE_GROWTH * self.snapshot_bytes)
    }

    /// Replaces all that was appended by a snapshot.
    pub fn rewrite(&mut self, entries: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<(), LogError> {
        if let Some(superseded) = self.older.pop_if(|number| *number > self.kept) {
            self.disk.remove_file(&path_of(&self.dir, superseded))?;
        }
        let number = self.number + 1;
        let file = self.disk.open(&path_of(&self.dir, number))?;
        file.set_len(0)?;
        let (len, next_offset) = write_snapshot(&mut self.builder, &*file, entries)?;

        self.older.push(self.number);
        self.number = number;
        self.file = file;
        self.len = len;
        self.snapshot_bytes = len;
        self.next_offset = next_offset;
        self.is_dirty = true;
        self.has_new_name = true;
        Ok(())
    }

    /// What was changed since the last call, for the group flush.
    pub fn take_dirty(&mut self) -> Dirty {
        let mut dirty = Dirty::default();
        if mem::take(&mut self.is_dirty) {
            dirty.add_file(self.file.clone());
        }
        if mem::take(&mut self.has_new_name) {
            dirty.add_names_in(&self.dir);
            dirty.add_names_above(&self.dir);
        }
        self.kept = self.number;
        self.older.drain(..).for_each(|number| dirty.remove_after(path_of(&self.dir, number)));
        dirty
    }
}

fn write_snapshot(
    builder: &mut BatchBuilder,
    file: &dyn DiskFile,
    entries: impl IntoIterator<Item = impl AsRef<[u8]>>,
) -> io::Result<(u64, i64)> {
    let (mut len, mut offset) = (0, 0);
    builder.start(0, 0);
    for entry in entries {
        builder.push(offset, 0, Some(SNAPSHOT_KEY), Some(&[entry.as_ref()]), &[]);
        offset += 1;
        if builder.len_bytes() >= SNAPSHOT_BATCH_BYTES {
            len += write_batch(builder, file, len)?;
            builder.start(offset, 0);
        }
    }
    builder.push(offset, 0, Some(SNAPSHOT_END_KEY), None, &[]);
    len += write_batch(builder, file, len)?;
    Ok((len, offset + 1))
}

fn write_batch(builder: &mut BatchBuilder, file: &dyn DiskFile, position: u64) -> io::Result<u64> {
    let batch = builder.finish();
    file.write_all_at(&batch, position)?;
    Ok(batch.len() as u64)
}

struct Contents {
    entries: Vec<Bytes>,
    len: u64,
    snapshot_bytes: u64,
    /// Whether the snapshot ends, and nothing of it is damaged.
    is_whole: bool,
    next_offset: i64,
    recovery: Recovery,
}

/// Reads a journal through up to its torn tail; see [`crate::log`] for how it is told from damage.
fn read_contents(file: &dyn DiskFile, path: &Path) -> Result<Contents, LogError> {
    let file_len = file.len()?;
    let recovery = Recovery::default();
    let mut contents = Contents {
        entries: Vec::new(),
        len: file_len,
        snapshot_bytes: 0,
        is_whole: false,
        next_offset: 0,
        recovery,
    };
    let mut scanner = Scanner::new(file, 0..file_len, 0..NO_OFFSET_LIMIT, SCAN_CHUNK_BYTES);
    while let Some(found) = scanner.next()? {
        match found {
            Found::Batch { position, batch } => contents.add(position, &batch)?,
            Found::Damage { bytes, reaches_end: true, .. } => contents.len = bytes.start,
            Found::Damage { bytes, offsets, .. } => {
                contents.recovery.damaged.push(Damage::new(path, bytes, offsets));
            }
        }
    }
    contents.recovery.truncated_bytes = file_len - contents.len;
    Ok(contents)
}

impl Contents {
    fn add(&mut self, position: u64, batch: &RecordBatch) -> Result<(), BatchError> {
        for record in batch.records() {
            let record = record?;
            if record.key.is_some() {
                self.snapshot_bytes = position + batch.len_bytes() as u64;
            }
            if record.key == Some(SNAPSHOT_END_KEY) {
                self.is_whole = self.recovery.damaged.is_empty();
                continue;
            }
            self.entries.push(batch.bytes().slice_ref(record.value.unwrap_or_default()));
        }
        self.next_offset = batch.next_offset();
        Ok(())
    }
}

/// Takes the newest file whose snapshot is whole out of `numbers`, and leaves those that are older. Newer ones are what a crash left
/// of a rewriting. If none is whole, a disk lost something, and the newest holds the most.
fn open_newest_whole(
    disk: &dyn Disk,
    dir: &Path,
    numbers: &mut Vec<u64>,
) -> Result<(u64, Arc<dyn DiskFile>, Contents), LogError> {
    let open = |number| -> Result<_, LogError> {
        let path = path_of(dir, number);
        let file = disk.open(&path)?;
        let contents = read_contents(&*file, &path)?;
        Ok((number, file, contents))
    };
    let mut chosen = open(numbers.last().copied().unwrap_or(0))?;
    for number in numbers.iter().rev().skip(1) {
        // The first file needs no snapshot.
        if chosen.0 == 0 || chosen.2.is_whole {
            break;
        }
        let older = open(*number)?;
        if *number == 0 || older.2.is_whole {
            chosen = older;
        }
    }
    let (number, file, contents) = chosen;
    for newer in numbers.iter().filter(|other| **other > number) {
        disk.remove_file(&path_of(dir, *newer))?;
    }
    numbers.retain(|other| *other < number);
    if contents.recovery.truncated_bytes > 0 {
        file.set_len(contents.len)?;
    }
    if numbers.len() > OLDER_FILES_MAX {
        disk.sync(std::slice::from_ref(&file), &[dir.to_owned()])?;
        numbers.drain(..).try_for_each(|older| disk.remove_file(&path_of(dir, older)))?;
    }
    Ok((number, file, contents))
}

/// The numbers of the files there are, rising.
fn numbers_in(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers: Vec<_> = disk.list(dir)?.iter().filter_map(|name| number_of(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:0NUMBER_DIGITS$}.{SUFFIX}"))
}

fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?.strip_suffix('.')?;
    let is_number = digits.len() == NUMBER_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok())?
}
