//! The storage thread: it alone writes the node's logs, and decides when they are flushed.
//!
//! It takes every job that waits, writes them all, flushes once for all that asked, then answers. While
//! one flush runs the next batch gathers, so the cost of a flush is shared by whoever came meanwhile.
//! A failed write or flush ends the process: afterwards nobody knows what the disk holds.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use bytes::Bytes;
use cauce_core::message::Charge;
use cauce_core::range_set::RangeSet;
use cauce_log::{Disk, DiskFile, Journal, Log, LogConfig, LogReader, Recovery};
use tokio::sync::oneshot;

use crate::limits::{STORAGE_BATCH_BYTES, TRIM_ACTIVE_BYTES_MIN};
use crate::mark::Mark;
use crate::queue_handle::{Mailbox, QueueCommand};

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
    Append { queue: QueueId, batches: Vec<Bytes>, charge: Charge, promised: bool, upto: u64, mailbox: Mailbox },
    /// Remembers that these messages are done; below `floor` all are.
    Settle { queue: QueueId, offsets: Vec<Range<u64>>, floor: u64 },
    /// Deletes all there is of the queue.
    Forget { queue: QueueId },
    /// Leaves a mark for the next start; the end of the log is filled in.
    Mark { queue: QueueId, mark: Mark },
    /// Takes over the files of a queue that was recovered.
    Adopt { queue: QueueId, files: Box<QueueFiles> },
    /// Appends to the definitions.
    Define { entry: Vec<u8>, done: oneshot::Sender<()> },
    /// Replaces the definitions by this snapshot.
    Redefine { entries: Vec<Vec<u8>> },
    /// Answers when all before is as safe as it gets.
    Flush { done: oneshot::Sender<()> },
}

/// The way to the storage thread. It ends when the last handle is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Storage {
    jobs: Sender<Job>,
}

impl Storage {
    pub(crate) fn start(disk: Arc<dyn Disk>, definitions: Journal, flush: Flush) -> Storage {
        let (jobs, inbox) = channel();
        let worker = Worker {
            disk,
            flush,
            definitions,
            queues: HashMap::default(),
            dirty: HashMap::default(),
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
    queues: HashMap<QueueId, QueueFiles, foldhash::fast::RandomState>,
    /// By address, so that each is flushed once.
    dirty: HashMap<usize, Arc<dyn DiskFile>, foldhash::fast::RandomState>,
    answers: Vec<Answer>,
    /// Whether any of the answers says that something is safe.
    is_awaited: bool,
}

impl Worker {
    fn run(mut self, inbox: &Receiver<Job>) {
        while let Ok(first) = inbox.recv() {
            if let Err(error) = self.turn(first, inbox) {
                tracing::error!(%error, "writing to the data directory failed; stopping, so as not to guess what it holds");
                std::process::exit(1);
            }
        }
    }

    fn turn(&mut self, first: Job, inbox: &Receiver<Job>) -> Result<(), cauce_log::LogError> {
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(job) = next {
            if let Job::Append { charge, .. } = &job {
                bytes += charge.bytes();
            }
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
                let dirty = files.log.take_dirty();
                self.soil(dirty);
                self.is_awaited |= promised;
                self.answers.push(Answer::Stored { mailbox, upto, bytes: charge.bytes(), reader });
            }
            Job::Settle { queue, offsets, floor } => {
                let files = self.files(queue)?;
                files.settle(offsets, floor)?;
                let dirty = files.settled.journal.take_dirty();
                self.soil(dirty);
            }
            Job::Mark { queue, mut mark } => {
                mark.end = self.files(queue)?.log.end_offset() as u64;
                mark.write(&self.disk, queue)?;
            }
            Job::Adopt { queue, files } => drop(self.queues.insert(queue, *files)),
            Job::Forget { queue } => {
                self.queues.remove(&queue);
                self.disk.remove_dir_all(&queue_dir(queue))?;
            }
            Job::Define { entry, done } => {
                self.definitions.append(&[&entry])?;
                let dirty = self.definitions.take_dirty();
                self.soil(dirty);
                self.is_awaited = true;
                self.answers.push(Answer::Done(done));
            }
            Job::Redefine { entries } => self.definitions.rewrite(entries)?,
            Job::Flush { done } => {
                self.is_awaited = true;
                self.answers.push(Answer::Done(done));
            }
        }
        Ok(())
    }

    /// Flushes if anybody waits for it, then lets them know.
    fn answer(&mut self) -> Result<(), cauce_log::LogError> {
        if self.answers.is_empty() {
            return Ok(());
        }
        if self.flush == Flush::Os {
            self.dirty.clear();
        } else if std::mem::take(&mut self.is_awaited) {
            let files: Vec<_> = self.dirty.drain().map(|(_, file)| file).collect();
            self.disk.sync(&files)?;
        }
        for answer in self.answers.drain(..) {
            match answer {
                Answer::Stored { mailbox, upto, bytes, reader } => {
                    mailbox.send(QueueCommand::Stored { upto, bytes, reader })
                }
                Answer::Done(done) => drop(done.send(())),
            }
        }
        Ok(())
    }

    fn soil(&mut self, files: Vec<Arc<dyn DiskFile>>) {
        self.dirty.extend(files.into_iter().map(|file| (Arc::as_ptr(&file).addr(), file)));
    }

    fn files(&mut self, queue: QueueId) -> Result<&mut QueueFiles, cauce_log::LogError> {
        use std::collections::hash_map::Entry;
        Ok(match self.queues.entry(queue) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(empty) => empty.insert(QueueFiles::open(&self.disk, queue)?.0),
        })
    }
}

pub(crate) fn queue_dir(queue: QueueId) -> PathBuf {
    Path::new("queues").join(queue.to_string())
}

impl QueueFiles {
    fn open(disk: &Arc<dyn Disk>, queue: QueueId) -> Result<(QueueFiles, Found), cauce_log::LogError> {
        let dir = queue_dir(queue);
        let (log, recovery) = Log::open(disk.clone(), dir.join("log"), LogConfig::default())?;
        let (settled, settled_recovery) = SettledFile::open(disk, dir.join("settled"))?;
        let reports = [recovery, settled_recovery];
        Ok((QueueFiles { log, settled }, Found { reports }))
    }

    fn settle(&mut self, offsets: Vec<Range<u64>>, floor: u64) -> Result<(), cauce_log::LogError> {
        self.settled.add(offsets, floor)?;
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
    reports: [Recovery; 2],
}

/// Which offsets of a queue are done: a journal of ranges, each a pair of big-endian u64.
#[derive(Debug)]
struct SettledFile {
    journal: Journal,
    /// What a rewrite of the journal would say.
    offsets: RangeSet,
}

impl SettledFile {
    fn open(disk: &Arc<dyn Disk>, dir: PathBuf) -> Result<(SettledFile, Recovery), cauce_log::LogError> {
        let (journal, entries, recovery) = Journal::open(disk.clone(), dir)?;
        let mut offsets = RangeSet::new();
        for entry in entries {
            for pair in entry.chunks_exact(16) {
                let number =
                    |at: usize| u64::from_be_bytes(pair[at..at + 8].try_into().expect("eight bytes"));
                offsets.insert_range(number(0)..number(8));
            }
        }
        Ok((SettledFile { journal, offsets }, recovery))
    }

    fn add(&mut self, added: Vec<Range<u64>>, floor: u64) -> Result<(), cauce_log::LogError> {
        let entry: Vec<u8> = added.iter().flat_map(encode).collect();
        self.journal.append(&[&entry])?;
        for range in added {
            self.offsets.insert_range(range);
        }
        self.offsets.insert_range(0..floor);
        if self.journal.should_rewrite() {
            let snapshot: Vec<u8> = self.offsets.runs().flat_map(|run| encode(&run)).collect();
            self.journal.rewrite([snapshot])?;
        }
        Ok(())
    }
}

fn encode(range: &Range<u64>) -> [u8; 16] {
    let mut pair = [0; 16];
    pair[..8].copy_from_slice(&range.start.to_be_bytes());
    pair[8..].copy_from_slice(&range.end.to_be_bytes());
    pair
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
    pub(crate) settled: RangeSet,
    pub(crate) mark: Option<Mark>,
}

/// Reads what is there of a queue; `None` if nothing ever was.
pub(crate) fn recover(
    disk: &Arc<dyn Disk>,
    queue: QueueId,
) -> Result<Option<Recovered>, cauce_log::LogError> {
    if disk.list(&queue_dir(queue))?.is_empty() {
        return Ok(None);
    }
    let mark = Mark::take(disk, queue)?;
    let (files, found) = QueueFiles::open(disk, queue)?;
    for report in found.reports.iter().filter(|report| **report != Recovery::default()) {
        tracing::warn!(queue, ?report, "a log was not as it was left");
    }
    let settled = files.settled.offsets.clone();
    let past_settled = settled.runs().next_back().map_or(0, |run| run.end);
    let next = (files.log.end_offset() as u64).max(past_settled);
    let mark = mark.filter(|mark| mark.end == files.log.end_offset() as u64);
    Ok(Some(Recovered { reader: files.log.reader(), next, settled, mark, files: Box::new(files) }))
}
