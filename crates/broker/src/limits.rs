//! Every bound of the runtime, in one place.

use std::time::Duration;

/// Bytes that publishers may have in a queue's mailbox before they wait.
pub(crate) const MAILBOX_BYTES_MAX: usize = 8 << 20;

/// Messages of a queue on their way to dead letters at a time, and body bytes of them. More than is read from
/// a log at a time, so that nothing is read twice.
pub(crate) const LEAVING_MAX: u64 = 4096;
pub(crate) const LEAVING_BYTES_MAX: u64 = 2 << 20;

/// Commands a queue takes before it carries out effects.
pub(crate) const TURN_COMMANDS_MAX: usize = 256;

/// Bytes the storage thread writes before it flushes and answers.
pub(crate) const STORAGE_BATCH_BYTES: usize = 32 << 20;

/// A log whose messages are all done is emptied once it holds this much.
pub(crate) const TRIM_ACTIVE_BYTES_MIN: u64 = 1 << 20;

/// Bytes read from a log at a time when messages come back to memory: for those who take them at once, and for
/// the head of a queue that nobody consumes.
pub(crate) const LOAD_BYTES: usize = 256 << 10;
pub(crate) const LOAD_IDLE_BYTES: usize = 4 << 10;

/// Bytes of a record batch, after which the next begins: reading one message reads its whole batch. A little below a
/// power of two, where its buffer would double.
pub(crate) const RECORD_BATCH_BYTES: usize = 120 << 10;

/// A queue whose log is smaller leaves no mark at the end, nor one that would say more runs than this: reading the
/// log at the start is as quick.
pub(crate) const MARK_LOG_BYTES_MIN: u64 = 64 << 10;
pub(crate) const MARK_RUNS_MAX: usize = 4096;

/// Bytes a queue has on the way to its log before it holds back what comes next, and publishers wait.
pub(crate) const UNSTORED_BYTES_MAX: usize = 8 << 20;

/// Bytes of stored messages a queue keeps in memory while there is plenty, and while memory is short.
pub(crate) const RESIDENT_BYTES_MAX: usize = 16 << 20;
pub(crate) const RESIDENT_BYTES_SHORT: usize = 1 << 20;

/// Bytes that wait in memory in a queue with consumers before its publishers are slowed down to
/// [`CROWDED_BYTES_PER_MS`]; what the consumers take comes on top.
pub(crate) const CROWDED_BYTES: usize = 24 << 20;
pub(crate) const CROWDED_BYTES_PER_MS: usize = 32 << 10;

/// Bytes that all open transactions may hold, however large the budget: each becomes one block.
pub(crate) const TRANSACTIONS_BYTES_MAX: usize = 1 << 30;

/// Shares of the memory budget, in percent. Above the first, queues write what the log has not and let go of
/// it; above the second they keep nothing that the log can give back but their head.
pub(crate) const PAGING_PERCENT: usize = 40;
pub(crate) const TIGHT_PERCENT: usize = 75;

/// Bytes of a stream's batches read at a time for a consumer of AMQP, and about as many of messages given to it at a time.
pub(crate) const STREAM_READ_BYTES: usize = 256 << 10;

/// Bytes given to a consumer of a stream that have not left for its client, beyond which no more is read.
pub(crate) const STREAM_AHEAD_BYTES: usize = 512 << 10;

/// The largest message of a topic that AMQP made: all that clients may publish, and its properties.
pub(crate) const STREAM_MESSAGE_BYTES_MAX: usize = 129 << 20;

/// Bytes a partition writes until what it knows is written beside its log again.
pub(crate) const SNAPSHOT_INTERVAL_BYTES: usize = 64 << 20;

/// Partitions of one topic, and of all together: each is a task, and some memory.
pub(crate) const PARTITIONS_MAX: i32 = 10_000;
pub(crate) const PARTITIONS_OF_NODE_MAX: usize = 200_000;

/// How long whoever asks about groups or transactions waits for them to be back, before they are told to come again.
pub(crate) const LOADING_PATIENCE: Duration = Duration::from_secs(1);

/// Groups of a node.
pub(crate) const GROUPS_MAX: usize = 100_000;

/// Transactional ids of a node.
pub(crate) const TRANSACTIONAL_IDS_MAX: usize = 100_000;

/// Bytes of a name that a record of a group or of a transactional id can hold.
pub(crate) const RECORD_TEXT_BYTES_MAX: usize = i16::MAX as usize;

/// Bytes that a member says of itself in all its protocols together, and bytes of what it is given to do.
pub(crate) const MEMBER_BYTES_MAX: usize = 1 << 20;

/// Bytes that are written of a group at a time: all its members, or all offsets of one commit.
pub(crate) const GROUP_BATCH_BYTES_MAX: usize = 64 << 20;

/// Bytes of a definitions file.
pub const DEFINITIONS_BYTES_MAX: usize = 64 << 20;

/// Encoded bytes of the arguments of one definition; about what fits in a frame.
pub(crate) const ARGUMENTS_BYTES_MAX: usize = 128 << 10;

/// Names in one line about what an import left out.
pub(crate) const NAMES_IN_A_NOTE_MAX: usize = 20;

/// Share of the memory budget, in percent, for bodies that have come in part.
pub(crate) const BODIES_PERCENT: usize = 50;

/// Share of the memory budget, in percent, for the keys of a compaction, if `log.cleaner.dedupe.buffer.size` is not less.
pub(crate) const COMPACTION_PERCENT: usize = 10;

/// Share of the memory budget, in percent, for answers that clients of Kafka have not taken.
pub(crate) const ANSWERS_PERCENT: usize = 25;

const _: () = assert!(LOAD_BYTES as u64 <= LEAVING_BYTES_MAX);
const _: () = assert!(MAILBOX_BYTES_MAX <= STORAGE_BATCH_BYTES);
