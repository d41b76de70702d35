//! Record batches to be appended. All of a request are checked and handed to their partitions before the next
//! request is looked at, so that they are appended in the order in which they came.

mod admission;

use std::cell::Cell;
use std::sync::Arc;

use bytes::Bytes;
use cauce_broker::clock::now_ms;
use cauce_broker::stream::{
    Acks, AppendAnswer, Appending, BatchRefusal, CheckedBatch, PartitionHandle, Topic, check, check_quickly,
    codec_of,
};
use cauce_core::message::Charge;
use cauce_core::topic::TopicConfig;
use cauce_kafka::ErrorCode;
use cauce_kafka::messages::produce::*;
use cauce_kafka::wire::Records;
use tokio::sync::Semaphore;

use super::{Call, Right, text};
use crate::kafka::error::Coded;

/// From this version on zstd is understood by everybody who may read it (KIP-110).
const ZSTD_SINCE: i16 = 7;

/// Decompressed bytes of a request that are looked through at once. Whatever is beyond is left to threads that may
/// take their time, so that nobody else waits for it.
const QUICK_BYTES: u64 = 4 << 20;

const ZSTD: u8 = 4;

/// One at a time looks through a batch that takes long: it may take 128 MiB.
static SLOW_CHECKS: Semaphore = Semaphore::const_new(1);

/// A produce request whose batches are on their way.
#[derive(Debug)]
pub(in crate::kafka) struct Producing {
    /// Whether the client asked for no answer.
    is_silent: bool,
    response: ProduceResponse,
    /// What is not decided yet, with the place of its answer.
    waiting: Vec<(Place, Appending)>,
}

/// Of an answer: the topic's among all, and the partition's among those of its topic.
type Place = (usize, usize);

/// Returns when all batches are handed over. Those of a transaction may have to be let in first.
pub(in crate::kafka) async fn begin(call: &Call, request: ProduceRequest, charge: &Arc<Charge>) -> Producing {
    let mut quick_bytes = QUICK_BYTES;
    let acks = match request.acks {
        -1 => Ok(Acks::All),
        0 | 1 => Ok(Acks::Written),
        _ => Err(ErrorCode::InvalidRequiredAcks),
    };
    let mut producing =
        Producing { is_silent: request.acks == 0, response: ProduceResponse::default(), waiting: Vec::new() };
    let mut ready = Vec::new();
    for data in request.topic_data {
        let topic =
            call.topic(Right::Write, &data.name, data.topic_id).and_then(|topic| match topic.is_internal() {
                true => Err(ErrorCode::InvalidTopic),
                false => Ok(topic),
            });
        let topic_place = producing.response.responses.len();
        let mut answers = Vec::with_capacity(data.partition_data.len());
        for partition in data.partition_data {
            let index = partition.index;
            match take(call, &topic, partition, acks, charge, &mut quick_bytes).await {
                Ok((partition, batch, acks)) => {
                    ready.push(Ready { place: (topic_place, answers.len()), partition, batch, acks });
                    answers.push(PartitionProduceResponse { index, ..PartitionProduceResponse::default() });
                }
                Err(refused) => answers.push(*refused),
            }
        }
        producing.response.responses.push(TopicProduceResponse {
            name: data.name,
            topic_id: data.topic_id,
            partition_responses: answers,
        });
    }
    let guards = admission::admit(call, request.transactional_id.as_ref(), &ready).await;
    for (Ready { place, partition, batch, acks }, admitted) in ready.into_iter().zip(guards) {
        match admitted {
            Ok(guard) => producing.waiting.push((place, partition.append(batch, guard, acks))),
            Err((code, reason)) => {
                let answer = producing.place(place);
                *answer = refused(answer.index, code);
                answer.error_message = Some(reason);
            }
        }
    }
    producing
}

/// A batch that was checked, with the place of its answer.
struct Ready {
    place: Place,
    partition: Arc<PartitionHandle>,
    batch: CheckedBatch,
    acks: Acks,
}

type Refused = Box<PartitionProduceResponse>;

/// Checks what is for one partition.
async fn take(
    call: &Call,
    topic: &Result<Arc<Topic>, ErrorCode>,
    data: PartitionProduceData,
    acks: Result<Acks, ErrorCode>,
    charge: &Arc<Charge>,
    quick_bytes: &mut u64,
) -> Result<(Arc<PartitionHandle>, CheckedBatch, Acks), Refused> {
    let index = data.index;
    let refuse = |code: ErrorCode| Box::new(refused(index, code));
    let acks = acks.map_err(refuse)?;
    let topic = topic.as_ref().map_err(|code| refuse(*code))?;
    let partition: Arc<PartitionHandle> =
        topic.partition(index).ok_or_else(|| refuse(ErrorCode::UnknownTopicOrPartition))?;
    let records = match data.records {
        Some(Records::Bytes(bytes)) => bytes,
        _ => Default::default(),
    };
    if codec_of(&records) == Some(ZSTD) && call.version < ZSTD_SINCE {
        return Err(refuse(ErrorCode::UnsupportedCompressionType));
    }
    let checked = checked(records, topic.config(), charge, quick_bytes).await;
    let batch = checked.map_err(|refusal| Box::new(refused_batch(index, &refusal)))?;
    Ok((partition, batch, acks))
}

async fn checked(
    records: Bytes,
    config: Arc<TopicConfig>,
    charge: &Arc<Charge>,
    quick_bytes: &mut u64,
) -> Result<CheckedBatch, BatchRefusal> {
    let left = Cell::new(*quick_bytes);
    let quickly = check_quickly(&left, records.clone(), &config, now_ms(), charge);
    *quick_bytes = left.get();
    if let Some(checked) = quickly {
        return checked;
    }
    let charge = charge.clone();
    let turn = SLOW_CHECKS.acquire().await.expect("never closed");
    let slowly = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        check(records, &config, now_ms(), &charge)
    });
    slowly.await.expect("checking a batch does not panic")
}

fn refused(index: i32, code: ErrorCode) -> PartitionProduceResponse {
    PartitionProduceResponse {
        index,
        error_code: code.code(),
        base_offset: -1,
        ..PartitionProduceResponse::default()
    }
}

fn refused_batch(index: i32, refusal: &BatchRefusal) -> PartitionProduceResponse {
    let mut answer = refused(index, refusal.code());
    answer.error_message = Some(text(refusal));
    if let BatchRefusal::InvalidRecord { index, .. } | BatchRefusal::Timestamp { index, .. } = refusal {
        answer.record_errors.push(BatchIndexAndErrorMessage {
            batch_index: *index,
            batch_index_error_message: Some(text(refusal)),
        });
    }
    answer
}

impl Producing {
    /// Waits until all is decided. May be given up and asked again.
    pub(in crate::kafka) async fn done(&mut self) {
        while let Some((place, appending)) = self.waiting.last_mut() {
            let answer = appending.answer().await;
            let place = *place;
            fill(self.place(place), answer);
            self.waiting.pop();
        }
    }

    fn place(&mut self, (topic, partition): Place) -> &mut PartitionProduceResponse {
        &mut self.response.responses[topic].partition_responses[partition]
    }

    /// Once all is decided: the answer, if the client wants one. One that does not can only be told of an error by
    /// closing.
    pub(in crate::kafka) fn answer(self) -> Result<Option<ProduceResponse>, String> {
        if !self.is_silent {
            return Ok(Some(self.response));
        }
        let answers = self.response.responses.iter().flat_map(|topic| &topic.partition_responses);
        match answers.map(|answer| answer.error_code).find(|code| *code != 0) {
            Some(code) => Err(ErrorCode::from_code(code).map_or("", ErrorCode::name).to_owned()),
            None => Ok(None),
        }
    }
}

fn fill(place: &mut PartitionProduceResponse, answer: AppendAnswer) {
    match answer {
        Ok(placed) => {
            place.base_offset = placed.first_offset as i64;
            place.log_append_time_ms = placed.append_time_ms.unwrap_or(-1);
            place.log_start_offset = placed.log_start as i64;
        }
        Err(refusal) => {
            *place = PartitionProduceResponse {
                error_message: Some(text(refusal)),
                ..refused(place.index, refusal.code())
            };
        }
    }
}
