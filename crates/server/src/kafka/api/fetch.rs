//! Record batches from given offsets on. Whoever wants more than there is waits, and is woken when it comes.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use cauce_broker::stream::{Extent, PartitionHandle};
use cauce_core::stream::{Isolation, check_leader_epoch};
use cauce_kafka::ErrorCode;
use cauce_kafka::messages::fetch::*;
use cauce_kafka::wire::Records;
use cauce_log::{LogError, Region};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::{Call, Right, believed};
use crate::kafka::error::Coded;
use crate::kafka::fetch_sessions::{Asked, Wanted};
use crate::kafka::held::{Crowded, Held};
use crate::kafka::reply::Reply;

/// What a partition that is asked for takes while the answer is made, beside the answer.
const PARTITION_BYTES: usize = size_of::<Wanted>() + size_of::<Target>() + size_of::<Found>();

pub(super) async fn answer(call: &Call, request: FetchRequest) -> Result<Reply, Crowded> {
    let limits = Limits::of(call, &request);
    let asked = match call.service.fetch_sessions.begin(request, call.version, Instant::now()) {
        Ok(asked) => asked,
        Err(code) => {
            return Ok(FetchResponse { error_code: code.code(), ..FetchResponse::default() }.into());
        }
    };
    // Held for as long as the client waits for more.
    let held = Held::new(call.service.node.memory(), asked.wanted.len() * PARTITION_BYTES)?;
    let mut targets: Vec<Target> =
        asked.wanted.iter().map(|wanted| Target::find(call, wanted, &limits)).collect();
    let mut found = locate(&targets, &limits).await;
    if wait_for_more(&targets, &found, &limits).await {
        targets = asked.wanted.iter().map(|wanted| Target::find(call, wanted, &limits)).collect();
        found = locate(&targets, &limits).await;
    }
    let mut answers = Vec::with_capacity(targets.len());
    for (target, region) in targets.iter().zip(&found) {
        answers.push(target.answer(region, limits.isolation).await);
    }
    drop(held);
    Ok(reply(call, asked, answers, found))
}

pub(super) fn isolation(level: i8) -> Isolation {
    match level {
        0 => Isolation::Uncommitted,
        _ => Isolation::Committed,
    }
}

/// What holds for a request as a whole.
struct Limits {
    isolation: Isolation,
    bytes_min: usize,
    bytes_max: usize,
    wait_until: Instant,
}

impl Limits {
    fn of(call: &Call, request: &FetchRequest) -> Limits {
        let settings = &call.service.node.settings().node;
        let bytes_max = request.max_bytes.clamp(0, settings.fetch_bytes_max) as usize;
        // Nobody is waited for longer than a silent client would be kept.
        let wait_ms = i64::from(request.max_wait_ms).clamp(0, settings.connections_idle_max_ms);
        Limits {
            isolation: isolation(request.isolation_level),
            bytes_min: (request.min_bytes.max(0) as usize).min(bytes_max),
            bytes_max,
            wait_until: Instant::now() + Duration::from_millis(wait_ms as u64),
        }
    }
}

/// A partition to read, and how much of it there was when it was looked at.
struct Target {
    partition: i32,
    bytes_max: usize,
    place: Result<Place, ErrorCode>,
}

struct Place {
    handle: Arc<PartitionHandle>,
    extent: Extent,
    readable: Range<u64>,
}

/// What was found in a partition: where it lies, or why it cannot be had.
type Found = Result<Option<Region>, ErrorCode>;

impl Target {
    fn find(call: &Call, wanted: &Wanted, limits: &Limits) -> Target {
        Target {
            partition: wanted.of.partition,
            bytes_max: wanted.bytes_max.max(0) as usize,
            place: Place::find(call, wanted, limits.isolation),
        }
    }

    async fn answer(&self, found: &Found, isolation: Isolation) -> PartitionData {
        let place = self.place.as_ref().map_err(|code| *code);
        let (place, region) = match place.and_then(|place| Ok((place, found.as_ref().map_err(|code| *code)?)))
        {
            Ok(both) => both,
            Err(code) => {
                return PartitionData {
                    partition_index: self.partition,
                    error_code: code.code(),
                    high_watermark: -1,
                    ..PartitionData::default()
                };
            }
        };
        PartitionData {
            partition_index: self.partition,
            high_watermark: place.extent.high_watermark as i64,
            last_stable_offset: place.extent.last_stable as i64,
            log_start_offset: place.extent.log_start as i64,
            aborted_transactions: match (isolation, region) {
                (Isolation::Uncommitted, _) => None,
                (Isolation::Committed, None) => Some(Vec::new()),
                (Isolation::Committed, Some(region)) => Some(place.aborted(region).await),
            },
            records: Some(match region {
                Some(region) => Records::Elsewhere(region.bytes as usize),
                None => Records::default(),
            }),
            ..PartitionData::default()
        }
    }
}

impl Place {
    fn find(call: &Call, wanted: &Wanted, isolation: Isolation) -> Result<Place, ErrorCode> {
        let handle =
            call.partition(Right::Read, &wanted.of.topic, wanted.of.topic_id, wanted.of.partition)?;
        check_leader_epoch(believed(wanted.leader_epoch)).map_err(|error| error.code())?;
        let extent = handle.extent();
        let offset = u64::try_from(wanted.offset).map_err(|_| ErrorCode::OffsetOutOfRange)?;
        let readable = extent.readable(offset, isolation).map_err(|_| ErrorCode::OffsetOutOfRange)?;
        Ok(Place { handle, extent, readable })
    }

    async fn aborted(&self, region: &Region) -> Vec<AbortedTransaction> {
        let offsets = self.readable.start..region.next_offset as u64;
        let aborted = self.handle.aborted(offsets).await.into_iter();
        aborted
            .map(|aborted| AbortedTransaction {
                producer_id: aborted.producer.0,
                first_offset: aborted.first_offset as i64,
            })
            .collect()
    }

    /// Bytes that have become readable since.
    fn grown(&self, isolation: Isolation) -> u64 {
        let now = self.handle.extent();
        match now.visible_end(isolation) > self.extent.visible_end(isolation) {
            true => now.bytes - self.extent.bytes,
            false => 0,
        }
    }
}

/// Where the batches are. The first partition with any gives a whole one whatever its size; the others what fits.
async fn locate(targets: &[Target], limits: &Limits) -> Vec<Found> {
    let mut found: Vec<Found> = targets.iter().map(|_| Ok(None)).collect();
    let mut jobs = Vec::new();
    for (index, target) in targets.iter().enumerate() {
        if let Ok(place) = &target.place
            && !place.readable.is_empty()
        {
            jobs.push((index, place.handle.clone(), place.readable.clone(), target.bytes_max));
        }
    }
    if jobs.is_empty() {
        return found;
    }
    let bytes_max = limits.bytes_max;
    // It may wait for the disk.
    let located = tokio::task::spawn_blocking(move || locate_each(jobs, bytes_max)).await;
    for (index, region) in located.expect("looking for batches does not panic") {
        found[index] = region;
    }
    found
}

fn locate_each(
    jobs: Vec<(usize, Arc<PartitionHandle>, Range<u64>, usize)>,
    bytes_max: usize,
) -> Vec<(usize, Found)> {
    let (mut located, mut left, mut has_some) = (Vec::new(), bytes_max, false);
    for (index, handle, readable, of_partition_max) in jobs {
        if has_some && left == 0 {
            break;
        }
        let most = of_partition_max.min(left);
        let found = match handle.locate(readable, most) {
            Ok(region) => Ok(region.filter(|region| !has_some || region.bytes <= most as u64)),
            Err(LogError::OutOfRange { .. }) => Err(ErrorCode::OffsetOutOfRange),
            Err(error) => {
                tracing::error!(partition = %handle.at, %error, "reading a log failed");
                Err(ErrorCode::KafkaStorageError)
            }
        };
        if let Ok(Some(region)) = &found {
            has_some = true;
            left = left.saturating_sub(region.bytes as usize);
        }
        located.push((index, found));
    }
    located
}

/// Waits until there is enough, or for as long as the client has patience; false when there was no need to.
async fn wait_for_more(targets: &[Target], found: &[Found], limits: &Limits) -> bool {
    let failed = targets.iter().any(|target| target.place.is_err()) || found.iter().any(Result::is_err);
    let bytes: u64 = found.iter().flatten().flatten().map(|region| region.bytes).sum();
    if failed || targets.is_empty() || bytes >= limits.bytes_min as u64 || limits.wait_until <= Instant::now()
    {
        return false;
    }
    let waiter = Arc::new(Notify::new());
    let places = || targets.iter().filter_map(|target| target.place.as_ref().ok());
    let _watches: Vec<_> = places().map(|place| place.handle.watch(&waiter)).collect();
    let timeout = sleep_until(limits.wait_until);
    tokio::pin!(timeout);
    while bytes + places().map(|place| place.grown(limits.isolation)).sum::<u64>() < limits.bytes_min as u64 {
        tokio::select! {
            () = waiter.notified() => {}
            () = &mut timeout => break,
        }
    }
    true
}

fn reply(call: &Call, asked: Asked, answers: Vec<PartitionData>, found: Vec<Found>) -> Reply {
    let news = call.service.fetch_sessions.news(&asked, &answers);
    let mut response = FetchResponse { session_id: asked.session, ..FetchResponse::default() };
    let mut regions = Vec::new();
    for (((wanted, data), found), is_news) in asked.wanted.into_iter().zip(answers).zip(found).zip(news) {
        if !is_news {
            continue;
        }
        regions.extend(found.ok().flatten());
        let (topic, topic_id) = (wanted.of.topic, wanted.of.topic_id);
        match response.responses.last_mut() {
            Some(last) if last.topic == topic && last.topic_id == topic_id => last.partitions.push(data),
            _ => response.responses.push(FetchableTopicResponse { topic, topic_id, partitions: vec![data] }),
        }
    }
    Reply { response: response.into(), regions }
}
