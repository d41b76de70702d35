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
//! | `face` | a topic as AMQP has it: published to and consumed like a queue |
//! | `consumer`, `cursor`, `batch_records` | the task that reads for one AMQP consumer |
//! | `mapping` | AMQP messages as records, and records as messages |
//! | `files`, `flushing` | the files of a partition, for the storage thread; when they are flushed though nobody waits |

mod batch_records;
mod catalog;
mod checking;
mod chores;
mod codec;
mod compression;
mod consumer;
mod cursor;
mod declaring;
mod face;
mod files;
mod flushing;
mod handle;
mod housekeeping;
mod mapping;
mod reading;
mod task;
mod throttle;
mod topics;
mod watch;

pub use checking::{BatchRefusal, CheckedBatch, check, check_quickly, codec_of};
pub use codec::Compression;
pub use consumer::{StreamConsumer, Wish, WishError};
pub use cursor::Start;
pub use face::{StreamHandle, Unfit};
pub use handle::{Acks, AppendAnswer, AppendRefusal, Appending, Extent, PartitionHandle, Place};
pub use reading::Timed;
pub use topics::{Topic, TopicError, Topics};
pub use watch::Watch;

pub use catalog::TOPICS_VHOST;
pub(crate) use chores::ChoreDone;
pub(crate) use declaring::{asks_for_stream, spec_of};
pub(crate) use files::{After, Location, PartitionFiles, PartitionJob, Stored, marker_of};
