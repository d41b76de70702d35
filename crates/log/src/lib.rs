//! Record batches and the segmented log they live in.
//!
//! Everything durable is a [`Log`] of [`RecordBatch`]es in Kafka's v2 format, or a [`Journal`] of small changes in the
//! same format. The crate is synchronous: it starts no thread but for a parallel flush, reads no clock, and touches
//! files only through a [`Disk`].

mod batch;
mod dirty;
mod disk;
mod error;
mod index;
mod journal;
mod log;
mod record;
mod recovery_point;
mod scan;
mod segment;
mod varint;
mod verified;

pub use batch::{BatchBuilder, RecordBatch, TimestampType};
pub use dirty::Dirty;
pub use disk::{Disk, DiskFile, FileDisk, FlushStrategy, MemoryDisk};
pub use error::{BatchError, LogError};
pub use journal::Journal;
pub use log::{
    AbortedTransaction, Codec, Compacted, Compaction, CompactionReport, CompactionRules, CompactionRun,
    Damage, LastBatch, Log, LogConfig, LogReader, Pace, Recovery, Region, Removed, Replaced, StreamState,
    Timed,
};
pub use record::{Headers, Record, Records};
