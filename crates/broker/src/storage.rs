//! The storage thread: it alone writes the node's logs, and decides when they are flushed.
//!
//! It takes every job that waits, writes them all, flushes once for all that asked, then answers. While
//! one flush runs the next batch gathers, so the cost of a flush is shared by whoever came meanwhile.
//! With `--flush os` nothing is flushed until the node stops.
//! A failed write or flush ends the process: afterwards nobody knows what the disk holds.

use std::collections::HashMap;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use bytes::Bytes;
use cauce_core::message::Charge;
use cauce_core::range_set::RangeSet;
use cauce_log::{Dirty, Disk, Journal, Log, LogConfig, LogReader, Recovery};
use tokio::sync::oneshot;

use crate::clock::now_ms;
use crate::limits::{MARK_LOG_BYTES_MIN, STORAGE_BATCH_BYTES, TRIM_ACTIVE_BYTES_MIN};
use crate::mark::{Extent, Mark};
use crate::queue_handle::{Mailbox, QueueCommand};
use crate::settled::{self, Notes, Settled, SettledFile};
use crate::stream::{After, ChoreDone, Location, PartitionFiles, PartitionJob, Stored};
use crate::transactions::{Committed, TransactionsFile};

/// When an answer may be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// After the bytes are flushed: they survive a power cut.
    Always,
    /// After they are written: they survive the process, not the machine.
    Os,
}

pub(crate) type QueueId = u64;

#[derive(Debug)]
pub(crate) enum Job {
    /// Appends to the queue's log, and tells the mailbox once that is safe; once it is written, if the queue
    /// promised nothing and only wants the memory.
    Append {
        queue: QueueId,
        batches: Vec<Bytes>,
        charge: Charge,
        promised: bool,
        upto: u64,
        mailbox: Mailbox,
    },
    /// Remembers what became of messages; below `floor` all are done.
    Settle { queue: QueueId, notes: Notes, floor: u64 },
    /// The same, to count once the transaction is committed.
    Prepare { queue: QueueId, transaction: u64, notes: Notes },
    /// The transaction is committed, and so what was prepared for it counts.
    Committed { queue: QueueId, transaction: u64 },
    /// Leaves a mark of the queue, which rests from now on.
    Mark { queue: QueueId, mark: Mark },
    /// Commits the transaction; those below `floor` are over.
    Commit { transaction: u64, floor: u64, done: oneshot::Sender<()> },
    /// A run begins, with this number for its next transaction.
    Begin { transaction: u64, done: Sender<()> },
    /// The node stopped in order, and this would be the number of its next transaction: flushes all there is,
    /// whatever [`Flush`] says.
    Stop { transaction: u64 },
    /// Deletes all there is of the queue.
    Forget { queue: QueueId },
    /// Takes over the files of a queue that was recovered.
    Adopt { queue: QueueId, files: Box<QueueFiles> },
    /// Something for the files of a partition.
    Partition { at: Arc<Location>, job: PartitionJob },
    /// Appends to the definitions.
    Define { entry: Vec<u8>, done: oneshot::Sender<()> },
    /// Replaces the definitions by this snapshot.
    Redefine { entries: Vec<Vec<u8>> },
    /// Answers when all before is as safe as `--flush` says.
    Flush { done: oneshot::Sender<()> },
}

/// The way to the storage thread. It ends when the last handle is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Storage {
    jobs: Sender<Job>,
}

impl Storage {
    pub(crate) fn start(
        disk: Arc<dyn Disk>,
        definitions: Journal,
        transactions: TransactionsFile,
        flush: Flush,
    ) -> Storage {
        let (jobs, inbox) = channel();
        let worker = Worker {
            partitions: PartitionFiles::new(disk.clone()),
            disk,
            flush,
            definitions,
            transactions,
            queues: HashMap::default(),
            dirty: Dirty::default(),
            answers: Vec::new(),
            is_awaited: false,
        };
        std::thread::Builder::new()
            .name("storage".into())
            .spawn(move || worker.run(&inbox))
            .expect("the storage thread starts");
        Storage { jobs }
    }

    pub(crate) fn send(&self, job: Job) {
        self.jobs.send(job).expect("the storage thread ends after its last handle");
    }

    /// Begins a run, with this number for its next transaction. Blocks until the end of the run before is
    /// forgotten: nothing may be given out sooner.
    pub(crate) fn begin(&self, transaction: u64) {
        let (done, answer) = channel();
        self.send(Job::Begin { transaction, done });
        // The thread answers or ends the process.
        let _ = answer.recv();
    }

    pub(crate) async fn flush(&self) {
        let (done, answer) = oneshot::channel();
        self.send(Job::Flush { done });
        // The thread answers or ends the process.
        let _ = answer.await;
    }
}

#[derive(Debug)]
enum Answer {
    Stored { mailbox: Mailbox, upto: u64, bytes: usize, reader: LogReader },
    PartitionStored(Stored),
    ChoreDone(ChoreDone),
    Done(oneshot::Sender<()>),
}

#[derive(Debug)]
pub(crate) struct QueueFiles {
    log: Log,
    settled: SettledFile,
}

#[derive(Debug)]
struct Worker {
    disk: Arc<dyn Disk>,
    flush: Flush,
    definitions: Journal,
    transactions: TransactionsFile,
    queues: HashMap<QueueId, QueueFiles, foldhash::fast::RandomState>,
    partitions: PartitionFiles,
    /// What the next flush is for. With `--flush os`, nothing.
    dirty: Dirty,
    answers: Vec<Answer>,
    /// Whether any of the answers says that something is safe.
    is_awaited: bool,
}

impl Worker {
    fn run(mut self, inbox: &Receiver<Job>) {
        loop {
            let turn = match self.next_job(inbox) {
                Ok(first) => self.turn(first, inbox),
                Err(RecvTimeoutError::Timeout) => self.answer(),
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if let Err(error) = turn {
                tracing::error!(%error, "writing to the data directory failed; stopping, so as not to guess what it holds");
                std::process::exit(1);
            }
        }
    }

    /// Waits no longer than until something is to be flushed.
    fn next_job(&self, inbox: &Receiver<Job>) -> Result<Job, RecvTimeoutError> {
        match self.partitions.next_flush_ms() {
            None => Ok(inbox.recv()?),
            Some(due_ms) => inbox.recv_timeout(Duration::from_millis((due_ms - now_ms()).max(0) as u64)),
        }
    }

    fn turn(&mut self, first: Job, inbox: &Receiver<Job>) -> Result<(), cauce_log::LogError> {
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(job) = next {
            bytes += match &job {
                Job::Append { charge, .. } => charge.bytes(),
                Job::Partition { job, .. } => job.bytes(),
                _ => 0,
            };
            self.carry_out(job)?;
            next = if bytes < STORAGE_BATCH_BYTES { inbox.try_recv().ok() } else { None };
        }
        self.answer()
    }

    fn carry_out(&mut self, job: Job) -> Result<(), cauce_log::LogError> {
        match job {
            Job::Append { queue, batches, charge, promised, upto, mailbox } => {
                let files = self.files(queue)?;
                // One by one, as the log copies what it takes.
                batches.iter().try_for_each(|batch| files.log.append(batch))?;
                let reader = files.log.reader();
                self.soil(queue)?;
                self.is_awaited |= promised;
                self.answers.push(Answer::Stored { mailbox, upto, bytes: charge.bytes(), reader });
            }
            Job::Settle { queue, notes, floor } => {
                let files = self.files(queue)?;
                files.settle(notes, floor)?;
                self.soil(queue)?;
            }
            Job::Prepare { queue, transaction, notes } => {
                self.files(queue)?.settled.prepare(transaction, notes)?;
                self.soil(queue)?;
            }
            Job::Committed { queue, transaction } => self.files(queue)?.settled.commit(transaction),
            Job::Mark { queue, mark } => {
                self.files(queue)?.leave(&mark)?;
                self.soil(queue)?;
            }
            Job::Commit { transaction, floor, done } => {
                self.transactions.commit(transaction, floor)?;
                if self.flush == Flush::Always {
                    self.dirty.add(self.transactions.take_dirty());
                }
                self.answer_when_safe(done);
            }
            Job::Begin { transaction, done } => {
                self.begin(transaction)?;
                let _ = done.send(());
            }
            Job::Stop { transaction } => {
                self.flush_all()?;
                self.transactions.stop(transaction)?;
                self.transactions.take_dirty().flush(&*self.disk)?;
            }
            Job::Adopt { queue, files } => drop(self.queues.insert(queue, *files)),
            Job::Forget { queue } => {
                self.queues.remove(&queue);
                self.dirty.forget_below(&queue_dir(queue));
                self.disk.remove_dir_all(&queue_dir(queue))?;
            }
            Job::Partition { at, job } => {
                let dirty = (self.flush == Flush::Always).then_some(&mut self.dirty);
                match self.partitions.carry_out(&at, job, dirty)? {
                    After::Nothing => {}
                    After::Tell(stored) => {
                        self.is_awaited = true;
                        self.answers.push(Answer::PartitionStored(stored));
                    }
                    After::TellOfChore(done) => {
                        self.is_awaited = true;
                        self.answers.push(Answer::ChoreDone(done));
                    }
                    After::Done(done) => self.answer_when_safe(done),
                }
            }
            Job::Define { entry, done } => {
                self.definitions.append(&[&entry])?;
                self.soil_definitions();
                self.answer_when_safe(done);
            }
            Job::Redefine { entries } => {
                self.definitions.rewrite(entries)?;
                self.soil_definitions();
            }
            Job::Flush { done } => self.answer_when_safe(done),
        }
        Ok(())
    }

    fn answer_when_safe(&mut self, done: oneshot::Sender<()>) {
        self.is_awaited = true;
        self.answers.push(Answer::Done(done));
    }

    /// Flushes if anybody waits for it or files wait to be removed, then lets them know.
    fn answer(&mut self) -> Result<(), cauce_log::LogError> {
        let due = self.partitions.take_due()?;
        self.is_awaited |= !due.is_empty();
        self.dirty.add(due);
        if mem::take(&mut self.is_awaited) || self.dirty.frees_space() {
            mem::take(&mut self.dirty).flush(&*self.disk)?;
        }
        for answer in self.answers.drain(..) {
            match answer {
                Answer::Stored { mailbox, upto, bytes, reader } => {
                    mailbox.send(QueueCommand::Stored { upto, bytes, reader })
                }
                Answer::PartitionStored(stored) => stored.tell(),
                Answer::ChoreDone(done) => done.tell(),
                Answer::Done(done) => drop(done.send(())),
            }
        }
        Ok(())
    }

    /// Takes note of what was written for a queue.
    fn soil(&mut self, queue: QueueId) -> Result<(), cauce_log::LogError> {
        let files = self.queues.get_mut(&queue).expect("it was written to");
        match self.flush {
            Flush::Always => self.dirty.add(files.take_dirty()?),
            Flush::Os => files.log.remove_retired()?,
        }
        Ok(())
    }

    fn soil_definitions(&mut self) {
        if self.flush == Flush::Always {
            self.dirty.add(self.definitions.take_dirty());
        }
    }

    /// What queues forgot of transactions when they were opened is durable before the numbers of these can count.
    fn begin(&mut self, transaction: u64) -> Result<(), cauce_log::LogError> {
        if self.flush == Flush::Always {
            self.flush_all()?;
        }
        self.transactions.begin(transaction)?;
        if self.flush == Flush::Always {
            self.transactions.take_dirty().flush(&*self.disk)?;
        }
        Ok(())
    }

    fn flush_all(&mut self) -> Result<(), cauce_log::LogError> {
        for files in self.queues.values_mut() {
            self.dirty.add(files.take_dirty()?);
        }
        self.partitions.take_dirty(&mut self.dirty)?;
        self.dirty.add(self.definitions.take_dirty());
        Ok(mem::take(&mut self.dirty).flush(&*self.disk)?)
    }

    fn files(&mut self, queue: QueueId) -> Result<&mut QueueFiles, cauce_log::LogError> {
        use std::collections::hash_map::Entry;
        Ok(match self.queues.entry(queue) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(empty) => {
                empty.insert(QueueFiles::open(&self.disk, queue, self.transactions.committed())?.0)
            }
        })
    }
}

pub(crate) fn queue_dir(queue: QueueId) -> PathBuf {
    Path::new("queues").join(queue.to_string())
}

impl QueueFiles {
    fn open(
        disk: &Arc<dyn Disk>,
        queue: QueueId,
        committed: &Committed,
    ) -> Result<(QueueFiles, Found), cauce_log::LogError> {
        let dir = queue_dir(queue);
        let (log, recovery) = Log::open(disk.clone(), dir.join("log"), LogConfig::default())?;
        let (settled, opened) = SettledFile::open(disk, dir.join("settled"), committed)?;
        Ok((QueueFiles { log, settled }, Found { recovery, settled: opened }))
    }

    fn take_dirty(&mut self) -> Result<Dirty, cauce_log::LogError> {
        let mut dirty = self.log.take_dirty()?;
        dirty.add(self.settled.take_dirty());
        Ok(dirty)
    }

    /// A log that is small is read as quickly.
    fn leave(&mut self, mark: &Mark) -> Result<(), cauce_log::LogError> {
        if self.log.size_bytes() < MARK_LOG_BYTES_MIN {
            return Ok(());
        }
        self.settled.leave(mark, &self.extent())
    }

    fn extent(&self) -> Extent {
        let offsets = self.log.start_offset() as u64..self.log.end_offset() as u64;
        Extent { offsets, bytes: self.log.size_bytes() }
    }

    fn settle(&mut self, notes: Notes, floor: u64) -> Result<(), cauce_log::LogError> {
        self.settled.add(notes, floor)?;
        let end = self.log.end_offset() as u64;
        // An empty log is trimmed only now and then: it costs new files.
        if floor < end || self.log.size_bytes() >= TRIM_ACTIVE_BYTES_MIN {
            self.log.trim_before(floor as i64)?;
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Found {
    recovery: Recovery,
    settled: settled::Opened,
}

impl Found {
    fn reports(&self) -> impl Iterator<Item = &Recovery> {
        [&self.recovery, &self.settled.recovery].into_iter().filter(|report| **report != Recovery::default())
    }
}

/// Says what was found to be damaged since this was last asked.
pub(crate) fn report_damage(queue: &str, reader: &LogReader) {
    for damage in reader.take_damage() {
        tracing::error!(queue, ?damage, "a log is damaged; what it held there is lost");
    }
}

/// What the disk holds of a queue when the node starts.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) files: Box<QueueFiles>,
    pub(crate) reader: LogReader,
    pub(crate) next: u64,
    pub(crate) settled: Settled,
    /// The highest number of a transaction that its journal knows.
    pub(crate) last_transaction: Option<u64>,
    /// Left by the last run, if it ended in order.
    pub(crate) mark: Option<Mark>,
}

impl Recovered {
    /// Messages of transactions that never were committed.
    pub(crate) fn abandon(&mut self, offsets: RangeSet) -> Result<(), cauce_log::LogError> {
        self.files.settled.abandon(offsets)
    }
}

/// Reads what is there of a queue; `None` if nothing ever was.
pub(crate) fn recover(
    disk: &Arc<dyn Disk>,
    queue: QueueId,
    committed: &Committed,
) -> Result<Option<Recovered>, cauce_log::LogError> {
    if disk.list(&queue_dir(queue))?.is_empty() {
        return Ok(None);
    }
    let (files, found) = QueueFiles::open(disk, queue, committed)?;
    for report in found.reports() {
        tracing::warn!(queue, ?report, "a log was not as it was left");
    }
    let settled = files.settled.settled().clone();
    let next = (files.log.end_offset() as u64).max(settled.done.end());
    let is_as_it_was = found.reports().next().is_none();
    let settled::Opened { last_transaction, mark, .. } = found.settled;
    let mark = mark.filter(|(extent, _)| is_as_it_was && *extent == files.extent()).map(|(_, mark)| mark);
    let reader = files.log.reader();
    Ok(Some(Recovered { reader, next, settled, last_transaction, mark, files: Box::new(files) }))
}
