//! The only seam to files: the log writes through a [`Disk`], real or simulated.

use std::fmt::Debug;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

mod file;
mod memory;

pub use file::{FileDisk, FlushStrategy};
pub use memory::MemoryDisk;

/// A directory tree. Paths are relative to its root.
pub trait Disk: Send + Sync + Debug {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// The names of the files and directories in `dir`; none when it is missing.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Opens for reading and writing, creating the file when it is missing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes the directory and all below it; fine when it is missing.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes the names in `dir` durable: what was created, renamed or removed directly in it.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes the content of all `files`, which must be of this disk, and the names in `dirs` durable.
    fn sync(&self, files: &[Arc<dyn DiskFile>], dirs: &[PathBuf]) -> io::Result<()>;

    fn free_bytes(&self) -> io::Result<u64>;
}

/// An open file. It stays readable after its name is removed.
#[expect(clippy::len_without_is_empty, reason = "asking for the length is a system call here")]
pub trait DiskFile: Send + Sync + Debug {
    /// Reads up to `buf.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize>;

    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()>;

    fn len(&self) -> io::Result<u64>;

    fn set_len(&self, len: u64) -> io::Result<()>;

    /// When it was last written to, in milliseconds since 1970-01-01 UTC.
    fn modified_ms(&self) -> io::Result<i64>;

    /// Makes the content and the length durable.
    fn sync_data(&self) -> io::Result<()>;

    /// What the operating system knows the file by, if it does.
    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// The whole content of the file at `path`.
pub(crate) fn read_all(file: &dyn DiskFile) -> io::Result<Vec<u8>> {
    let mut content = vec![0; file.len()? as usize];
    let read = file.read_at(&mut content, 0)?;
    content.truncate(read);
    Ok(content)
}
