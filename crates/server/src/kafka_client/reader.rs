//! Reads partitions that one broker leads, each from its position on.

use std::time::Duration;

use cauce_core::partition::TopicPartition;
use cauce_kafka::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use cauce_kafka::wire::Records;
use cauce_log::Record;

use tokio::time::{Instant, sleep};

use super::client::READY_AGAIN_AFTER;
use super::connection::Connection;
use super::error::{ClientError, check};
use super::records::for_each_record;

/// How long the leader of a partition may not know yet that it is.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy)]
pub(crate) struct FetchLimits {
    /// How long the broker waits for something to send.
    pub(crate) wait_ms_max: i32,
    pub(crate) bytes_max: i32,
    pub(crate) partition_bytes_max: i32,
    /// Leave out what is not committed.
    pub(crate) committed_only: bool,
}

/// Where reading goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) place: TopicPartition,
    pub(crate) offset: i64,
}

#[derive(Debug)]
pub(crate) struct Reader {
    connection: Connection,
    positions: Vec<Position>,
    limits: FetchLimits,
    /// Since when a partition has no leader here.
    without_leader_since: Option<Instant>,
}

impl Reader {
    /// All positions are of one topic.
    pub(crate) fn new(connection: Connection, positions: Vec<Position>, limits: FetchLimits) -> Reader {
        Reader { connection, positions, limits, without_leader_since: None }
    }

    pub(crate) fn positions(&self) -> &[Position] {
        &self.positions
    }

    /// Asks once, and calls `each` with what has come; with nothing if nothing came in time. To be dropped, if at all,
    /// for good.
    pub(crate) async fn read(
        &mut self,
        mut each: impl FnMut(&TopicPartition, &Record<'_>),
    ) -> Result<(), ClientError> {
        let response: FetchResponse = self.connection.call(self.request()).await?;
        check(response.error_code, None, || "fetch".to_owned())?;
        let mut leads_all = true;
        for found in response.responses.into_iter().flat_map(|topic| topic.partitions) {
            let position = self.positions.iter_mut().find(|of| of.place.partition == found.partition_index);
            let Some(Position { place, offset }) = position else { continue };
            match check(found.error_code, None, || format!("fetch of {place} from offset {offset} on")) {
                Ok(()) => {}
                Err(error) if error.passes() => {
                    leads_all = false;
                    if self.without_leader_since.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                        return Err(error);
                    }
                    continue;
                }
                Err(error) => return Err(error),
            }
            let Some(Records::Bytes(records)) = found.records else { continue };
            let aborted = match self.limits.committed_only {
                true => found.aborted_transactions.unwrap_or_default(),
                false => Vec::new(),
            };
            let read = for_each_record(records, *offset, aborted, |record| each(place, record));
            *offset =
                read.map_err(|error| ClientError::Records { place: place.clone(), offset: *offset, error })?;
        }
        match leads_all {
            true => self.without_leader_since = None,
            false => sleep(READY_AGAIN_AFTER).await,
        }
        // The broker serves in this order, so that the first is not always the same.
        self.positions.rotate_left(1);
        Ok(())
    }

    fn request(&self) -> FetchRequest {
        let partitions = self.positions.iter().map(|position| FetchPartition {
            partition: position.place.partition,
            fetch_offset: position.offset,
            partition_max_bytes: self.limits.partition_bytes_max,
            ..FetchPartition::default()
        });
        let topics = self.positions.first().map(|first| FetchTopic {
            topic: first.place.topic.to_string().into(),
            partitions: partitions.collect(),
            ..FetchTopic::default()
        });
        FetchRequest {
            max_wait_ms: self.limits.wait_ms_max,
            min_bytes: 1,
            max_bytes: self.limits.bytes_max,
            isolation_level: self.limits.committed_only.into(),
            topics: topics.into_iter().collect(),
            ..FetchRequest::default()
        }
    }
}
