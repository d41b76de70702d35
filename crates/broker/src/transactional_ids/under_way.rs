//! Records and markers on their way to the log, and producer ids on their way from it.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use cauce_core::partition::TopicPartition;
use cauce_core::stream::Marker;
use cauce_core::transaction::{Record, Ticket, TransactionalId};
use cauce_kafka::internal::coordinating_partition;
use cauce_log::{BatchBuilder, RecordBatch};
use tokio::task::JoinSet;

use super::records::encode;
use crate::node::Node;
use crate::stream::{Acks, CheckedBatch};

/// What was done.
#[derive(Debug)]
pub(super) enum Report {
    Persisted { ticket: Ticket, id: TransactionalId },
    Marked { id: TransactionalId, marker: Marker, at: TopicPartition },
    Reserved(Range<i64>),
}

#[derive(Debug, Default)]
pub(super) struct UnderWay {
    tasks: JoinSet<Report>,
    builder: BatchBuilder,
}

impl UnderWay {
    /// The next thing that is done; `None` if nothing is under way. May be given up.
    pub(super) async fn next(&mut self) -> Option<Report> {
        Some(self.tasks.join_next().await?.expect("these tasks do not fail, and nobody ends them"))
    }

    pub(super) fn persist(
        &mut self,
        node: &Node,
        ticket: Ticket,
        id: TransactionalId,
        record: Option<&Record>,
        now_ms: i64,
    ) {
        let topic = node.transactions_topic().expect("there is none without the topic, which stays");
        let partition = coordinating_partition(&id, topic.partitions().len() as i32);
        let partition = topic.partition(partition).expect("it was just counted");
        let bytes = self.encode(&id, record, now_ms);
        let charge = Arc::new(node.memory().gauge().charge(bytes.len()));
        let (batch, _) = RecordBatch::parse(bytes).expect("it was just made");
        let mut appending = partition.append(CheckedBatch::own(&batch, charge), None, Acks::All);
        self.tasks.spawn(async move {
            match appending.answer().await {
                Ok(_) => Report::Persisted { ticket, id },
                // Such a batch is not refused, and the topic is not deleted: the node ends.
                Err(_) => std::future::pending().await,
            }
        });
    }

    fn encode(&mut self, id: &TransactionalId, record: Option<&Record>, now_ms: i64) -> Bytes {
        let (key, value) = encode(id, record);
        self.builder.start(0, now_ms);
        let value = value.as_deref();
        self.builder.push(0, now_ms, Some(&key), value.as_ref().map(std::slice::from_ref), &[]);
        self.builder.finish()
    }

    pub(super) fn mark(&mut self, node: &Node, id: TransactionalId, marker: Marker, at: TopicPartition) {
        let partition = node.topics().get(&at.topic).and_then(|topic| topic.partition(at.partition));
        let appending = partition.map(|partition| partition.end_transaction(marker));
        self.tasks.spawn(async move {
            // There is nothing to end in a partition that is gone.
            if let Some(mut appending) = appending
                && let Err(error) = appending.answer().await
            {
                tracing::warn!(%id, %at, %error, "a transaction could not be ended");
            }
            Report::Marked { id, marker, at }
        });
    }

    pub(super) fn reserve_ids(&mut self, node: &Node) {
        let reserving = node.reserve_producer_ids();
        self.tasks.spawn(async { Report::Reserved(reserving.await) });
    }
}
