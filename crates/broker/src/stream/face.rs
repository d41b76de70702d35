//! A topic as AMQP has it: published to, counted and consumed like a queue.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use cauce_core::message::{Gauge, Message};
use cauce_core::topic::config::TimestampType;
use cauce_core::topic::{TopicConfig, partition_of};
use cauce_log::{self as log, BatchBuilder, RecordBatch};
use tokio::sync::Semaphore;

use super::checking::CheckedBatch;
use super::handle::{Acks, Appending, PartitionHandle};
use super::mapping::Outgoing;
use super::topics::Topic;
use crate::clock::now_ms;
use crate::limits::MAILBOX_BYTES_MAX;
use crate::queue_handle::{Room, Share, Status, room_bytes};

/// About what a record takes beside a message's bytes: its own header names them again.
const RECORD_OVERHEAD_BYTES: usize = 64;

#[derive(Debug)]
pub struct StreamHandle {
    pub topic: Arc<Topic>,
    /// Bytes that publishers may still have on their way to the log.
    room: Arc<Semaphore>,
    /// Where messages without a key go next.
    turn: AtomicU32,
    consumers: AtomicUsize,
    gauge: Gauge,
}

/// Why a topic does not take a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error(
        "a message of {bytes} bytes is larger than the {most} that max.message.bytes of topic '{topic}' allows"
    )]
    TooLarge { topic: String, bytes: usize, most: usize },
    #[error(
        "topic '{topic}' is compacted and takes no message without a key: publish it through an exchange, with a routing key"
    )]
    NoKey { topic: String },
}

impl StreamHandle {
    pub(crate) fn new(topic: Arc<Topic>, gauge: Gauge) -> Arc<StreamHandle> {
        Arc::new(StreamHandle {
            topic,
            room: Arc::new(Semaphore::new(MAILBOX_BYTES_MAX)),
            turn: AtomicU32::new(0),
            consumers: AtomicUsize::new(0),
            gauge,
        })
    }

    pub fn name(&self) -> &str {
        &self.topic.name
    }

    /// Messages that a consumer could read, and consumers.
    pub fn status(&self) -> Status {
        let partitions = self.topic.partitions();
        let shown = partitions.iter().map(|partition| {
            let extent = partition.extent();
            extent.last_stable.saturating_sub(extent.log_start)
        });
        Status { ready: shown.sum(), held: 0, consumers: self.consumers.load(Ordering::Relaxed) }
    }

    /// Whether a client may publish the message.
    pub fn check(&self, message: &Message<'_>) -> Result<(), Unfit> {
        let config = self.topic.config();
        let (bytes, most) = (bytes_of(message), config.max_message_bytes as usize);
        if bytes > most {
            return Err(Unfit::TooLarge { topic: self.name().to_owned(), bytes, most });
        }
        match takes(&config, &Outgoing::new(*message)) {
            true => Ok(()),
            false => Err(Unfit::NoKey { topic: self.name().to_owned() }),
        }
    }

    /// Hands messages over if not too many are on their way already; otherwise they come back.
    pub(crate) fn try_publish(self: &Arc<Self>, share: Share) -> Result<(), Share> {
        match self.room.clone().try_acquire_many_owned(room_bytes(&share.block)) {
            Ok(permit) => {
                self.publish_in(Some(permit.into()), share);
                Ok(())
            }
            Err(_) => Err(share),
        }
    }

    /// Waits until there is room; who came first gets it first.
    pub(crate) fn room_for(&self, share: &Share) -> impl Future<Output = Room> + Send + use<> {
        let (room, bytes) = (self.room.clone(), room_bytes(&share.block));
        async move { room.acquire_many_owned(bytes).await.expect("nobody closes it").into() }
    }

    /// The order of calls is the order in each partition. Who waits for the messages hears once they are stored.
    pub(crate) fn publish_in(self: &Arc<Self>, room: Option<Room>, share: Share) {
        let appending = self.append(&share);
        let receipts = share.receipts;
        tokio::spawn(async move {
            all_stored(appending).await;
            receipts.answer(true);
            drop(room);
        });
    }

    /// The same, and answers once they are stored.
    pub async fn publish(&self, share: Share) {
        let _room = self.room_for(&share).await;
        all_stored(self.append(&share)).await;
    }

    fn append(&self, share: &Share) -> Vec<Appending> {
        let (partitions, config) = (self.topic.partitions(), self.topic.config());
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut batches = Batches {
            config: &config,
            partitions: &partitions,
            building: HashMap::default(),
            done: Vec::new(),
        };
        for at in 0..share.picks.len() {
            let message = share.block.message(share.picks.index(at));
            let (message, bytes) = (Outgoing::new(message), bytes_of(&message));
            if !takes(&config, &message) {
                tracing::warn!(
                    topic = self.name(),
                    "dropped a message without a key, as the topic is compacted"
                );
                continue;
            }
            let count = partitions.len() as u32;
            let partition = message.key.map_or(turn % count, |key| partition_of(key, count));
            batches.add(partition as usize, &message, bytes);
        }
        let append = |(partition, bytes): (usize, bytes::Bytes)| {
            let charge = Arc::new(self.gauge.charge(bytes.len()));
            let batch = with_time_of(&config, RecordBatch::parse(bytes).expect("just built").0);
            partitions[partition].append(CheckedBatch::own(&batch, charge), None, Acks::All)
        };
        batches.finish().into_iter().map(append).collect()
    }

    pub(super) fn gauge(&self) -> &Gauge {
        &self.gauge
    }

    pub(super) fn consumer_came(&self) {
        self.consumers.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn consumer_left(&self) {
        self.consumers.fetch_sub(1, Ordering::Relaxed);
    }
}

fn takes(config: &TopicConfig, message: &Outgoing<'_>) -> bool {
    !config.cleanup_policy.compact || message.key.is_some()
}

/// An estimate of the record; properties are in it twice, in AMQP's way and in Kafka's.
fn bytes_of(message: &Message<'_>) -> usize {
    let head = message.exchange.len() + message.routing_key.len() + message.envelope.len();
    message.body.len() + 2 * head + RECORD_OVERHEAD_BYTES
}

fn with_time_of(config: &TopicConfig, batch: RecordBatch) -> RecordBatch {
    match config.timestamp_type {
        TimestampType::Create => batch,
        TimestampType::LogAppend => batch.with_time(log::TimestampType::LogAppend, now_ms()),
    }
}

/// A partition that is gone keeps nothing, as a queue that is.
async fn all_stored(appending: Vec<Appending>) {
    for mut one in appending {
        let _ = one.answer().await;
    }
}

/// The messages of a turn as batches, by partition.
struct Batches<'t> {
    config: &'t TopicConfig,
    partitions: &'t [Arc<PartitionHandle>],
    building: HashMap<usize, BatchBuilder, foldhash::fast::RandomState>,
    done: Vec<(usize, bytes::Bytes)>,
}

impl Batches<'_> {
    fn add(&mut self, partition: usize, message: &Outgoing<'_>, bytes: usize) {
        debug_assert!(partition < self.partitions.len());
        let batch = self.building.entry(partition).or_default();
        let timestamp_ms = message.timestamp_ms(self.config);
        if !batch.is_empty() && batch.len_bytes() + bytes > self.config.max_message_bytes as usize {
            self.done.push((partition, batch.finish()));
        }
        if batch.is_empty() {
            batch.start(0, timestamp_ms);
        }
        let offset = batch.record_count() as i64;
        message.push(batch, offset, timestamp_ms);
    }

    fn finish(mut self) -> Vec<(usize, bytes::Bytes)> {
        let last = self.building.iter_mut().map(|(partition, batch)| (*partition, batch.finish()));
        self.done.extend(last);
        self.done
    }
}
