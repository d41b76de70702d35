//! Transactional producers and those who read what they commit, as clients play them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use cauce_broker::Node;
use cauce_broker::clock::now_ms;
use cauce_broker::stream::{Acks, AppendRefusal, PartitionHandle, check};
use cauce_broker::transactional_ids::{AdmissionRefusal, Candidate, TransactionalError};
use cauce_core::group::Commit;
use cauce_core::partition::TopicPartition;
use cauce_core::producer::{Ending, Producer, ProducerId, TransactionVersion};
use cauce_core::stream::{Isolation, Sender};
use cauce_log::{BatchBuilder, RecordBatch};

use crate::members::{commit, group};

const TRANSACTIONAL: i16 = 1 << 4;

/// Time enough for tests that do not wait.
pub(crate) const TIMEOUT_MS: i32 = 60_000;

#[derive(Debug)]
pub(crate) struct Client {
    id: Arc<str>,
    version: TransactionVersion,
    timeout_ms: i32,
    pub(crate) producer: Producer,
    /// What is due in each partition.
    sequences: HashMap<TopicPartition, i32>,
}

impl Client {
    pub(crate) fn new(id: &str, version: TransactionVersion) -> Client {
        let producer = Producer { id: ProducerId(-1), epoch: -1 };
        Client { id: id.into(), version, timeout_ms: TIMEOUT_MS, producer, sequences: HashMap::new() }
    }

    pub(crate) fn with_timeout(self, timeout_ms: i32) -> Client {
        Client { timeout_ms, ..self }
    }

    pub(crate) async fn init(&mut self, node: &Node) -> Result<(), TransactionalError> {
        self.producer = node.transactional_ids().init(self.id.clone(), self.timeout_ms, None).await?;
        self.sequences.clear();
        Ok(())
    }

    pub(crate) async fn write(
        &mut self,
        node: &Node,
        partition: &Arc<PartitionHandle>,
        value: u64,
    ) -> Result<(), AdmissionRefusal> {
        self.add(node, &partition.at).await?;
        let sequence = self.sequences.entry(partition.at.clone()).or_default();
        let bytes = batch(self.producer, *sequence, value);
        let topic = node.topics().get(&partition.at.topic).expect("it is there");
        let charge = Arc::new(node.memory().gauge().charge(bytes.len()));
        let batch = check(bytes, &topic.config(), now_ms(), &charge).expect("a batch as it must be");
        let candidate =
            Candidate { partition: partition.clone(), sender: batch.sender().expect("a producer's") };
        let guard = node.admit(&self.id, self.version, &[candidate]).await.remove(0)?;
        partition.append(batch, guard, Acks::All).answer().await?;
        *sequence += 1;
        Ok(())
    }

    /// How far the group has read counts when the transaction is committed.
    pub(crate) async fn commit_offset(
        &mut self,
        node: &Node,
        name: &str,
        offset: i64,
    ) -> Result<(), AdmissionRefusal> {
        let at = node.offsets_partition(name);
        self.add(node, &at).await?;
        let partition = node.offsets_topic().expect("it can be made").partition(at.partition);
        let sender = Sender { producer: self.producer, first_sequence: None, transactional: true };
        let candidate = Candidate { partition: partition.expect("it has those of groups"), sender };
        let guard = node.admit(&self.id, self.version, &[candidate]).await.remove(0)?;
        let commit = Commit { producer: Some(self.producer), ..commit(None, None, offset) };
        node.groups().commit(group(name), commit, guard).await.expect("anybody may");
        Ok(())
    }

    /// Clients of the newer rules do not.
    async fn add(&self, node: &Node, at: &TopicPartition) -> Result<(), TransactionalError> {
        match self.version {
            TransactionVersion::EpochPerTransaction => Ok(()),
            TransactionVersion::Classic => {
                let ids = node.transactional_ids();
                ids.add(self.id.clone(), self.producer, vec![at.clone()], self.version).await
            }
        }
    }

    pub(crate) async fn end(&mut self, node: &Node, ending: Ending) -> Result<(), TransactionalError> {
        let ids = node.transactional_ids();
        let next = ids.end(self.id.clone(), self.producer, ending, self.version).await?;
        if next != self.producer {
            self.sequences.clear();
        }
        self.producer = next;
        Ok(())
    }
}

/// One record that says a number.
pub(crate) fn batch(producer: Producer, sequence: i32, value: u64) -> Bytes {
    let mut builder = BatchBuilder::new();
    let now_ms = now_ms();
    builder.start(0, now_ms);
    builder.set_producer(producer.id.0, producer.epoch, sequence);
    builder.set_attributes(TRANSACTIONAL);
    builder.push(0, now_ms, None, Some(&[&value.to_be_bytes()]), &[]);
    builder.finish()
}

/// Why a write is refused.
pub(crate) fn is_stale(refusal: &AdmissionRefusal) -> bool {
    use cauce_core::stream::AppendError;
    matches!(refusal, AdmissionRefusal::Partition(AppendRefusal::Batch(AppendError::StaleEpoch { .. })))
}

/// What somebody reads who wants to see what is committed, and nothing else.
pub(crate) async fn read_committed(partition: &PartitionHandle) -> Vec<u64> {
    let end = partition.extent().visible_end(Isolation::Committed);
    let mut aborted = partition.aborted(0..end).await;
    aborted.sort_unstable_by_key(|aborted| aborted.first_offset);
    let mut aborted = aborted.into_iter().peekable();
    let mut being_aborted = BTreeSet::new();
    let mut values = Vec::new();
    for batch in batches(partition, end) {
        while let Some(next) = aborted.next_if(|next| next.first_offset <= batch.last_offset() as u64) {
            being_aborted.insert(next.producer.0);
        }
        if batch.is_control() {
            being_aborted.remove(&batch.producer_id());
        } else if !being_aborted.contains(&batch.producer_id()) {
            values.extend(batch.records().map(|record| number(record.expect("it reads").value)));
        }
    }
    values
}

fn batches(partition: &PartitionHandle, end: u64) -> Vec<RecordBatch> {
    let region = partition.locate(0..end, usize::MAX).expect("the log reads");
    let Some(mut left) = region.map(|region| region.read().expect("the log reads")) else {
        return Vec::new();
    };
    let mut batches = Vec::new();
    while !left.is_empty() {
        let (batch, rest) = RecordBatch::parse(left).expect("batches come whole");
        batches.push(batch);
        left = rest;
    }
    batches
}

fn number(value: Option<&[u8]>) -> u64 {
    u64::from_be_bytes(value.expect("a value").try_into().expect("a number"))
}
