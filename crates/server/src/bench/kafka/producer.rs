//! A producer's half that one broker leads: fills one batch after the other, each for the next partition.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cauce_core::partition::TopicPartition;
use cauce_kafka::messages::produce::{
    PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData,
};
use cauce_kafka::wire::Records;
use cauce_kafka::{Request, Response};
use tokio::time::{Instant, sleep_until};

use super::Acks;
use super::batch::{Batch, Batching, Stamps};
use super::error::Error;
use crate::bench::latency::Latencies;
use crate::bench::pace::Pace;
use crate::bench::run::Run;
use crate::kafka_client::{ClientError, Connection, check};

/// How often a waiting producer looks whether the run is over.
const PAUSE_MAX: Duration = Duration::from_millis(50);
const TIMEOUT_MS: i32 = 30_000;

pub(super) struct Producer {
    connection: Connection,
    partitions: Vec<TopicPartition>,
    next_partition: usize,
    batch: Batch,
    pace: Pace,
    acks: Acks,
    in_flight_max: usize,
    in_flight: VecDeque<Stamps>,
    latencies: Latencies,
}

impl Producer {
    /// A rate of 0 is as fast as it goes.
    pub(super) fn new(
        connection: Connection,
        partitions: Vec<TopicPartition>,
        batching: Batching,
        rate: u64,
        acks: Acks,
        in_flight_max: u16,
    ) -> Producer {
        Producer {
            connection,
            partitions,
            next_partition: 0,
            batch: Batch::new(batching),
            pace: Pace::new(rate),
            acks,
            in_flight_max: in_flight_max.into(),
            in_flight: VecDeque::new(),
            latencies: Latencies::new(),
        }
    }

    /// Produces until the run says stop and the broker has answered for everything.
    pub(super) async fn produce(mut self, run: Arc<Run>) -> Result<Latencies, Error> {
        let start = Instant::now();
        let mut made = 0;
        loop {
            let is_publishing = run.is_publishing();
            if is_publishing {
                let due = self.pace.due(start.elapsed(), made);
                made += self.batch.fill(due, run.now(), now_ms());
            } else if self.batch.is_empty() && self.in_flight.is_empty() {
                return Ok(self.latencies);
            }
            let leaves = self.batch.is_full()
                || !self.batch.is_empty() && (!is_publishing || Instant::now() >= self.batch.leaves_at());
            let has_room = self.in_flight.len() < self.in_flight_max;
            if leaves && has_room {
                self.send(&run).await?;
                continue;
            }
            let mut wake = Instant::now() + PAUSE_MAX;
            if !self.batch.is_full() && is_publishing {
                wake = wake.min(start + self.pace.next_after(made));
            }
            if !self.batch.is_empty() && has_room {
                wake = wake.min(self.batch.leaves_at());
            }
            tokio::select! {
                answer = self.connection.next(), if !self.in_flight.is_empty() => self.take(answer?, &run)?,
                () = sleep_until(wake) => {}
            }
        }
    }

    async fn send(&mut self, run: &Run) -> Result<(), Error> {
        let place = &self.partitions[self.next_partition];
        self.next_partition = (self.next_partition + 1) % self.partitions.len();
        let (batch, stamps) = self.batch.take();
        let data = PartitionProduceData { index: place.partition, records: Some(Records::Bytes(batch)) };
        let topic = TopicProduceData {
            name: place.topic.to_string().into(),
            partition_data: vec![data],
            ..TopicProduceData::default()
        };
        let request = ProduceRequest {
            acks: self.acks.code(),
            timeout_ms: TIMEOUT_MS,
            topic_data: vec![topic],
            ..ProduceRequest::default()
        };
        self.connection.send(Request::Produce(request)).await?;
        run.published.fetch_add(records(&stamps), Ordering::Relaxed);
        if self.acks != Acks::None {
            self.in_flight.push_back(stamps);
        }
        Ok(())
    }

    fn take(&mut self, answer: Response, run: &Run) -> Result<(), Error> {
        let answer = ProduceResponse::try_from(answer)
            .map_err(|other| ClientError::Nonsense(format!("{:?}", other.api())))?;
        for partition in answer.responses.iter().flat_map(|topic| &topic.partition_responses) {
            let what = || format!("write to partition {}", partition.index);
            check(partition.error_code, partition.error_message.as_ref(), what)?;
        }
        let stamps = self.in_flight.pop_front().unwrap_or_default();
        run.confirmed.fetch_add(records(&stamps), Ordering::Relaxed);
        if run.is_measuring() {
            let now = run.now();
            for (sent_at, count) in stamps {
                self.latencies.record(now.saturating_sub(sent_at), count);
            }
        }
        Ok(())
    }
}

fn records(stamps: &Stamps) -> u64 {
    stamps.iter().map(|(_, count)| count).sum()
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
