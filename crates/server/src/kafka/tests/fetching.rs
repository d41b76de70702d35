use std::time::Duration;

use bytes::Bytes;
use cauce_core::topic::Overrides;
use cauce_kafka::messages::fetch::*;
use cauce_kafka::messages::list_offsets::*;
use cauce_kafka::wire::Records;
use cauce_kafka::{ErrorCode, Response, Uuid};
use cauce_log::RecordBatch;
use tokio::time::Instant;

use super::client::*;

/// A wait that nobody sits out.
const LONG_MS: i32 = 60_000;

#[tokio::test]
async fn batches_come_as_they_were_sent_from_the_one_with_the_offset_on() {
    let broker = Broker::start().await;
    let mut client = broker.client_with("t", 1).await;
    for values in [&["a", "b"][..], &["c"], &["d", "e", "f"]] {
        client.produce("t", batch(values)).await;
    }
    for (from, expected) in
        [(0, vec![0, 2, 3]), (1, vec![0, 2, 3]), (2, vec![2, 3]), (5, vec![3]), (6, vec![])]
    {
        let partition = only(client.fetch(12, fetch("t", &[(0, from)])).await);
        assert_eq!((partition.error_code, partition.high_watermark), (0, 6));
        assert_eq!(bases(&partition), expected, "from {from}");
    }
    for from in [7, -1, i64::MIN, i64::MAX] {
        let partition = only(client.fetch(12, fetch("t", &[(0, from)])).await);
        assert_eq!(partition.error_code, ErrorCode::OffsetOutOfRange.code());
        assert!(bases(&partition).is_empty());
    }
}

#[tokio::test]
async fn every_version_is_answered() {
    let broker = Broker::start().await;
    let mut client = broker.client_with("t", 1).await;
    client.produce("t", batch(&["a"])).await;
    let id = Uuid(broker.node.topics().get("t").unwrap().id.0);
    for version in 4..=18 {
        let mut request = fetch("t", &[(0, 0)]);
        if version >= 13 {
            (request.topics[0].topic_id, request.topics[0].topic) = (id, "".into());
        }
        assert_eq!(bases(&only(client.fetch(version, request).await)), [0], "version {version}");
    }
    let partition = only(client.fetch(13, fetch("t", &[(0, 0)])).await);
    assert_eq!(partition.error_code, ErrorCode::UnknownTopicId.code());
}

#[tokio::test]
async fn who_waits_is_answered_when_there_is_enough() {
    let broker = Broker::start().await;
    let mut client = broker.client_with("t", 2).await;
    let mut producer = broker.connect().await;
    let one = batch(&["a"]);
    for (bytes_min, batches) in [(1, 1), (one.len() + 1, 2), (3 * one.len(), 3)] {
        let from = broker.node.topics().get("t").unwrap().partition(0).unwrap().extent().end as i64;
        let request = FetchRequest {
            max_wait_ms: LONG_MS,
            min_bytes: bytes_min as i32,
            ..fetch("t", &[(1, 0), (0, from)])
        };
        let waiting = tokio::spawn(async move { (client.fetch(12, request).await, client) });
        for _ in 0..batches {
            assert!(!waiting.is_finished());
            producer.produce("t", one.clone()).await;
        }
        let response;
        (response, client) = waiting.await.unwrap();
        assert_eq!(bases(&response.responses[0].partitions[1]).len(), batches);
    }
}

#[tokio::test]
async fn who_waits_in_vain_is_answered_in_time_and_who_fails_at_once() {
    let broker = Broker::start().await;
    let mut client = broker.client_with("t", 1).await;
    let began = Instant::now();
    let patient = FetchRequest { max_wait_ms: 50, min_bytes: 1, ..fetch("t", &[(0, 0)]) };
    assert!(bases(&only(client.fetch(12, patient).await)).is_empty());
    assert!(began.elapsed() >= Duration::from_millis(50));
    let wrong = FetchRequest { max_wait_ms: LONG_MS, min_bytes: 1, ..fetch("t", &[(0, 0), (7, 0)]) };
    let response = client.fetch(12, wrong).await;
    assert_eq!(response.responses[0].partitions[1].error_code, ErrorCode::UnknownTopicOrPartition.code());
    let nothing = FetchRequest { max_wait_ms: LONG_MS, min_bytes: 1, ..FetchRequest::default() };
    assert!(client.fetch(12, nothing).await.responses.is_empty());
}

#[tokio::test]
async fn limits_hold_but_for_the_first_batch() {
    let broker = Broker::start().await;
    let mut client = broker.client_with("t", 2).await;
    let one = batch(&["a"]);
    for partition in [0, 0, 0, 1, 1] {
        client.ask(9, produce("t", partition, -1, one.clone())).await;
    }
    let size = one.len() as i32;
    for (bytes_max, of_partition_max, expected) in [
        (0, 0, [1, 0]),
        (1, 1 << 20, [1, 0]),
        (2 * size, 1 << 20, [2, 0]),
        (4 * size, 1 << 20, [3, 1]),
        (i32::MAX, size, [1, 1]),
        (i32::MAX, 2 * size - 1, [1, 1]),
        (i32::MAX, 0, [1, 0]),
        (-1, -1, [1, 0]),
    ] {
        let mut request = FetchRequest { max_bytes: bytes_max, ..fetch("t", &[(0, 0), (1, 0)]) };
        for partition in &mut request.topics[0].partitions {
            partition.partition_max_bytes = of_partition_max;
        }
        let response = client.fetch(12, request).await;
        let counts: Vec<usize> =
            response.responses[0].partitions.iter().map(|one| bases(one).len()).collect();
        assert_eq!(counts, expected, "{bytes_max} {of_partition_max}");
    }
}

#[tokio::test]
async fn ten_thousand_partitions_are_fetched_and_waited_for() {
    let broker = Broker::start().await;
    let mut client = broker.client_with("t", 10_000).await;
    let all: Vec<(i32, i64)> = (0..10_000).map(|partition| (partition, 0)).collect();
    let request = FetchRequest { max_wait_ms: LONG_MS, min_bytes: 1, session_epoch: 0, ..fetch("t", &all) };
    let waiting = tokio::spawn(async move { (client.fetch(12, request).await, client) });
    broker.connect().await.ask(9, produce("t", 9_999, -1, batch(&["a"]))).await;
    let (response, mut client) = waiting.await.unwrap();
    assert_eq!(response.responses[0].partitions.len(), 10_000);
    assert_eq!(bases(&response.responses[0].partitions[9_999]), [0]);

    // The session knows them all, and tells what is new.
    let again = FetchRequest { session_id: response.session_id, session_epoch: 1, ..FetchRequest::default() };
    let partition = only(client.fetch(12, again).await);
    assert_eq!((partition.partition_index, bases(&partition)), (9_999, vec![0]));
}

#[tokio::test]
async fn offsets_have_names_and_times() {
    let broker = Broker::start().await;
    let mut client = broker.client_with("t", 1).await;
    let empty = offset(&mut client, -3).await;
    assert_eq!(empty, (0, -1, -1));
    for values in [&["a", "b"][..], &["c"]] {
        client.produce("t", batch(values)).await;
    }
    let (code, at, time) = offset(&mut client, -3).await;
    assert_eq!((code, offset(&mut client, time).await), (0, (0, at, time)));
    broker.node.topics().get("t").unwrap().partition(0).unwrap().trim(1).await;
    for (timestamp, expected) in
        [(-1, (0, 3)), (-2, (0, 1)), (-4, (0, 1)), (-5, (0, -1)), (i64::MAX, (0, -1))]
    {
        let (code, offset, _) = offset(&mut client, timestamp).await;
        assert_eq!((code, offset), expected, "{timestamp}");
    }
    let (code, at, time) = offset(&mut client, -3).await;
    assert_eq!((code, offset(&mut client, time).await), (0, (0, at, time)));
    assert!(at >= 1);
    for timestamp in [-6, i64::MIN] {
        assert_eq!(offset(&mut client, timestamp).await.0, ErrorCode::InvalidRequest.code());
    }
}

#[tokio::test]
async fn who_leaves_while_it_waits_is_forgotten() {
    let broker = Broker::start().await;
    let mut client = broker.client_with("t", 1).await;
    let request = FetchRequest { max_wait_ms: i32::MAX, min_bytes: 1, ..fetch("t", &[(0, 0)]) };
    client.fetch(12, fetch("t", &[(0, 0)])).await;
    client.send(12, &request.into()).await;
    drop(client);
    tokio::time::timeout(Duration::from_secs(20), broker.node.all_disconnected()).await.unwrap();
}

#[tokio::test]
async fn internal_topics_can_be_read() {
    let broker = Broker::start().await;
    broker.node.create_topic("__consumer_offsets", 1, Overrides::default()).unwrap().1.wait().await;
    let mut client = broker.connect().await;
    assert_eq!(only(client.fetch(12, fetch("__consumer_offsets", &[(0, 0)])).await).error_code, 0);
}

async fn offset(client: &mut Client, timestamp: i64) -> (i16, i64, i64) {
    let request = ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic {
            name: "t".into(),
            partitions: vec![ListOffsetsPartition { timestamp, ..ListOffsetsPartition::default() }],
        }],
        ..ListOffsetsRequest::default()
    };
    let Response::ListOffsets(response) = client.ask(9, request).await else { panic!() };
    let answer = &response.topics[0].partitions[0];
    (answer.error_code, answer.offset, answer.timestamp)
}

fn only(mut response: FetchResponse) -> PartitionData {
    assert_eq!(response.error_code, 0);
    let mut topic = response.responses.remove(0);
    assert!(response.responses.is_empty() && topic.partitions.len() == 1);
    topic.partitions.remove(0)
}

/// The first offset of each batch.
fn bases(partition: &PartitionData) -> Vec<i64> {
    let Some(Records::Bytes(mut left)) = partition.records.clone() else { return Vec::new() };
    let mut bases = Vec::new();
    while !left.is_empty() {
        let (batch, rest): (RecordBatch, Bytes) = RecordBatch::parse(left).unwrap();
        batch.verify().unwrap();
        bases.push(batch.base_offset());
        left = rest;
    }
    bases
}
