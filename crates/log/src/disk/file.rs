//! The real disk: files below a root directory.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;

use super::{Disk, DiskFile};

/// Threads that flush at once under [`FlushStrategy::Parallel`].
const PARALLEL_FLUSHES_MAX: usize = 16;

/// From this many files and directories on, one `syncfs` is expected to beat flushing each (docs/flush.md).
const SYNCFS_FILES_MIN: usize = 4;

/// How a group of dirty files is made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FlushStrategy {
    /// `fdatasync` on one file after the other.
    Sequential,
    /// `fdatasync` on several files at once, each on a thread of its own.
    Parallel,
    /// One `syncfs` for the whole file system, strangers' files included. Linux only; elsewhere like `Parallel`.
    Syncfs,
    /// `fdatasync` for few files, `syncfs` for many.
    #[default]
    Adaptive,
}

/// A directory of the operating system.
#[derive(Debug)]
pub struct FileDisk {
    root: PathBuf,
    strategy: FlushStrategy,
    /// `syncfs` reports the writes that failed since its descriptor was opened. So this one is opened before the first
    /// file and kept.
    root_file: OnceLock<File>,
}

impl FileDisk {
    pub fn new(root: PathBuf, strategy: FlushStrategy) -> FileDisk {
        FileDisk { root, strategy, root_file: OnceLock::new() }
    }

    fn root_file(&self) -> io::Result<&File> {
        if let Some(file) = self.root_file.get() {
            return Ok(file);
        }
        let file = File::open(&self.root)?;
        Ok(self.root_file.get_or_init(|| file))
    }

    fn sync_dirs(&self, dirs: &[PathBuf]) -> io::Result<()> {
        dirs.iter().try_for_each(|dir| self.sync_dir(dir))
    }

    #[cfg(target_os = "linux")]
    fn sync_file_system(&self, _files: &[Arc<dyn DiskFile>], _dirs: &[PathBuf]) -> io::Result<()> {
        Ok(rustix::fs::syncfs(self.root_file()?)?)
    }

    #[cfg(not(target_os = "linux"))]
    fn sync_file_system(&self, files: &[Arc<dyn DiskFile>], dirs: &[PathBuf]) -> io::Result<()> {
        sync_in_parallel(files)?;
        self.sync_dirs(dirs)
    }
}

impl Disk for FileDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(self.root.join(dir))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.root.join(dir)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        // A name that is not UTF-8 is none of ours.
        entries
            .filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose())
            .collect()
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.root_file()?;
        let file =
            File::options().read(true).write(true).create(true).truncate(false).open(self.root.join(path))?;
        Ok(Arc::new(file))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(self.root.join(path))
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        match fs::remove_dir_all(self.root.join(path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(self.root.join(from), self.root.join(to))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(self.root.join(dir))?.sync_all()
    }

    fn sync(&self, files: &[Arc<dyn DiskFile>], dirs: &[PathBuf]) -> io::Result<()> {
        let count = files.len() + dirs.len();
        match self.strategy {
            FlushStrategy::Sequential => sync_one_by_one(files)?,
            FlushStrategy::Parallel => sync_in_parallel(files)?,
            FlushStrategy::Syncfs => return self.sync_file_system(files, dirs),
            FlushStrategy::Adaptive if count < SYNCFS_FILES_MIN => sync_one_by_one(files)?,
            FlushStrategy::Adaptive => return self.sync_file_system(files, dirs),
        }
        self.sync_dirs(dirs)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stats = rustix::fs::statvfs(&self.root)?;
        Ok(stats.f_bavail * stats.f_frsize)
    }
}

fn sync_one_by_one(files: &[Arc<dyn DiskFile>]) -> io::Result<()> {
    files.iter().try_for_each(|file| file.sync_data())
}

fn sync_in_parallel(files: &[Arc<dyn DiskFile>]) -> io::Result<()> {
    let next = AtomicUsize::new(0);
    let flush_until_none_is_left = || {
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            file.sync_data()?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let helpers: Vec<_> = (1..files.len().min(PARALLEL_FLUSHES_MAX))
            .map(|_| scope.spawn(flush_until_none_is_left))
            .collect();
        let mut outcome = flush_until_none_is_left();
        for helper in helpers {
            outcome = outcome.and(helper.join().expect("flushing a file does not panic"));
        }
        outcome
    })
}

impl DiskFile for File {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buf.len() {
            match FileExt::read_at(self, &mut buf[filled..], position + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, position)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }

    fn modified_ms(&self) -> io::Result<i64> {
        let since = self.metadata()?.modified()?.duration_since(std::time::UNIX_EPOCH);
        Ok(since.map_or(0, |since| since.as_millis() as i64))
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(AsFd::as_fd(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_strategy_flushes_and_the_bytes_are_read_back() {
        use FlushStrategy::*;
        for strategy in [Sequential, Parallel, Syncfs, Adaptive] {
            let root = tempfile::tempdir().unwrap();
            let disk = FileDisk::new(root.path().to_owned(), strategy);
            disk.create_dir_all(Path::new("a/b")).unwrap();
            let files: Vec<_> = (0..20).map(|n| disk.open(Path::new(&format!("a/b/{n}"))).unwrap()).collect();
            files.iter().for_each(|file| file.write_all_at(b"payload", 3).unwrap());
            disk.sync(&files, &["a/b".into(), "a".into()]).unwrap();
            assert_eq!(disk.list(Path::new("a/b")).unwrap().len(), 20);
            let mut read = [0; 16];
            assert_eq!(files[7].read_at(&mut read, 3).unwrap(), 7);
            assert_eq!(&read[..7], b"payload");
        }
    }

    #[test]
    fn what_is_missing_lists_as_empty_and_removes_in_peace() {
        let root = tempfile::tempdir().unwrap();
        let disk = FileDisk::new(root.path().to_owned(), FlushStrategy::Adaptive);
        assert!(disk.list(Path::new("nowhere")).unwrap().is_empty());
        disk.remove_dir_all(Path::new("nowhere")).unwrap();
        disk.sync_dir(Path::new("")).unwrap();
        assert!(disk.free_bytes().unwrap() > 0);
    }
}
