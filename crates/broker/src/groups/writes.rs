//! Records of groups on their way to the log.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use cauce_core::group::{GroupRecord, WriteId};
use cauce_core::producer::{Producer, ProducerId};
use cauce_core::stream::Guard;
use cauce_log::{BatchBuilder, RecordBatch};
use tokio::sync::oneshot;

use super::GroupId;
use super::records::encode;
use crate::limits::GROUP_BATCH_BYTES_MAX;
use crate::node::Node;
use crate::stream::{Acks, Appending, CheckedBatch};

/// Attributes of a batch that is part of a transaction.
const TRANSACTIONAL: i16 = 1 << 4;

/// Records to be written together.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) group: GroupId,
    pub(super) id: WriteId,
    /// With what its partition gave for it, if it is the first of its transaction there.
    pub(super) producer: Option<(Producer, Option<Guard>)>,
    pub(super) records: Vec<GroupRecord>,
    /// Dropped when all that hold it are written.
    pub(super) hold: Option<Arc<oneshot::Sender<()>>>,
}

/// What became of a write.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) group: GroupId,
    pub(super) id: WriteId,
    pub(super) stored: bool,
    /// Of a transaction, and the partition it wrote to.
    pub(super) transaction: Option<(i32, ProducerId)>,
    _hold: Option<Arc<oneshot::Sender<()>>>,
}

#[derive(Debug)]
struct UnderWay {
    written: Written,
    /// `None` if it could not be handed over.
    appending: Option<Appending>,
}

/// Those under way, for each partition of the offsets topic in their order.
#[derive(Debug, Default)]
pub(super) struct Writes {
    under_way: BTreeMap<i32, VecDeque<UnderWay>>,
    builder: BatchBuilder,
}

impl Writes {
    pub(super) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Begins a write. A node that is gone writes nothing.
    pub(super) fn begin(&mut self, node: Option<&Node>, write: Write, now_ms: i64) {
        let partition = node.map_or(0, |node| node.offsets_partition(&write.group).partition);
        let appending = node.and_then(|node| self.append(node, partition, &write, now_ms));
        let Write { group, id, producer, hold, .. } = write;
        let transaction = producer.map(|(producer, _)| (partition, producer.id));
        // Until it is.
        let written = Written { group, id, stored: false, transaction, _hold: hold };
        self.under_way.entry(partition).or_default().push_back(UnderWay { written, appending });
    }

    fn append(&mut self, node: &Node, partition: i32, write: &Write, now_ms: i64) -> Option<Appending> {
        let topic = match node.offsets_topic() {
            Ok(topic) => topic,
            Err(error) => {
                tracing::error!(%error, "the topic of groups cannot be made: nothing is written of any group");
                return None;
            }
        };
        let partition = topic.partition(partition).expect("partitions stay once there are so many");
        let bytes = self.encode(write, now_ms);
        if bytes.len() > GROUP_BATCH_BYTES_MAX {
            let (group, bytes) = (&write.group, bytes.len());
            tracing::error!(%group, bytes, "more than {GROUP_BATCH_BYTES_MAX} bytes of a group are not written");
            return None;
        }
        let charge = Arc::new(node.memory().gauge().charge(bytes.len()));
        let (batch, _) = RecordBatch::parse(bytes).expect("it was just made");
        let guard = write.producer.and_then(|(_, guard)| guard);
        Some(partition.append(CheckedBatch::own(&batch, charge), guard, Acks::All))
    }

    fn encode(&mut self, write: &Write, now_ms: i64) -> Bytes {
        let builder = &mut self.builder;
        builder.start(0, now_ms);
        if let Some((producer, _)) = write.producer {
            builder.set_producer(producer.id.0, producer.epoch, -1);
            builder.set_attributes(TRANSACTIONAL);
        }
        for (offset, record) in write.records.iter().enumerate() {
            let (key, value) = encode(&write.group, record);
            let value = value.as_deref();
            builder.push(offset as i64, now_ms, Some(&key), value.as_ref().map(std::slice::from_ref), &[]);
        }
        builder.finish()
    }

    /// Waits for the next that ends; for ever if there is none. May be given up.
    pub(super) async fn next_written(&mut self) -> Written {
        poll_fn(|context| self.poll(context)).await
    }

    /// One that has ended.
    pub(super) fn take_written(&mut self) -> Option<Written> {
        match self.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(written) => Some(written),
            Poll::Pending => None,
        }
    }

    /// A partition answers in order: the first of each is the one to look at.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Written> {
        for (partition, queue) in &mut self.under_way {
            let first = queue.front_mut().expect("partitions without writes are taken out");
            let stored = match &mut first.appending {
                None => false,
                Some(appending) => match pin!(appending.answer()).poll(context) {
                    Poll::Pending => continue,
                    Poll::Ready(Ok(_)) => true,
                    Poll::Ready(Err(error)) => {
                        tracing::warn!(group = %first.written.group, %error, "a group could not be written");
                        false
                    }
                },
            };
            let UnderWay { written, .. } = queue.pop_front().expect("it was just seen");
            if queue.is_empty() {
                let partition = *partition;
                self.under_way.remove(&partition);
            }
            return Poll::Ready(Written { stored, ..written });
        }
        Poll::Pending
    }
}
