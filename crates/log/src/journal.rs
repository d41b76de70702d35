//! Small state that changes often, kept as a snapshot and the changes since.
//!
//! Each file of a journal begins with a snapshot. When the changes outgrow it, a new file is written under another
//! name, flushed, and only then renamed: a crash leaves either the old file or the whole new one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::batch::{BatchBuilder, RecordBatch};
use crate::disk::{self, Disk, DiskFile};
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
const UNFINISHED_SUFFIX: &str = "new";
const NUMBER_DIGITS: usize = 20;

/// The key of records that belong to the snapshot; changes have none.
const SNAPSHOT_KEY: &[u8] = b"snapshot";

/// The one writer of a journal. Entries are bytes it does not look into.
#[derive(Debug)]
pub struct Journal {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    number: u64,
    file: Arc<dyn DiskFile>,
    len: u64,
    snapshot_bytes: u64,
    next_offset: i64,
    is_dirty: bool,
    name_is_durable: bool,
    builder: BatchBuilder,
}

impl Journal {
    /// Opens the journal in `dir`, creating it when it is missing. Returns its entries: the snapshot's, then the
    /// changes in the order they were appended.
    pub fn open(disk: Arc<dyn Disk>, dir: PathBuf) -> Result<(Journal, Vec<Bytes>, Recovery), LogError> {
        disk.create_dir_all(&dir)?;
        let number = remove_all_but_newest(&*disk, &dir)?;
        let path = path_of(&dir, number, SUFFIX);
        let file = disk.open(&path)?;
        let contents = read_contents(&*file, &path)?;
        let journal = Journal {
            // What was found may never have been flushed: the process may have been killed before.
            name_is_durable: false,
            is_dirty: contents.len > 0 || contents.recovery.truncated_bytes > 0,
            disk,
            dir,
            number,
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
        self.make_name_durable()?;
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

    /// Replaces all that was appended by a snapshot, which is durable when this returns.
    pub fn rewrite(&mut self, entries: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<(), LogError> {
        let number = self.number + 1;
        let unfinished = path_of(&self.dir, number, UNFINISHED_SUFFIX);
        let file = self.disk.open(&unfinished)?;
        file.set_len(0)?;
        let (len, next_offset) = write_snapshot(&mut self.builder, &*file, entries)?;
        self.disk.sync(std::slice::from_ref(&file))?;
        self.disk.rename(&unfinished, &path_of(&self.dir, number, SUFFIX))?;
        self.name_is_durable = false;
        self.make_name_durable()?;
        self.disk.remove_file(&path_of(&self.dir, self.number, SUFFIX))?;

        self.number = number;
        self.file = file;
        self.len = len;
        self.snapshot_bytes = len;
        self.next_offset = next_offset;
        self.is_dirty = false;
        Ok(())
    }

    /// The files written to since the last call, for the group flush.
    pub fn take_dirty(&mut self) -> Vec<Arc<dyn DiskFile>> {
        let is_dirty = std::mem::take(&mut self.is_dirty);
        is_dirty.then(|| self.file.clone()).into_iter().collect()
    }

    fn make_name_durable(&mut self) -> io::Result<()> {
        if !self.name_is_durable {
            self.disk.sync_dir(&self.dir)?;
            disk::sync_parents(&*self.disk, &self.dir)?;
            self.name_is_durable = true;
        }
        Ok(())
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
    if !builder.is_empty() {
        len += write_batch(builder, file, len)?;
    }
    Ok((len, offset))
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
    next_offset: i64,
    recovery: Recovery,
}

/// Reads a journal through and cuts its torn tail; see [`crate::log`] for how it is told from damage.
fn read_contents(file: &dyn DiskFile, path: &Path) -> Result<Contents, LogError> {
    let file_len = file.len()?;
    let recovery = Recovery::default();
    let mut contents =
        Contents { entries: Vec::new(), len: file_len, snapshot_bytes: 0, next_offset: 0, recovery };
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
    if contents.len < file_len {
        contents.recovery.truncated_bytes = file_len - contents.len;
        file.set_len(contents.len)?;
    }
    Ok(contents)
}

impl Contents {
    fn add(&mut self, position: u64, batch: &RecordBatch) -> Result<(), BatchError> {
        for record in batch.records() {
            let record = record?;
            self.entries.push(batch.bytes().slice_ref(record.value.unwrap_or_default()));
            if record.key == Some(SNAPSHOT_KEY) {
                self.snapshot_bytes = position + batch.len_bytes() as u64;
            }
        }
        self.next_offset = batch.next_offset();
        Ok(())
    }
}

/// The newest journal's number. Older ones, and a new one that was never finished, are what a crash left.
fn remove_all_but_newest(disk: &dyn Disk, dir: &Path) -> io::Result<u64> {
    let names = disk.list(dir)?;
    let numbers = names.iter().filter_map(|name| number_of(name, SUFFIX));
    let newest = numbers.clone().max().unwrap_or(0);
    if numbers.count() > 1 {
        // The newest must not be lost with the older ones already gone.
        disk.sync_dir(dir)?;
    }
    for name in names {
        let is_old = number_of(&name, SUFFIX).is_some_and(|number| number < newest);
        if is_old || number_of(&name, UNFINISHED_SUFFIX).is_some() {
            disk.remove_file(&dir.join(name))?;
        }
    }
    Ok(newest)
}

fn path_of(dir: &Path, number: u64, suffix: &str) -> PathBuf {
    dir.join(format!("{number:0NUMBER_DIGITS$}.{suffix}"))
}

fn number_of(name: &str, suffix: &str) -> Option<u64> {
    let digits = name.strip_suffix(suffix)?.strip_suffix('.')?;
    let is_number = digits.len() == NUMBER_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok())?
}
