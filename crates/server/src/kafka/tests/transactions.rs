use bytes::Bytes;
use cauce_kafka::api::read_response;
use cauce_kafka::messages::add_offsets_to_txn::*;
use cauce_kafka::messages::add_partitions_to_txn::*;
use cauce_kafka::messages::api_versions::*;
use cauce_kafka::messages::describe_transactions::*;
use cauce_kafka::messages::end_txn::*;
use cauce_kafka::messages::init_producer_id::*;
use cauce_kafka::messages::list_transactions::*;
use cauce_kafka::messages::produce::ProduceRequest;
use cauce_kafka::messages::write_txn_markers::*;
use cauce_kafka::{Api, ErrorCode, Response, Text};
use cauce_log::BatchBuilder;

use super::client::*;

const TRANSACTIONAL: i16 = 1 << 4;

#[tokio::test]
async fn who_is_fenced_learns_it_in_a_word_of_its_version() {
    let broker = Broker::start().await;
    let mut client = broker.client_with("t", 1).await;
    let zombie = client.init(4, "orders").await;
    client.init(4, "orders").await;
    let (old, new) = (ErrorCode::InvalidProducerEpoch, ErrorCode::ProducerFenced);
    for (version, code) in [(0, old), (1, old), (2, new), (4, new)] {
        assert_eq!(client.end(version, "orders", zombie, true).await.0, code, "end {version}");
        let request = AddOffsetsToTxnRequest {
            transactional_id: "orders".into(),
            producer_id: zombie.0,
            producer_epoch: zombie.1,
            group_id: "g".into(),
        };
        let Response::AddOffsetsToTxn(answer) = client.ask(version.min(4), request).await else { panic!() };
        assert_eq!(answer.error_code, code.code(), "offsets {version}");
    }
    for (version, code) in [(0, old), (1, old), (2, new), (3, new)] {
        assert_eq!(client.add(version, "orders", zombie, &[0]).await, [code], "partitions {version}");
    }
    for (version, code) in [(3, old), (4, new), (5, new)] {
        let (answered, ..) = client.init_as(version, "orders", Some(zombie)).await;
        assert_eq!(answered, code, "init {version}");
    }
    assert_eq!(client.write(11, Some("orders"), zombie, 0).await, old);
}

#[tokio::test]
async fn what_is_asked_wrongly_is_refused() {
    let broker = Broker::start().await;
    let mut client = broker.client_with("t", 1).await;
    let known = client.init(4, "orders").await;
    assert_eq!(client.end(4, "strange", known, true).await.0, ErrorCode::InvalidProducerIdMapping);
    assert_eq!(client.end(4, "", known, true).await.0, ErrorCode::InvalidRequest);
    assert_eq!(client.end(4, "orders", known, true).await.0, ErrorCode::InvalidTxnState);
    assert_eq!(client.init_as(4, "orders", Some((-1, 3))).await.0, ErrorCode::InvalidRequest);
    let both = [ErrorCode::OperationNotAttempted, ErrorCode::UnknownTopicOrPartition];
    assert_eq!(client.add(3, "orders", known, &[0, 1]).await, both);
    let request = InitProducerIdRequest {
        transactional_id: Some("orders".into()),
        transaction_timeout_ms: i32::MAX,
        ..InitProducerIdRequest::default()
    };
    let Response::InitProducerId(answer) = client.ask(4, request).await else { panic!() };
    assert_eq!(answer.error_code, ErrorCode::InvalidTransactionTimeout.code());
}

#[tokio::test]
async fn a_batch_is_let_in_by_the_rules_of_its_version() {
    let broker = Broker::start().await;
    let mut client = broker.client_with("t", 1).await;
    let producer = client.init(4, "orders").await;
    assert_eq!(client.write(9, None, producer, 0).await, ErrorCode::TransactionalIdAuthorizationFailed);
    assert_eq!(client.write(9, Some("other"), producer, 0).await, ErrorCode::InvalidProducerIdMapping);
    assert_eq!(client.write(9, Some("orders"), producer, 0).await, ErrorCode::InvalidTxnState);
    assert_eq!(client.write(11, Some("orders"), producer, 0).await, ErrorCode::TransactionAbortable);
    assert_eq!(client.add(3, "orders", producer, &[0]).await, [ErrorCode::None]);
    assert_eq!(client.write(9, Some("orders"), producer, 0).await, ErrorCode::None);
    assert_eq!(client.end(4, "orders", producer, true).await.0, ErrorCode::None);

    // From here on by the newer rules, under which nobody adds anything.
    let producer = client.init(4, "orders").await;
    assert_eq!(client.write(12, Some("orders"), producer, 0).await, ErrorCode::None);
    let (code, next) = client.end(5, "orders", producer, true).await;
    assert_eq!((code, next), (ErrorCode::None, (producer.0, producer.1 + 1)));
    assert_eq!(client.write(12, Some("orders"), producer, 1).await, ErrorCode::InvalidProducerEpoch);
    assert_eq!(client.write(12, Some("orders"), next, 0).await, ErrorCode::None);
}

#[tokio::test]
async fn batches_that_come_together_are_let_in_and_stay_in_order() {
    let broker = Broker::start().await;
    let mut client = broker.client_with("t", 1).await;
    let producer = client.init(4, "orders").await;
    for sequence in 0..20 {
        client.send(12, &within("orders", producer, sequence).into()).await;
    }
    for sequence in 0..20 {
        let frame = client.frame().await.unwrap();
        let (_, Response::Produce(answer)) = read_response(Api::Produce, 12, frame).unwrap() else {
            panic!()
        };
        let answer = &answer.responses[0].partition_responses[0];
        assert_eq!((answer.error_code, answer.base_offset), (0, i64::from(sequence)));
    }
}

#[tokio::test]
async fn many_transactions_are_added_to_and_asked_about_at_once() {
    let broker = Broker::start().await;
    let mut client = broker.client_with("t", 2).await;
    let (one, other) = (client.init(4, "one").await, client.init(4, "other").await);
    assert_eq!(client.add(3, "one", one, &[0]).await, [ErrorCode::None]);
    for (version, not_in) in [(4, ErrorCode::InvalidTxnState), (5, ErrorCode::TransactionAbortable)] {
        let request = AddPartitionsToTxnRequest {
            transactions: vec![asked("one", one, true), asked("other", other, true)],
            ..AddPartitionsToTxnRequest::default()
        };
        let Response::AddPartitionsToTxn(answer) = client.ask(version, request).await else { panic!() };
        let codes: Vec<_> = answer.results_by_transaction.iter().map(|of| codes(&of.topic_results)).collect();
        assert_eq!(codes, [[ErrorCode::None, not_in], [not_in, not_in]]);
    }
    let transactions = vec![asked("other", other, false)];
    let request = AddPartitionsToTxnRequest { transactions, ..AddPartitionsToTxnRequest::default() };
    let Response::AddPartitionsToTxn(answer) = client.ask(5, request).await else { panic!() };
    assert_eq!(codes(&answer.results_by_transaction[0].topic_results), [ErrorCode::None; 2]);
    assert_eq!(client.list(ListTransactionsRequest::default()).await.1, ["one Ongoing", "other Ongoing"]);
}

#[tokio::test]
async fn transactions_are_listed_and_described_as_asked() {
    let broker = Broker::start().await;
    let mut client = broker.client_with("t", 3).await;
    let (one, _) = (client.init(4, "orders-1").await, client.init(4, "orders-2").await);
    client.init(4, "prices").await;
    client.add(3, "orders-1", one, &[2, 0]).await;

    let all = ["orders-1 Ongoing", "orders-2 Empty", "prices Empty"];
    let plain = ListTransactionsRequest::default();
    for (request, expected) in [
        (ListTransactionsRequest { ..plain.clone() }, &all[..]),
        (ListTransactionsRequest { state_filters: vec!["Empty".into()], ..plain.clone() }, &all[1..]),
        (ListTransactionsRequest { producer_id_filters: vec![one.0], ..plain.clone() }, &all[..1]),
        (ListTransactionsRequest { duration_filter: 3_600_000, ..plain.clone() }, &[]),
        (ListTransactionsRequest { transactional_id_pattern: Some("orders".into()), ..plain.clone() }, &[]),
        (
            ListTransactionsRequest { transactional_id_pattern: Some("orders-.".into()), ..plain.clone() },
            &all[..2],
        ),
    ] {
        assert_eq!(client.list(request.clone()).await.1, expected, "{request:?}");
    }
    let unknown = ListTransactionsRequest { state_filters: vec!["Gone".into()], ..plain.clone() };
    let Response::ListTransactions(answer) = client.ask(2, unknown).await else { panic!() };
    assert_eq!(answer.unknown_state_filters, [Text::from("Gone")]);
    let wrong = ListTransactionsRequest { transactional_id_pattern: Some("(".into()), ..plain };
    assert_eq!(client.list(wrong).await.0, ErrorCode::InvalidRegularExpression.code());

    let transactional_ids = vec!["orders-1".into(), "nobody".into()];
    let Response::DescribeTransactions(answer) =
        client.ask(0, DescribeTransactionsRequest { transactional_ids }).await
    else {
        panic!()
    };
    let [known, unknown] = &answer.transaction_states[..] else { panic!() };
    assert_eq!((&*known.transaction_state, known.transaction_timeout_ms), ("Ongoing", 60_000));
    let topics = [TopicData { topic: "t".into(), partitions: vec![0, 2] }];
    assert_eq!((&known.topics[..], known.producer_id), (&topics[..], one.0));
    assert_eq!(unknown.error_code, ErrorCode::TransactionalIdNotFound.code());
}

#[tokio::test]
async fn an_operator_ends_what_hangs() {
    let broker = Broker::start().await;
    let mut client = broker.client_with("t", 1).await;
    let producer = client.init(4, "orders").await;
    assert_eq!(client.write(12, Some("orders"), producer, 0).await, ErrorCode::None);
    let extent = || broker.node.topics().get("t").unwrap().partition(0).unwrap().extent();
    assert_eq!((extent().last_stable, extent().end), (0, 1));
    let topic = WritableTxnMarkerTopic { name: "t".into(), partition_indexes: vec![0, 1] };
    let marker = WritableTxnMarker {
        producer_id: producer.0,
        producer_epoch: producer.1,
        topics: vec![topic],
        coordinator_epoch: 7,
        ..WritableTxnMarker::default()
    };
    let request = WriteTxnMarkersRequest { markers: vec![marker] };
    let Response::WriteTxnMarkers(answer) = client.ask(1, request).await else { panic!() };
    let codes = answer.markers[0].topics[0].partitions.iter().map(|partition| partition.error_code);
    assert_eq!(codes.collect::<Vec<_>>(), [0, ErrorCode::UnknownTopicOrPartition.code()]);
    assert_eq!((extent().last_stable, extent().end), (2, 2));
    // The coordinator goes on, whatever the operator said of it.
    assert_eq!(client.end(5, "orders", producer, false).await.0, ErrorCode::None);
    client.init(4, "orders").await;
    assert_eq!((extent().last_stable, extent().end), (3, 3));
}

#[tokio::test]
async fn clients_are_told_which_rules_of_transactions_there_are() {
    let broker = Broker::start().await;
    let mut client = broker.connect().await;
    let Response::ApiVersions(answer) = client.ask(3, ApiVersionsRequest::default()).await else { panic!() };
    let [feature] = &answer.finalized_features[..] else { panic!() };
    assert_eq!((&*feature.name, feature.max_version_level), ("transaction.version", 2));
    assert_eq!(answer.finalized_features_epoch, 0);
}

/// Id and epoch.
pub(super) type Producer = (i64, i16);

impl Client {
    async fn init(&mut self, version: i16, id: &str) -> Producer {
        let (code, producer) = self.init_as(version, id, None).await;
        assert_eq!(code, ErrorCode::None);
        producer
    }

    async fn init_as(&mut self, version: i16, id: &str, expected: Option<Producer>) -> (ErrorCode, Producer) {
        let (producer_id, producer_epoch) = expected.unwrap_or((-1, -1));
        let transactional_id = Some(Text::from(id.to_owned()));
        let transaction_timeout_ms = 60_000;
        let request =
            InitProducerIdRequest { transactional_id, transaction_timeout_ms, producer_id, producer_epoch };
        let Response::InitProducerId(answer) = self.ask(version, request).await else { panic!() };
        (code(answer.error_code), (answer.producer_id, answer.producer_epoch))
    }

    async fn add(&mut self, version: i16, id: &str, by: Producer, partitions: &[i32]) -> Vec<ErrorCode> {
        let request = AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: id.to_owned().into(),
            v3_and_below_producer_id: by.0,
            v3_and_below_producer_epoch: by.1,
            v3_and_below_topics: vec![AddPartitionsToTxnTopic {
                name: "t".into(),
                partitions: partitions.to_vec(),
            }],
            ..AddPartitionsToTxnRequest::default()
        };
        let Response::AddPartitionsToTxn(answer) = self.ask(version, request).await else { panic!() };
        codes(&answer.results_by_topic_v3_and_below)
    }

    async fn write(&mut self, version: i16, id: Option<&str>, by: Producer, sequence: i32) -> ErrorCode {
        let transactional_id = id.map(|id| id.to_owned().into());
        let request = ProduceRequest { transactional_id, ..within("", by, sequence) };
        let Response::Produce(answer) = self.ask(version, request).await else { panic!() };
        code(answer.responses[0].partition_responses[0].error_code)
    }

    async fn end(&mut self, version: i16, id: &str, by: Producer, committed: bool) -> (ErrorCode, Producer) {
        let (producer_id, producer_epoch) = by;
        let transactional_id = id.to_owned().into();
        let request = EndTxnRequest { transactional_id, producer_id, producer_epoch, committed };
        let Response::EndTxn(answer) = self.ask(version, request).await else { panic!() };
        (code(answer.error_code), (answer.producer_id, answer.producer_epoch))
    }

    /// The code, and name and state of each.
    async fn list(&mut self, request: ListTransactionsRequest) -> (i16, Vec<String>) {
        let Response::ListTransactions(answer) = self.ask(2, request).await else { panic!() };
        let shown = answer
            .transaction_states
            .iter()
            .map(|of| format!("{} {}", of.transactional_id, of.transaction_state));
        (answer.error_code, shown.collect())
    }
}

fn asked(id: &str, by: Producer, verify_only: bool) -> AddPartitionsToTxnTransaction {
    AddPartitionsToTxnTransaction {
        transactional_id: id.to_owned().into(),
        producer_id: by.0,
        producer_epoch: by.1,
        verify_only,
        topics: vec![AddPartitionsToTxnTopic { name: "t".into(), partitions: vec![0, 1] }],
    }
}

/// A record in a transaction.
pub(super) fn within(id: &str, by: Producer, sequence: i32) -> ProduceRequest {
    let mut builder = BatchBuilder::new();
    builder.start(0, cauce_broker::clock::now_ms());
    builder.set_producer(by.0, by.1, sequence);
    builder.set_attributes(TRANSACTIONAL);
    builder.push(0, 0, None, Some(&[b"v"]), &[]);
    let records: Bytes = builder.finish();
    ProduceRequest { transactional_id: Some(id.to_owned().into()), ..produce("t", 0, -1, records) }
}

fn code(number: i16) -> ErrorCode {
    ErrorCode::from_code(number).expect("a code that is known")
}

fn codes(results: &[AddPartitionsToTxnTopicResult]) -> Vec<ErrorCode> {
    let all = results.iter().flat_map(|topic| &topic.results_by_partition);
    all.map(|result| code(result.partition_error_code)).collect()
}
