//! Streams: partitions of topics, whose readers keep their own positions.
//!
//! | file | what it holds |
//! |---|---|
//! | `topics` | the topics there are |
//! | `catalog` | making and deleting them; how they come back |
//! | `task`, `handle`, `watch` | the task that owns a partition, and how others reach it |
//! | `checking`, `compression` | what a producer sends, before it is kept |
//! | `housekeeping`, `chores` | retention and compaction: when, and what the owners do for it |
//! | `codec` | what compaction compresses again |
//! | `reading` | what a consumer gets |
//! | `files` | the files of a partition, for the storage thread |

mod catalog;
mod checking;
mod chores;
mod codec;
mod compression;
mod files;
mod handle;
mod housekeeping;
mod reading;
mod task;
mod topics;
mod watch;

pub use checking::{BatchRefusal, CheckedBatch, check, check_quickly};
pub use codec::Compression;
pub use handle::{Acks, AppendAnswer, AppendRefusal, Appending, Extent, PartitionHandle, Place};
pub use reading::Timed;
pub use topics::{Topic, TopicError, Topics};
pub use watch::Watch;

pub(crate) use catalog::TOPICS_VHOST;
pub(crate) use chores::ChoreDone;
pub(crate) use files::{After, Location, PartitionFiles, PartitionJob, Stored, marker_of};
