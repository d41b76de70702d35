//! Where a consumer is in one partition: what it reads next, of what is committed.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use cauce_core::message::BlockBuilder;
use cauce_core::stream::Aborted;
use cauce_log::{LogError, RecordBatch};
use tokio::sync::Notify;

use super::batch_records::BatchRecords;
use super::handle::PartitionHandle;
use super::mapping::MessageReader;
use super::watch::Watch;
use crate::limits::STREAM_READ_BYTES;

/// Where a consumer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    First,
    /// The last batch.
    Last,
    /// What comes from now on.
    Next,
    /// In a partition: this offset or the first after it that there is.
    Offset(u64),
    /// The first record at this time or later, in milliseconds since 1970-01-01 UTC.
    Time(i64),
}

#[derive(Debug)]
pub(super) struct Cursor {
    pub(super) partition: Arc<PartitionHandle>,
    /// The offset of the next record.
    position: u64,
    /// What was read and not looked at, and the batch that is being looked at.
    batches: VecDeque<RecordBatch>,
    open: Option<BatchRecords>,
    messages: MessageReader,
    _watch: Watch,
}

impl Cursor {
    pub(super) async fn new(
        partition: Arc<PartitionHandle>,
        start: Start,
        messages: MessageReader,
        waiter: &Arc<Notify>,
    ) -> Cursor {
        let watch = partition.watch(waiter);
        let position = position_of(&partition, start).await;
        Cursor { partition, position, batches: VecDeque::new(), open: None, messages, _watch: watch }
    }

    /// The topic has several partitions now: messages say which they are of.
    pub(super) fn tell_partition(&mut self) {
        self.messages.tell_partition(self.partition.at.partition);
    }

    /// Whether there is something to take.
    pub(super) async fn fill(&mut self) -> bool {
        while self.open.is_none() && self.batches.is_empty() {
            let extent = self.partition.extent();
            self.position = self.position.max(extent.log_start);
            if self.position >= extent.last_stable {
                return false;
            }
            let next = self.position..extent.last_stable;
            let Some((offsets, batches)) = read(&self.partition, next).await else { return false };
            self.keep_committed(offsets.clone(), batches).await;
            if self.batches.is_empty() {
                self.position = self.position.max(offsets.end);
            }
        }
        true
    }

    async fn keep_committed(&mut self, offsets: Range<u64>, batches: Vec<RecordBatch>) {
        let transactional = batches.iter().any(|batch| batch.is_transactional() && !batch.is_control());
        let aborted = if transactional { self.partition.aborted(offsets).await } else { Vec::new() };
        let is_for_us = |batch: &RecordBatch| {
            !batch.is_control()
                && !batch.is_empty()
                && batch.next_offset() as u64 > self.position
                && !is_aborted(batch, &aborted)
        };
        self.batches.extend(batches.into_iter().filter(is_for_us));
    }

    /// Adds messages to the block, and their offsets, until there are so many, or so many bytes.
    pub(super) fn take(
        &mut self,
        block: &mut BlockBuilder,
        offsets: &mut Vec<u64>,
        count_max: usize,
        bytes_max: usize,
    ) {
        while offsets.len() < count_max && block.len_bytes() < bytes_max {
            let Some(open) = self.open.as_mut() else {
                let Some(batch) = self.batches.pop_front() else { return };
                let next = batch.next_offset() as u64;
                match BatchRecords::open(batch) {
                    Ok(records) => self.open = Some(records),
                    Err(error) => self.pass(next, &error),
                }
                continue;
            };
            let next = open.batch.next_offset() as u64;
            match open.next() {
                Ok(Some(record)) if (record.offset as u64) < self.position => {}
                Ok(Some(record)) => {
                    self.messages.push(&record, block);
                    offsets.push(record.offset as u64);
                    self.position = record.offset as u64 + 1;
                }
                Ok(None) => {
                    self.position = next;
                    self.open = None;
                }
                Err(error) => {
                    self.pass(next, &error);
                    self.open = None;
                }
            }
        }
    }

    /// What is left of a batch cannot be read: it was checked when it came, so the disk changed it.
    fn pass(&mut self, next: u64, error: &std::io::Error) {
        tracing::error!(partition = %self.partition.at, from = self.position, to = next, %error, "records cannot be read");
        self.position = next;
    }
}

fn is_aborted(batch: &RecordBatch, aborted: &[Aborted]) -> bool {
    let base = batch.base_offset() as u64;
    batch.is_transactional()
        && aborted.iter().any(|transaction| {
            transaction.producer.0 == batch.producer_id()
                && (transaction.first_offset..=transaction.last_offset).contains(&base)
        })
}

/// The next batches, and the offsets they take. Whole ones come, and at least one if there is any.
async fn read(partition: &Arc<PartitionHandle>, next: Range<u64>) -> Option<(Range<u64>, Vec<RecordBatch>)> {
    let reading = partition.clone();
    let read = move || -> Result<_, LogError> {
        let Some(region) = reading.locate(next, STREAM_READ_BYTES)? else { return Ok(None) };
        let content = region.read()?;
        Ok(Some((region.base_offset as u64..region.next_offset as u64, content)))
    };
    // It may wait for the disk.
    match tokio::task::spawn_blocking(read).await.expect("reading does not panic") {
        Ok(found) => found.map(|(offsets, content)| (offsets, batches_of(content))),
        // Deleted a moment ago: there is news of that already.
        Err(LogError::OutOfRange { .. }) => None,
        Err(error) => {
            tracing::error!(partition = %partition.at, %error, "reading a log failed");
            None
        }
    }
}

fn batches_of(mut content: Bytes) -> Vec<RecordBatch> {
    let mut batches = Vec::new();
    while let Ok((batch, rest)) = RecordBatch::parse(std::mem::take(&mut content)) {
        batches.push(batch);
        content = rest;
    }
    batches
}

async fn position_of(partition: &Arc<PartitionHandle>, start: Start) -> u64 {
    let extent = partition.extent();
    let (first, end) = (extent.log_start, extent.last_stable);
    match start {
        Start::First => first,
        Start::Next => end,
        Start::Offset(offset) => offset.max(first),
        Start::Last if first == end => end,
        Start::Last => {
            read(partition, end - 1..end).await.map_or(end, |(offsets, _)| offsets.start.max(first))
        }
        Start::Time(time_ms) => {
            let found = {
                let partition = partition.clone();
                tokio::task::spawn_blocking(move || partition.offset_for_time(time_ms, end)).await
            };
            match found.expect("reading does not panic") {
                Ok(found) => found.map_or(end, |timed| timed.offset),
                Err(error) => {
                    tracing::error!(partition = %partition.at, %error, "finding a time failed");
                    end
                }
            }
        }
    }
}
