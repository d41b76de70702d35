use cauce_core::topic::Overrides;
use cauce_kafka::api::read_response;
use cauce_kafka::messages::init_producer_id::*;
use cauce_kafka::messages::produce::ProduceResponse;
use cauce_kafka::{Api, ErrorCode, Response};
use cauce_log::BatchBuilder;

use super::client::*;

#[tokio::test]
async fn requests_are_answered_in_the_order_they_came() {
    let broker = Broker::start().await;
    let mut client = broker.client_with("t", 1).await;
    for number in 0..50 {
        let acks = [-1, 1, 0][number % 3];
        client.send(9, &produce("t", 0, acks, batch(&["a", "b"])).into()).await;
    }
    client.send(12, &fetch("t", &[(0, 0)]).into()).await;
    for number in (0..50).filter(|number| number % 3 != 2) {
        let (correlation_id, response) = next(&mut client, Api::Produce, 9).await;
        let Response::Produce(ProduceResponse { responses, .. }) = response else { panic!() };
        let answer = &responses[0].partition_responses[0];
        assert_eq!((correlation_id, answer.error_code), (number + 1, 0));
        assert_eq!(answer.base_offset, i64::from(number) * 2);
    }
    let (_, Response::Fetch(response)) = next(&mut client, Api::Fetch, 12).await else { panic!() };
    assert_eq!(response.responses[0].partitions[0].high_watermark, 100);
}

#[tokio::test]
async fn what_is_corrupt_is_refused_and_not_stored() {
    let broker = Broker::start().await;
    let mut client = broker.client_with("t", 1).await;
    let mut broken = batch(&["a"]).to_vec();
    *broken.last_mut().unwrap() ^= 1;
    let answer = client.produce("t", broken.clone().into()).await;
    assert_eq!((answer.error_code, answer.base_offset), (ErrorCode::CorruptMessage.code(), -1));
    assert_eq!(client.produce("t", batch(&["b"])).await.base_offset, 0);

    // Who wants no answers learns it from the end of the connection.
    client.send(9, &produce("t", 0, 0, broken.into()).into()).await;
    assert_eq!(client.frame().await, None);
}

#[tokio::test]
async fn what_cannot_be_produced_to_is_said() {
    let broker = Broker::start().await;
    let mut client = broker.client_with("t", 1).await;
    broker.node.create_topic("__consumer_offsets", 1, Overrides::default()).unwrap().1.wait().await;
    for (topic, partition, acks, code) in [
        ("t", 1, -1, ErrorCode::UnknownTopicOrPartition),
        ("t", -1, -1, ErrorCode::UnknownTopicOrPartition),
        ("u", 0, -1, ErrorCode::UnknownTopicOrPartition),
        ("t", 0, 2, ErrorCode::InvalidRequiredAcks),
        ("__consumer_offsets", 0, -1, ErrorCode::InvalidTopic),
    ] {
        let response = client.ask(9, produce(topic, partition, acks, batch(&["a"]))).await;
        let Response::Produce(response) = response else { panic!() };
        assert_eq!(
            response.responses[0].partition_responses[0].error_code,
            code.code(),
            "{topic} {partition}"
        );
    }
    let by_id = client.ask(13, produce("", 0, -1, batch(&["a"]))).await;
    let Response::Produce(by_id) = by_id else { panic!() };
    assert_eq!(by_id.responses[0].partition_responses[0].error_code, ErrorCode::UnknownTopicId.code());
}

#[tokio::test]
async fn a_numbered_batch_that_comes_again_is_stored_once() {
    let broker = Broker::start().await;
    let mut client = broker.client_with("t", 1).await;
    let request = InitProducerIdRequest { transactional_id: None, ..InitProducerIdRequest::default() };
    let Response::InitProducerId(producer) = client.ask(4, request).await else { panic!() };
    assert_eq!((producer.error_code, producer.producer_epoch), (0, 0));
    let numbered = |sequence| {
        let mut builder = BatchBuilder::new();
        builder.start(0, cauce_broker::clock::now_ms());
        builder.set_producer(producer.producer_id, producer.producer_epoch, sequence);
        builder.push(0, 0, None, Some(&[b"v"]), &[]);
        builder.finish()
    };
    let mut sent = async |sequence| {
        let answer = client.produce("t", numbered(sequence)).await;
        (answer.error_code, answer.base_offset)
    };
    assert_eq!(sent(0).await, (0, 0));
    assert_eq!(sent(1).await, (0, 1));
    assert_eq!(sent(0).await, (0, 0));
    assert_eq!(sent(3).await, (ErrorCode::OutOfOrderSequenceNumber.code(), -1));
    assert_eq!(sent(2).await, (0, 2));
}

async fn next(client: &mut Client, api: Api, version: i16) -> (i32, Response) {
    read_response(api, version, client.frame().await.unwrap()).unwrap()
}
