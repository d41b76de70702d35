//! How groups come back: the offsets topic is read from its beginning, and the last word on each thing counts.

use std::collections::{HashMap, HashSet};

use cauce_core::group::{Restoring, Rules, Stored};
use cauce_core::producer::{Ending, ProducerId};
use cauce_log::{LogError, Record, RecordBatch};

use super::GroupId;
use super::records::decode;
use crate::stream::{PartitionHandle, Topic, marker_of};

/// Bytes read at a time.
const READ_BYTES: usize = 1 << 20;

/// The groups with offsets in transactions that are open, by the partition they are in and the producer.
pub(super) type OpenTransactions = HashMap<(i32, ProducerId), HashSet<GroupId>>;

/// What the topic holds.
#[derive(Debug)]
pub(super) struct Loaded {
    rules: Rules,
    now_ms: i64,
    pub(super) groups: HashMap<GroupId, Restoring>,
    pub(super) open: OpenTransactions,
}

impl Loaded {
    pub(super) fn nothing(rules: Rules, now_ms: i64) -> Loaded {
        Loaded { rules, now_ms, groups: HashMap::new(), open: HashMap::new() }
    }

    /// Reads files: this is for a thread that may wait.
    pub(super) fn read(topic: &Topic, rules: Rules, now_ms: i64) -> Result<Loaded, LogError> {
        let mut loaded = Loaded::nothing(rules, now_ms);
        for partition in topic.partitions().iter() {
            loaded.read_partition(partition)?;
        }
        Ok(loaded)
    }

    fn read_partition(&mut self, partition: &PartitionHandle) -> Result<(), LogError> {
        let mut from = partition.extent().log_start;
        loop {
            let batches = partition.read(from, READ_BYTES)?;
            let Some(last) = batches.last() else { return Ok(()) };
            from = last.next_offset() as u64;
            batches.iter().for_each(|batch| self.take(partition.at.partition, batch));
        }
    }

    fn take(&mut self, partition: i32, batch: &RecordBatch) {
        if batch.is_control() {
            if let Some(marker) = marker_of(batch) {
                self.end_transaction(partition, marker.producer.id, marker.ending);
            }
            return;
        }
        for record in batch.records() {
            match record {
                Ok(record) => self.take_record(partition, batch, &record),
                Err(error) => {
                    let offset = batch.base_offset();
                    return tracing::error!(partition, offset, %error, "a record of groups cannot be read");
                }
            }
        }
    }

    fn take_record(&mut self, partition: i32, batch: &RecordBatch, record: &Record<'_>) {
        let slice = |bytes: &[u8]| batch.bytes().slice_ref(bytes);
        let Some(key) = record.key.map(slice) else { return };
        let (group, said) = match decode(key, record.value.map(slice)) {
            Ok(Some(known)) => known,
            Ok(None) => return,
            Err(error) => {
                let offset = record.offset;
                return tracing::error!(partition, offset, %error, "a record of groups cannot be read");
            }
        };
        let stored = match batch.is_transactional() {
            false => Stored::Record(said),
            true => {
                let producer = ProducerId(batch.producer_id());
                self.open.entry((partition, producer)).or_default().insert(group.clone());
                Stored::InTransaction(producer, said)
            }
        };
        self.group(group).replay(stored);
    }

    fn end_transaction(&mut self, partition: i32, producer: ProducerId, ending: Ending) {
        for group in self.open.remove(&(partition, producer)).unwrap_or_default() {
            let committed = ending == Ending::Commit;
            self.group(group).replay(Stored::TransactionEnded { producer, committed });
        }
    }

    fn group(&mut self, id: GroupId) -> &mut Restoring {
        self.groups.entry(id).or_insert_with(|| Restoring::new(self.rules, self.now_ms))
    }
}
