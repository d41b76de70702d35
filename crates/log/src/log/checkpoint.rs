//! What a log knows that its segments do not say: where it starts, and how far it was compacted.
//!
//! A journal in a directory of its own, which is made when there is something to remember.
//!
//! ```text
//! entry  log start i64 | compacted below i64
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::dirty::Dirty;
use crate::disk::Disk;
use crate::error::LogError;
use crate::journal::Journal;

const DIR_NAME: &str = "checkpoint";

#[derive(Debug)]
pub(super) struct Checkpoint {
    journal: Option<Journal>,
    known: Known,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// Records below were deleted, though the first segment may hold them.
    pub(super) log_start: i64,
    /// All keys of records below were compared with those of records below.
    pub(super) compacted_below: i64,
}

impl Checkpoint {
    /// Opens what there is beside a log that ends at `end_offset`.
    pub(super) fn open(disk: &Arc<dyn Disk>, dir: &Path, end_offset: i64) -> Result<Checkpoint, LogError> {
        let mut checkpoint = Checkpoint { journal: None, known: Known::default() };
        if !disk.list(dir)?.iter().any(|name| name == DIR_NAME) {
            return Ok(checkpoint);
        }
        let (journal, entries, _) = Journal::open(disk.clone(), path_in(dir))?;
        let known = entries.last().and_then(|entry| Known::decode(entry)).unwrap_or_default();
        checkpoint = Checkpoint { journal: Some(journal), known };
        // A log that lost its end must not hide what takes the same offsets later.
        let within = Known {
            log_start: known.log_start.min(end_offset),
            compacted_below: known.compacted_below.min(end_offset),
        };
        checkpoint.set(disk, dir, within)?;
        Ok(checkpoint)
    }

    pub(super) fn known(&self) -> Known {
        self.known
    }

    /// Writes what changed; it is durable after the next group flush.
    pub(super) fn set(&mut self, disk: &Arc<dyn Disk>, dir: &Path, known: Known) -> Result<(), LogError> {
        if known == self.known {
            return Ok(());
        }
        let journal = match &mut self.journal {
            Some(journal) => journal,
            None => self.journal.insert(Journal::open(disk.clone(), path_in(dir))?.0),
        };
        match journal.should_rewrite() {
            true => journal.rewrite([known.encode()])?,
            false => journal.append(&[&known.encode()])?,
        }
        self.known = known;
        Ok(())
    }

    pub(super) fn take_dirty(&mut self) -> Dirty {
        self.journal.as_mut().map_or_else(Dirty::default, Journal::take_dirty)
    }
}

impl Known {
    fn encode(self) -> [u8; 16] {
        let mut entry = [0; 16];
        entry[..8].copy_from_slice(&self.log_start.to_be_bytes());
        entry[8..].copy_from_slice(&self.compacted_below.to_be_bytes());
        entry
    }

    fn decode(entry: &[u8]) -> Option<Known> {
        let (log_start, rest) = entry.split_first_chunk()?;
        let compacted_below = i64::from_be_bytes(*rest.first_chunk()?);
        Some(Known { log_start: i64::from_be_bytes(*log_start), compacted_below })
    }
}

fn path_in(dir: &Path) -> PathBuf {
    dir.join(DIR_NAME)
}
