//! What can go wrong, told to whoever can act on it.

use std::io;

/// Why bytes are not a record batch this crate accepts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("the batch needs {needed} bytes and {left} are left")]
    Incomplete { needed: usize, left: usize },
    #[error("batch length {0} is not possible")]
    BadLength(i32),
    #[error("record batches of magic {0} are not supported, only 2")]
    UnsupportedMagic(i8),
    #[error("the checksum says {stored:08x} and the bytes say {computed:08x}")]
    WrongChecksum { stored: u32, computed: u32 },
    #[error("{records} records do not fit in {bytes} bytes and {offsets} offsets")]
    BadRecordCount { records: i32, bytes: usize, offsets: i64 },
    #[error("records compressed with codec {0} cannot be read one by one")]
    Compressed(u8),
    #[error("{0} of a record is malformed")]
    BadRecord(&'static str),
}

/// Why a log could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("offset {wanted} is outside the log, which holds {start} to {end}")]
    OutOfRange { wanted: i64, start: i64, end: i64 },
    #[error("a batch starting at offset {base_offset} cannot follow, the log ends at {end_offset}")]
    NotAscending { base_offset: i64, end_offset: i64 },
    #[error("bad batch: {0}")]
    Batch(#[from] BatchError),
    /// After a failed write or flush the kernel may have dropped the data: the process must stop.
    #[error("disk: {0}")]
    Io(#[from] io::Error),
}
