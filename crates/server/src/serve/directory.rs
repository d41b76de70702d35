//! The data directory: one process at a time, and a format this version can read.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// The layout that docs/formats describes.
const FORMAT_VERSION: &str = "2";

#[derive(Debug, thiserror::Error)]
pub(crate) enum DirectoryError {
    #[error("data directory {}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("data directory {} is used by another process", path.display())]
    InUse { path: PathBuf },
    #[error("data directory {} has format {found}; this version reads {FORMAT_VERSION}", path.display())]
    Format { path: PathBuf, found: String },
}

/// Held for as long as the directory is ours.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "the lock goes when the file is closed")] File);

pub(crate) fn claim(path: &Path) -> Result<Lock, DirectoryError> {
    let io = |error| DirectoryError::Io { path: path.to_owned(), error };
    fs::create_dir_all(path).map_err(io)?;
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).open(path.join("lock")).map_err(io)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| DirectoryError::InUse { path: path.to_owned() })?;
    let version = path.join("format");
    match fs::read_to_string(&version) {
        Ok(found) if found.trim() == FORMAT_VERSION => {}
        Ok(found) => {
            return Err(DirectoryError::Format { path: path.to_owned(), found: found.trim().to_owned() });
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::write(&version, format!("{FORMAT_VERSION}\n")).map_err(io)?;
        }
        Err(error) => return Err(io(error)),
    }
    Ok(Lock(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_owner_and_a_format_that_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let first = claim(dir.path()).unwrap();
        assert!(matches!(claim(dir.path()), Err(DirectoryError::InUse { .. })));
        drop(first);
        fs::write(dir.path().join("format"), "99\n").unwrap();
        let error = claim(dir.path()).unwrap_err();
        assert!(matches!(&error, DirectoryError::Format { found, .. } if found == "99"), "{error}");
    }
}
