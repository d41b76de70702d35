//! A partition as others reach it: what they may know without asking, and the commands its task takes.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cauce_core::partition::TopicPartition;
use cauce_core::producer::TransactionVersion;
use cauce_core::stream::{
    Aborted, AppendError, Guard, Isolation, Marker, MarkerError, OutOfRange, ProducerView, Sender,
};
use cauce_core::topic::TopicConfig;
use cauce_log::{LogReader, Removed};
use parking_lot::RwLock;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::checking::CheckedBatch;
use super::chores::Chore;
use super::watch::{Watch, Watchers};

/// When an append is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    /// Once it is as safe as [`Flush`](crate::Flush) says.
    All,
    /// Once it is written; the answer says no more.
    Written,
}

/// Where a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub first_offset: u64,
    /// The time of all its records, if it is the broker's.
    pub append_time_ms: Option<i64>,
    pub log_start: u64,
}

/// Why something was not appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendRefusal {
    #[error(transparent)]
    Batch(#[from] AppendError),
    #[error(transparent)]
    Marker(#[from] MarkerError),
    /// The topic was deleted.
    #[error("the partition is gone")]
    Gone,
}

pub type AppendAnswer = Result<Place, AppendRefusal>;

/// What an append waits for. Dropped unanswered, the partition is gone.
#[derive(Debug)]
pub struct Appending(oneshot::Receiver<AppendAnswer>);

impl Appending {
    /// May be given up and asked again.
    pub async fn answer(&mut self) -> AppendAnswer {
        (&mut self.0).await.unwrap_or(Err(AppendRefusal::Gone))
    }
}

/// What readers see of a partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extent {
    pub log_start: u64,
    /// Everything below is as safe as it gets.
    pub high_watermark: u64,
    /// Below it every transaction is decided.
    pub last_stable: u64,
    /// The offset of the next record.
    pub end: u64,
    /// Bytes that became visible since the node started: tells a waiting reader how much there is by now.
    pub bytes: u64,
}

impl Extent {
    pub fn visible_end(&self, isolation: Isolation) -> u64 {
        match isolation {
            Isolation::Uncommitted => self.high_watermark,
            Isolation::Committed => self.last_stable,
        }
    }

    /// What a reader at `from` may be given. Empty when it has to wait.
    pub fn readable(&self, from: u64, isolation: Isolation) -> Result<Range<u64>, OutOfRange> {
        if from < self.log_start || from > self.end {
            return Err(OutOfRange { wanted: from, log_start: self.log_start, end: self.end });
        }
        Ok(from..self.visible_end(isolation).max(from))
    }
}

#[derive(Debug)]
pub(crate) enum PartitionCommand {
    /// The guard is what [`PartitionHandle::verification`] gave, for the first batch of a transaction.
    Append {
        batch: CheckedBatch,
        guard: Option<Guard>,
        acks: Acks,
        done: oneshot::Sender<AppendAnswer>,
    },
    EndTransaction {
        marker: Marker,
        done: oneshot::Sender<AppendAnswer>,
    },
    Verification {
        sender: Sender,
        version: TransactionVersion,
        done: oneshot::Sender<Result<Option<Guard>, AppendError>>,
    },
    Aborted {
        offsets: Range<u64>,
        done: oneshot::Sender<Vec<Aborted>>,
    },
    Producers {
        done: oneshot::Sender<Vec<ProducerView>>,
    },
    /// Records below the offset go; the answer is where the log begins then.
    Trim {
        before: u64,
        done: oneshot::Sender<u64>,
    },
    Configure(Arc<TopicConfig>),
    Chore(Chore),
    /// The log begins here now, as something was removed.
    Begins {
        at: u64,
        removed: Removed,
        done: oneshot::Sender<Removed>,
    },
    /// The storage thread wrote all below the offset.
    Written {
        upto: u64,
    },
    /// It is also as safe as it gets.
    Stored {
        upto: u64,
        bytes: u64,
        reader: LogReader,
    },
    /// Answers when the files are gone, and ends the task.
    Delete {
        done: oneshot::Sender<()>,
    },
    /// The node ends.
    Stop {
        done: oneshot::Sender<()>,
    },
}

/// The way to a partition's task, for the storage thread. It never waits.
#[derive(Debug, Clone)]
pub(crate) struct PartitionMailbox(UnboundedSender<PartitionCommand>);

impl PartitionMailbox {
    /// A partition that is gone has nobody to tell.
    pub(crate) fn send(&self, command: PartitionCommand) {
        let _ = self.0.send(command);
    }
}

#[derive(Debug)]
pub struct PartitionHandle {
    pub at: TopicPartition,
    mailbox: PartitionMailbox,
    extent: RwLock<Extent>,
    /// `None` until something was written.
    reader: RwLock<Option<Arc<LogReader>>>,
    watchers: Watchers,
    is_gone: AtomicBool,
}

impl PartitionHandle {
    pub(super) fn new(
        at: TopicPartition,
        extent: Extent,
        reader: Option<LogReader>,
    ) -> (Arc<PartitionHandle>, UnboundedReceiver<PartitionCommand>) {
        let (mailbox, commands) = unbounded_channel();
        let handle = PartitionHandle {
            at,
            mailbox: PartitionMailbox(mailbox),
            extent: RwLock::new(extent),
            reader: RwLock::new(reader.map(Arc::new)),
            watchers: Watchers::default(),
            is_gone: AtomicBool::new(false),
        };
        (Arc::new(handle), commands)
    }

    /// What readers see, as of the task's last turn.
    pub fn extent(&self) -> Extent {
        *self.extent.read()
    }

    pub(super) fn reader(&self) -> Option<Arc<LogReader>> {
        self.reader.read().clone()
    }

    /// What the partition takes on disk.
    pub fn disk_bytes(&self) -> u64 {
        self.reader().map_or(0, |reader| reader.size_bytes())
    }

    /// Wakes `waiter` whenever readers see more, or something else, for as long as the watch is held.
    pub fn watch(self: &Arc<Self>, waiter: &Arc<tokio::sync::Notify>) -> Watch {
        Watch::new(self.clone(), waiter.clone())
    }

    pub(super) fn watchers(&self) -> &Watchers {
        &self.watchers
    }

    pub(super) fn mailbox(&self) -> &PartitionMailbox {
        &self.mailbox
    }

    /// Called by the task alone.
    pub(super) fn show(&self, extent: Extent) {
        let before = std::mem::replace(&mut *self.extent.write(), extent);
        if before != extent {
            self.watchers.wake();
        }
    }

    /// Whether the topic was deleted; who watches it is woken then.
    pub(super) fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Acquire)
    }

    /// Called by the task alone.
    pub(super) fn close(&self) {
        self.is_gone.store(true, Ordering::Release);
        self.watchers.wake();
    }

    /// Called by the task alone. The first reader stays: it remembers where it read last.
    pub(super) fn set_reader(&self, reader: LogReader) {
        self.reader.write().get_or_insert_with(|| Arc::new(reader));
    }

    /// Appends a batch after all that were handed over before it. The order of calls is the order in the log.
    pub fn append(&self, batch: CheckedBatch, guard: Option<Guard>, acks: Acks) -> Appending {
        self.asked(|done| PartitionCommand::Append { batch, guard, acks, done })
    }

    /// Ends a producer's transaction here.
    pub fn end_transaction(&self, marker: Marker) -> Appending {
        self.asked(|done| PartitionCommand::EndTransaction { marker, done })
    }

    fn asked(&self, command: impl FnOnce(oneshot::Sender<AppendAnswer>) -> PartitionCommand) -> Appending {
        let (done, answer) = oneshot::channel();
        self.mailbox.send(command(done));
        Appending(answer)
    }

    /// Whether a batch of the sender needs a guard. See [`Stream::verification`](cauce_core::stream::Stream::verification).
    pub async fn verification(
        &self,
        sender: Sender,
        version: TransactionVersion,
    ) -> Result<Option<Guard>, AppendRefusal> {
        let answer = self.ask(|done| PartitionCommand::Verification { sender, version, done }).await;
        Ok(answer.ok_or(AppendRefusal::Gone)??)
    }

    /// Aborted transactions that a reader of what is committed needs with the records between the offsets.
    pub async fn aborted(&self, offsets: Range<u64>) -> Vec<Aborted> {
        self.ask(|done| PartitionCommand::Aborted { offsets, done }).await.unwrap_or_default()
    }

    /// The producers known here.
    pub async fn producers(&self) -> Vec<ProducerView> {
        self.ask(|done| PartitionCommand::Producers { done }).await.unwrap_or_default()
    }

    /// Forgets what is below the offset; `None` if the partition is gone.
    pub async fn trim(&self, before: u64) -> Option<u64> {
        self.ask(|done| PartitionCommand::Trim { before, done }).await
    }

    pub(super) fn configure(&self, config: Arc<TopicConfig>) {
        self.mailbox.send(PartitionCommand::Configure(config));
    }

    pub(super) async fn delete(&self) {
        self.ask(|done| PartitionCommand::Delete { done }).await;
    }

    pub(crate) async fn stop(&self) {
        self.ask(|done| PartitionCommand::Stop { done }).await;
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> PartitionCommand) -> Option<T> {
        let (done, answer) = oneshot::channel();
        self.mailbox.send(command(done));
        answer.await.ok()
    }
}
