//! What was written and not yet flushed, and what may be done only when it is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::disk::{Disk, DiskFile};
use crate::recovery_point;

/// Gathers what several logs and journals wrote, to be made durable at once: the group flush.
#[derive(Debug, Default)]
pub struct Dirty {
    /// By address, so that each is flushed once.
    files: HashMap<usize, Arc<dyn DiskFile>>,
    /// Directories in which names changed.
    dirs: BTreeSet<PathBuf>,
    /// The directories of logs, and below which offset their segments are durable after the flush.
    recovery_points: BTreeMap<PathBuf, (Arc<dyn DiskFile>, i64)>,
    /// Files that what is flushed makes superfluous.
    superseded: Vec<PathBuf>,
    /// Set once all is durable.
    done: Vec<Arc<AtomicBool>>,
}

impl Dirty {
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.dirs.is_empty() && self.superseded.is_empty()
    }

    /// Whether files will go after the flush.
    pub fn frees_space(&self) -> bool {
        !self.superseded.is_empty()
    }

    pub fn add(&mut self, other: Dirty) {
        self.files.extend(other.files);
        self.dirs.extend(other.dirs);
        self.recovery_points.extend(other.recovery_points);
        self.superseded.extend(other.superseded);
        self.done.extend(other.done);
    }

    /// Makes everything durable, then does what waited for that. What is written to these files from another thread
    /// meanwhile may be durable or not.
    pub fn flush(self, disk: &dyn Disk) -> io::Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let files: Vec<_> = self.files.into_values().collect();
        let dirs: Vec<_> = self.dirs.into_iter().collect();
        disk.sync(&files, &dirs)?;
        if !self.recovery_points.is_empty() {
            let mut points = Vec::with_capacity(self.recovery_points.len());
            for (file, offset) in self.recovery_points.into_values() {
                recovery_point::write(&*file, offset)?;
                points.push(file);
            }
            disk.sync(&points, &[])?;
        }
        self.done.iter().for_each(|done| done.store(true, Ordering::Release));
        self.superseded.iter().try_for_each(|path| disk.remove_file(path))
    }

    /// Forgets what is in a directory that was removed with all below it.
    pub fn forget_below(&mut self, dir: &Path) {
        self.dirs.retain(|path| !path.starts_with(dir));
        self.recovery_points.retain(|path, _| !path.starts_with(dir));
        self.superseded.retain(|path| !path.starts_with(dir));
    }

    /// A file of this disk whose content is to be durable.
    pub fn add_file(&mut self, file: Arc<dyn DiskFile>) {
        self.files.insert(Arc::as_ptr(&file).addr(), file);
    }

    pub(crate) fn add_names_in(&mut self, dir: &Path) {
        self.dirs.insert(dir.to_owned());
    }

    /// The name of `dir` itself, and of every directory above it.
    pub(crate) fn add_names_above(&mut self, dir: &Path) {
        self.dirs.extend(dir.ancestors().skip(1).map(Path::to_owned));
    }

    pub(crate) fn set_recovery_point(&mut self, dir: &Path, file: Arc<dyn DiskFile>, offset: i64) {
        self.recovery_points.insert(dir.to_owned(), (file, offset));
    }

    pub(crate) fn tell(&mut self, done: Arc<AtomicBool>) {
        self.done.push(done);
    }

    pub(crate) fn remove_after(&mut self, path: PathBuf) {
        self.superseded.push(path);
    }

    #[cfg(test)]
    pub(crate) fn file_count(&self) -> usize {
        self.files.len()
    }
}
