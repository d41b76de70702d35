//! The files of partitions: `topics/<topic>-<partition>/`, laid out as Kafka's. Used by the storage thread, and at start
//! before it runs.
//!
//! A directory is made when the first batch comes. It holds the log, `partition.metadata` (which topic this is, so
//! that what is left of a deleted one is never taken for that of another of its name) and snapshots of what the
//! partition knows beside its bytes.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use cauce_core::partition::TopicPartition;
use cauce_core::producer::{Ending, Producer, ProducerId, TransactionVersion};
use cauce_core::stream::{Marker, Rules, Stream};
use cauce_core::topic::{TopicConfig, TopicId};
use cauce_kafka::internal::control::EndMarker;
use cauce_log::{Dirty, Disk, DiskFile, Log, LogConfig, LogError, LogReader, RecordBatch, Recovery};
use parking_lot::RwLock;
use tokio::sync::oneshot;

use super::checking::header_of;
use super::chores::{ChoreDone, ChoreJob};
use super::flushing::Unflushed;
use super::handle::{PartitionCommand, PartitionMailbox};
use crate::clock::now_ms;

/// Bytes read at a time while what a snapshot does not know is replayed.
const REPLAY_BYTES: usize = 4 << 20;

const METADATA: &str = "partition.metadata";

/// Names a partition's files for the storage thread.
#[derive(Debug)]
pub(crate) struct Location {
    /// Of this run; a topic that comes later under the same name has others.
    pub(crate) number: u64,
    pub(crate) dir: PathBuf,
    topic: TopicId,
    config: RwLock<Arc<TopicConfig>>,
}

impl Location {
    pub(crate) fn new(number: u64, at: &TopicPartition, topic: TopicId, config: &TopicConfig) -> Location {
        Location {
            number,
            dir: topics_dir().join(at.to_string()),
            topic,
            config: RwLock::new(Arc::new(config.clone())),
        }
    }

    /// For a log that is not open yet. One that is gets a [`PartitionJob::Configure`] too.
    pub(crate) fn configure(&self, config: Arc<TopicConfig>) {
        *self.config.write() = config;
    }

    pub(crate) fn config(&self) -> Arc<TopicConfig> {
        self.config.read().clone()
    }

    fn log_config(&self) -> LogConfig {
        log_config(&self.config.read())
    }

    fn metadata(&self) -> String {
        format!("version: 0\ntopic_id: {}\n", base64_of(self.topic))
    }
}

fn log_config(config: &TopicConfig) -> LogConfig {
    let lag_ms = if config.cleanup_policy.compact { config.max_compaction_lag_ms } else { i64::MAX };
    LogConfig {
        segment_bytes: config.segment_bytes as u64,
        index_interval_bytes: config.index_interval_bytes as u32,
        index_bytes_max: config.segment_index_bytes as u64,
        segment_ms: Some(config.segment_ms.min(lag_ms)),
        segment_jitter_ms: config.segment_jitter_ms,
        ..LogConfig::default()
    }
}

pub(crate) fn topics_dir() -> PathBuf {
    PathBuf::from("topics")
}

/// As Kafka writes ids: base64 for URLs, without padding.
fn base64_of(TopicId(bytes): TopicId) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let number = u128::from_be_bytes(bytes);
    let letter = |shift: u32| LETTERS[(number >> shift) as usize & 63] as char;
    let last = LETTERS[(number << 4) as usize & 63] as char;
    (0..21).map(|at| letter(122 - at * 6)).chain([last]).collect()
}

#[derive(Debug)]
pub(crate) enum PartitionJob {
    /// Appends, and tells the mailbox once that is safe; if `tells_written`, also as soon as it is written.
    Append {
        batches: Vec<Bytes>,
        bytes: usize,
        upto: u64,
        tells_written: bool,
        mailbox: PartitionMailbox,
    },
    /// Takes over a log that was recovered.
    Adopt {
        log: Box<Log>,
    },
    /// Keeps what the partition knows of all below the offset.
    Snapshot {
        end: u64,
        snapshot: Vec<u8>,
    },
    Chore(ChoreJob),
    /// Takes up what its location says now.
    Configure,
    /// Deletes the records below the offset.
    Trim {
        before: u64,
    },
    /// Removes all there is.
    Forget {
        done: oneshot::Sender<()>,
    },
}

impl PartitionJob {
    pub(crate) fn bytes(&self) -> usize {
        match self {
            PartitionJob::Append { bytes, .. } => *bytes,
            _ => 0,
        }
    }
}

/// What is told once the batches of a turn are safe.
#[derive(Debug)]
pub(crate) struct Stored {
    mailbox: PartitionMailbox,
    upto: u64,
    bytes: u64,
    reader: LogReader,
}

impl Stored {
    pub(crate) fn tell(self) {
        let Stored { mailbox, upto, bytes, reader } = self;
        mailbox.send(PartitionCommand::Stored { upto, bytes, reader });
    }
}

/// What the storage thread has to do after a job.
pub(crate) enum After {
    Nothing,
    Tell(Stored),
    TellOfChore(ChoreDone),
    Done(oneshot::Sender<()>),
}

/// The open logs of partitions.
#[derive(Debug)]
pub(crate) struct PartitionFiles {
    disk: Arc<dyn Disk>,
    logs: HashMap<u64, Log, foldhash::fast::RandomState>,
    /// What is flushed with all the rest, once: see [`PartitionFiles::take_dirty`].
    unflushed: Vec<Arc<dyn DiskFile>>,
    /// When what is by when to be flushed all the same, and what is now.
    flushing: Unflushed,
    due: Dirty,
}

impl PartitionFiles {
    pub(crate) fn new(disk: Arc<dyn Disk>) -> PartitionFiles {
        PartitionFiles {
            disk,
            logs: HashMap::default(),
            unflushed: Vec::new(),
            flushing: Unflushed::default(),
            due: Dirty::default(),
        }
    }

    /// What was written is to be flushed with `dirty`, if there is one.
    pub(crate) fn carry_out(
        &mut self,
        at: &Location,
        job: PartitionJob,
        mut dirty: Option<&mut Dirty>,
    ) -> Result<After, LogError> {
        match job {
            PartitionJob::Append { batches, bytes, upto, tells_written, mailbox } => {
                let log = self.log(at, dirty.as_deref_mut())?;
                let offsets = log.append_assigning(&batches, None)?;
                assert_eq!(offsets.end as u64, upto, "the log gives the offsets that the partition gave");
                let (reader, messages) = (log.reader(), offsets.end - offsets.start);
                let flushes = dirty.is_some();
                soil(log, dirty)?;
                if !flushes && self.flushing.wrote(at.number, messages, &at.config(), now_ms()) {
                    self.due.add(self.logs.get_mut(&at.number).expect("it was written to").take_dirty()?);
                }
                if tells_written {
                    mailbox.send(PartitionCommand::Written { upto });
                }
                return Ok(After::Tell(Stored { mailbox, upto, bytes: bytes as u64, reader }));
            }
            PartitionJob::Adopt { log } => drop(self.logs.insert(at.number, *log)),
            PartitionJob::Snapshot { end, snapshot } => {
                let log = self.log(at, dirty.as_deref_mut())?;
                log.write_snapshot(end as i64, &snapshot)?;
                soil(log, dirty)?;
            }
            PartitionJob::Chore(job) => {
                let Some(log) = self.logs.get_mut(&at.number) else { return Ok(After::Nothing) };
                let done = job.carry_out(log, &self.disk, dirty.is_some())?;
                soil(log, dirty)?;
                return Ok(After::TellOfChore(done));
            }
            PartitionJob::Configure => {
                if let Some(log) = self.logs.get_mut(&at.number) {
                    log.set_config(at.log_config());
                }
            }
            PartitionJob::Trim { before } => {
                let log = self.log(at, dirty.as_deref_mut())?;
                log.delete_records(before as i64)?;
                soil(log, dirty)?;
            }
            PartitionJob::Forget { done } => {
                self.logs.remove(&at.number);
                self.flushing.forget(at.number);
                self.due.forget_below(&at.dir);
                if let Some(dirty) = dirty {
                    dirty.forget_below(&at.dir);
                }
                self.disk.remove_dir_all(&at.dir)?;
                return Ok(After::Done(done));
            }
        }
        Ok(After::Nothing)
    }

    /// When [`PartitionFiles::take_due`] has something.
    pub(crate) fn next_flush_ms(&self) -> Option<i64> {
        self.flushing.next_ms()
    }

    /// What is to be flushed by now though nobody waits for it.
    pub(crate) fn take_due(&mut self) -> io::Result<Dirty> {
        let mut due = std::mem::take(&mut self.due);
        while let Some(number) = self.flushing.next_ms().and_then(|_| self.flushing.take_due(now_ms())) {
            let log = self.logs.get_mut(&number).expect("it was written to");
            due.add(log.take_dirty()?);
        }
        Ok(due)
    }

    /// Everything that was not flushed yet.
    pub(crate) fn take_dirty(&mut self, dirty: &mut Dirty) -> io::Result<()> {
        self.unflushed.drain(..).for_each(|file| dirty.add_file(file));
        self.logs.values_mut().try_for_each(|log| {
            dirty.add(log.take_dirty()?);
            Ok(())
        })
    }

    fn log(&mut self, at: &Location, dirty: Option<&mut Dirty>) -> Result<&mut Log, LogError> {
        use std::collections::hash_map::Entry;
        match self.logs.entry(at.number) {
            Entry::Occupied(open) => Ok(open.into_mut()),
            Entry::Vacant(empty) => {
                // What may be left of a topic that was deleted a moment before a crash.
                self.disk.remove_dir_all(&at.dir)?;
                let (log, _) = Log::open(self.disk.clone(), at.dir.clone(), at.log_config())?;
                let metadata = self.disk.open(&at.dir.join(METADATA))?;
                metadata.write_all_at(at.metadata().as_bytes(), 0)?;
                match dirty {
                    Some(dirty) => dirty.add_file(metadata),
                    None => self.unflushed.push(metadata),
                }
                Ok(empty.insert(log))
            }
        }
    }
}

fn soil(log: &mut Log, dirty: Option<&mut Dirty>) -> io::Result<()> {
    match dirty {
        Some(dirty) => dirty.add(log.take_dirty()?),
        None => log.remove_retired()?,
    }
    Ok(())
}

/// What the disk holds of a partition when the node starts.
pub(crate) struct Recovered {
    pub(crate) stream: Stream,
    /// `None` if nothing was ever written.
    pub(crate) log: Option<Box<Log>>,
}

pub(crate) fn recover(
    disk: &Arc<dyn Disk>,
    at: &Location,
    rules: Rules,
    now_ms: i64,
) -> Result<Recovered, LogError> {
    if !is_of_topic(&**disk, at)? {
        disk.remove_dir_all(&at.dir)?;
        return Ok(Recovered { stream: Stream::new(rules, 0, now_ms), log: None });
    }
    let (log, report) = Log::open(disk.clone(), at.dir.clone(), at.log_config())?;
    if report != Recovery::default() {
        tracing::warn!(partition = %at.dir.display(), ?report, "a log was not as it was left");
    }
    let reader = log.reader();
    let (start, end) = (log.start_offset() as u64, log.end_offset() as u64);
    let known = from_snapshot(&log, at, rules, now_ms)?;
    let mut stream = known.unwrap_or_else(|| Stream::new(rules, start, now_ms));
    replay(&mut stream, &reader, start, now_ms)?;
    stream.trim(start);
    stream.recovered(end);
    crate::storage::report_damage(&at.dir.to_string_lossy(), &reader);
    Ok(Recovered { stream, log: Some(Box::new(log)) })
}

fn is_of_topic(disk: &dyn Disk, at: &Location) -> io::Result<bool> {
    if !disk.list(&at.dir)?.iter().any(|name| name == METADATA) {
        return Ok(false);
    }
    Ok(read_file(disk, &at.dir.join(METADATA))? == at.metadata().into_bytes())
}

fn read_file(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path)?;
    let mut content = vec![0; file.len()? as usize];
    let read = file.read_at(&mut content, 0)?;
    content.truncate(read);
    Ok(content)
}

/// Batches that the snapshot does not know.
fn replay(stream: &mut Stream, reader: &LogReader, start: u64, now_ms: i64) -> Result<(), LogError> {
    let mut from = stream.end().max(start) as i64;
    loop {
        let batches = reader.read(from, REPLAY_BYTES)?;
        let Some(last) = batches.last() else { return Ok(()) };
        from = last.next_offset();
        for batch in &batches {
            match batch.is_control() {
                false => stream.replay(batch.base_offset() as u64, &header_of(batch), now_ms),
                true => {
                    if let Some(marker) = marker_of(batch) {
                        stream.replay_marker(batch.base_offset() as u64, &marker, now_ms);
                    }
                }
            }
        }
    }
}

/// What a control batch says, if it is one that ends a transaction.
pub(crate) fn marker_of(batch: &RecordBatch) -> Option<Marker> {
    let record = batch.records().next()?.ok()?;
    let (key, value) = (Bytes::copy_from_slice(record.key?), Bytes::copy_from_slice(record.value?));
    let EndMarker { committed, coordinator_epoch } = EndMarker::decode(key, value).ok()??;
    Some(Marker {
        producer: Producer { id: ProducerId(batch.producer_id()), epoch: batch.producer_epoch() },
        ending: if committed { Ending::Commit } else { Ending::Abort },
        coordinator_epoch,
        // It was checked when it was appended; after that the versions do not differ.
        version: TransactionVersion::Classic,
    })
}

/// What the partition knew when it last wrote that down. One that is damaged costs time, nothing else.
fn from_snapshot(log: &Log, at: &Location, rules: Rules, now_ms: i64) -> Result<Option<Stream>, LogError> {
    for offset in log.snapshots().iter().rev() {
        match Stream::from_snapshot(rules, &log.read_snapshot(*offset)?, now_ms) {
            Ok(stream) => return Ok(Some(stream)),
            Err(error) => {
                tracing::warn!(partition = %at.dir.display(), offset, %error, "a snapshot cannot be used");
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_written_as_kafka_does() {
        assert_eq!(base64_of(TopicId([0; 16])), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(base64_of(TopicId([0xff; 16])), "_____________________w");
        assert_eq!(base64_of(TopicId(*b"0123456789abcdef")), "MDEyMzQ1Njc4OWFiY2RlZg");
    }
}
