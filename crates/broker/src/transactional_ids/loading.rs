//! How transactional ids come back: the topic is read from its beginning, and the last record of each counts.

use std::collections::HashMap;

use cauce_core::transaction::{Record, TransactionalId};
use cauce_log::{LogError, RecordBatch};

use super::records::decode;
use crate::stream::{PartitionHandle, Topic};

/// Bytes read at a time.
const READ_BYTES: usize = 1 << 20;

pub(super) type Loaded = HashMap<TransactionalId, Record>;

/// Reads files: this is for a thread that may wait.
pub(super) fn read(topic: &Topic) -> Result<Loaded, LogError> {
    let mut loaded = Loaded::new();
    for partition in topic.partitions().iter() {
        read_partition(partition, &mut loaded)?;
    }
    Ok(loaded)
}

fn read_partition(partition: &PartitionHandle, loaded: &mut Loaded) -> Result<(), LogError> {
    let mut from = partition.extent().log_start;
    loop {
        let batches = partition.read(from, READ_BYTES)?;
        let Some(last) = batches.last() else { return Ok(()) };
        from = last.next_offset() as u64;
        batches.iter().for_each(|batch| take(partition.at.partition, batch, loaded));
    }
}

fn take(partition: i32, batch: &RecordBatch, loaded: &mut Loaded) {
    let slice = |bytes: &[u8]| batch.bytes().slice_ref(bytes);
    for record in batch.records() {
        let offset = batch.base_offset();
        let decoded = match &record {
            Ok(record) => match record.key {
                Some(key) => decode(slice(key), record.value.map(slice)).map_err(|error| error.to_string()),
                None => continue,
            },
            Err(error) => Err(error.to_string()),
        };
        match decoded {
            Ok(Some((id, Some(record)))) => drop(loaded.insert(id, record)),
            Ok(Some((id, None))) => drop(loaded.remove(&id)),
            Ok(None) => {}
            Err(error) => {
                tracing::error!(partition, offset, %error, "a record of transactions cannot be read");
                if record.is_err() {
                    // Nor can those behind it.
                    return;
                }
            }
        }
    }
}
