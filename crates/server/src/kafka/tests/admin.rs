use cauce_core::topic::Overrides;
use cauce_kafka::messages::alter_configs::*;
use cauce_kafka::messages::create_partitions::*;
use cauce_kafka::messages::create_topics::*;
use cauce_kafka::messages::delete_records::*;
use cauce_kafka::messages::delete_topics::*;
use cauce_kafka::messages::describe_configs::*;
use cauce_kafka::messages::describe_topic_partitions::*;
use cauce_kafka::messages::elect_leaders::*;
use cauce_kafka::messages::incremental_alter_configs as incremental;
use cauce_kafka::messages::metadata::*;
use cauce_kafka::{ErrorCode, Response, Uuid};

use super::client::*;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

#[tokio::test]
async fn topics_are_made_as_asked_for_or_refused_clearly() {
    let broker = Broker::with(&[("num.partitions", "3")]).await;
    let mut client = broker.client_with("taken", 1).await;
    let plain = |name: &str| CreatableTopic {
        name: name.to_owned().into(),
        num_partitions: -1,
        replication_factor: -1,
        ..CreatableTopic::default()
    };
    let with = |name: &str, setting: &'static str, value: &'static str| CreatableTopic {
        configs: vec![CreatableTopicConfig { name: setting.into(), value: Some(value.into()) }],
        ..plain(name)
    };
    let assigned = |partition_index, broker_ids: &[i32]| CreatableTopic {
        assignments: vec![CreatableReplicaAssignment { partition_index, broker_ids: broker_ids.to_vec() }],
        ..plain("assigned")
    };
    for (topic, code, reason) in [
        (plain("a"), ErrorCode::None, ""),
        (with("b", "retention.ms", "1000"), ErrorCode::None, ""),
        (plain("taken"), ErrorCode::TopicAlreadyExists, "taken"),
        (plain("a b"), ErrorCode::InvalidTopic, "name"),
        (plain(""), ErrorCode::InvalidTopic, "name"),
        (plain("__consumer_offsets"), ErrorCode::InvalidRequest, "own"),
        (CreatableTopic { num_partitions: 0, ..plain("c") }, ErrorCode::InvalidPartitions, "0"),
        (CreatableTopic { num_partitions: i32::MAX, ..plain("c") }, ErrorCode::PolicyViolation, "10000"),
        (CreatableTopic { replication_factor: 3, ..plain("c") }, ErrorCode::InvalidReplicationFactor, "3"),
        (with("c", "retention.mss", "1"), ErrorCode::InvalidConfig, "retention.mss"),
        (with("c", "min.insync.replicas", "2"), ErrorCode::InvalidConfig, "min.insync.replicas"),
        (assigned(0, &[1, 2]), ErrorCode::InvalidReplicaAssignment, "broker 1"),
        (assigned(1, &[1]), ErrorCode::InvalidReplicaAssignment, "broker 1"),
        (assigned(0, &[1]), ErrorCode::None, ""),
    ] {
        for validate_only in [true, false] {
            let request =
                CreateTopicsRequest { topics: vec![topic.clone()], validate_only, ..Default::default() };
            let Response::CreateTopics(response) = client.ask(7, request).await else { panic!() };
            let result = &response.topics[0];
            assert_eq!(result.error_code, code.code(), "{topic:?}: {:?}", result.error_message);
            let message = result.error_message.as_deref().unwrap_or_default();
            assert!(message.contains(reason), "{message}");
            let is_there = broker.node.topics().get(&topic.name).is_some() && &*topic.name != "taken";
            assert_eq!(is_there, code == ErrorCode::None && !validate_only, "{topic:?}");
        }
    }
    assert_eq!(broker.node.topics().get("a").unwrap().partitions().len(), 3);
    assert_eq!(broker.node.topics().get("b").unwrap().config().retention_ms, 1000);
}

#[tokio::test]
async fn topics_go_by_name_or_id() {
    let broker = Broker::start().await;
    let mut client = broker.client_with("a", 1).await;
    let id = Uuid(broker.node.topics().get("a").unwrap().id.0);
    broker.node.create_topic("b", 1, Overrides::default()).unwrap().1.wait().await;
    broker.node.create_topic("__transaction_state", 1, Overrides::default()).unwrap().1.wait().await;
    let named = |name: &str, topic_id| DeleteTopicState { name: Some(name.to_owned().into()), topic_id };
    let request = DeleteTopicsRequest {
        topics: vec![
            DeleteTopicState { name: None, topic_id: id },
            DeleteTopicState { name: None, topic_id: id },
            named("b", id),
            named("b", Uuid::ZERO),
            named("c", Uuid::ZERO),
            named("__transaction_state", Uuid::ZERO),
        ],
        ..DeleteTopicsRequest::default()
    };
    let Response::DeleteTopics(response) = client.ask(6, request).await else { panic!() };
    let codes: Vec<i16> = response.responses.iter().map(|result| result.error_code).collect();
    let expected = [
        ErrorCode::None,
        ErrorCode::UnknownTopicId,
        ErrorCode::InvalidRequest,
        ErrorCode::None,
        ErrorCode::UnknownTopicOrPartition,
        ErrorCode::InvalidRequest,
    ];
    assert_eq!(codes, expected.map(ErrorCode::code));
    assert_eq!(broker.node.topics().all().len(), 1);
}

#[tokio::test]
async fn metadata_says_what_there_is_and_makes_what_may_be_made() {
    let broker = Broker::with(&[("num.partitions", "2")]).await;
    let mut client = broker.client_with("a", 1).await;
    broker.node.create_topic("__consumer_offsets", 1, Overrides::default()).unwrap().1.wait().await;
    for version in 0..=13 {
        let topics = if version == 0 { Some(Vec::new()) } else { None };
        let response = client.metadata(version, MetadataRequest { topics, ..Default::default() }).await;
        let names: Vec<&str> = response.topics.iter().map(|topic| topic.name.as_deref().unwrap()).collect();
        assert_eq!(names, ["__consumer_offsets", "a"], "version {version}");
        assert_eq!((response.brokers.len(), response.brokers[0].node_id), (1, 1));
        assert_eq!(response.topics[0].is_internal, version > 0);
    }
    let mut ask = async |name: &str, allow_auto_topic_creation| {
        let topic = MetadataRequestTopic { name: Some(name.to_owned().into()), ..Default::default() };
        let request =
            MetadataRequest { topics: Some(vec![topic]), allow_auto_topic_creation, ..Default::default() };
        let response = client.metadata(12, request).await;
        (response.topics[0].error_code, response.topics[0].partitions.len())
    };
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    assert_eq!(ask("new", false).await, (unknown, 0));
    assert_eq!(ask("new", true).await, (0, 2));
    assert_eq!(ask("new", false).await, (0, 2));
    assert_eq!(ask("not a name", true).await, (ErrorCode::InvalidTopic.code(), 0));
    assert_eq!(ask("__transaction_state", true).await, (unknown, 0));

    let topic = MetadataRequestTopic { name: None, topic_id: Uuid([7; 16]) };
    let response =
        client.metadata(12, MetadataRequest { topics: Some(vec![topic]), ..Default::default() }).await;
    assert_eq!(response.topics[0].error_code, ErrorCode::UnknownTopicId.code());
}

#[tokio::test]
async fn settings_of_topics_can_be_changed_one_by_one_or_all_at_once() {
    let broker = Broker::with(&[("log.retention.ms", "5000")]).await;
    let mut client = broker.client_with("a", 1).await;
    let setting = |name: &'static str, config_operation, value: Option<&'static str>| {
        incremental::AlterableConfig { name: name.into(), config_operation, value: value.map(Into::into) }
    };
    let (set, delete, append, subtract) = (0, 1, 2, 3);
    for (configs, code) in [
        (vec![setting("retention.ms", set, Some("7000"))], ErrorCode::None),
        (vec![setting("cleanup.policy", append, Some("compact"))], ErrorCode::None),
        (vec![setting("cleanup.policy", subtract, Some("delete"))], ErrorCode::None),
        (
            vec![setting("segment.bytes", set, Some("1048576")), setting("nope", set, Some("1"))],
            ErrorCode::InvalidConfig,
        ),
        (vec![setting("retention.ms", append, Some("1"))], ErrorCode::InvalidConfig),
        (vec![setting("retention.ms", set, None)], ErrorCode::InvalidRequest),
        (vec![setting("retention.ms", 9, Some("1"))], ErrorCode::InvalidRequest),
        (
            vec![setting("retention.ms", delete, None), setting("retention.ms", set, Some("1"))],
            ErrorCode::InvalidRequest,
        ),
    ] {
        assert_eq!(alter(&mut client, TOPIC, "a", configs.clone()).await, code.code(), "{configs:?}");
    }
    let config = broker.node.topics().get("a").unwrap().config();
    assert_eq!((config.retention_ms, config.segment_bytes), (7000, 1 << 30));
    assert_eq!(described(&mut client, "cleanup.policy").await, ("compact".into(), 1, vec![1, 5]));
    assert_eq!(described(&mut client, "retention.ms").await, ("7000".into(), 1, vec![1, 4, 5]));
    alter(&mut client, TOPIC, "a", vec![setting("retention.ms", delete, None)]).await;
    assert_eq!(described(&mut client, "retention.ms").await, ("5000".into(), 4, vec![4, 5]));

    let all = AlterConfigsResource {
        resource_type: TOPIC,
        resource_name: "a".into(),
        configs: vec![AlterableConfig { name: "segment.ms".into(), value: Some("9000".into()) }],
    };
    let request = AlterConfigsRequest { resources: vec![all], ..AlterConfigsRequest::default() };
    let Response::AlterConfigs(response) = client.ask(2, request).await else { panic!() };
    assert_eq!(response.responses[0].error_code, 0);
    assert_eq!(described(&mut client, "cleanup.policy").await, ("delete".into(), 5, vec![5]));
    assert_eq!(described(&mut client, "segment.ms").await, ("9000".into(), 1, vec![1, 5]));

    for (kind, name, code) in [
        (TOPIC, "b", ErrorCode::UnknownTopicOrPartition),
        (BROKER, "1", ErrorCode::InvalidRequest),
        (BROKER, "2", ErrorCode::InvalidRequest),
        (99, "1", ErrorCode::InvalidRequest),
    ] {
        let configs = vec![setting("retention.ms", set, Some("1"))];
        assert_eq!(alter(&mut client, kind, name, configs).await, code.code(), "{kind} {name}");
    }
}

#[tokio::test]
async fn topics_get_more_partitions_and_never_fewer() {
    let broker = Broker::start().await;
    let mut client = broker.client_with("a", 2).await;
    for (count, validate_only, code, has) in [
        (3, true, ErrorCode::None, 2),
        (3, false, ErrorCode::None, 3),
        (3, false, ErrorCode::InvalidPartitions, 3),
        (1, false, ErrorCode::InvalidPartitions, 3),
        (i32::MAX, false, ErrorCode::InvalidPartitions, 3),
    ] {
        let topic = CreatePartitionsTopic { name: "a".into(), count, assignments: None };
        let request = CreatePartitionsRequest { topics: vec![topic], validate_only, ..Default::default() };
        let Response::CreatePartitions(response) = client.ask(3, request).await else { panic!() };
        assert_eq!(response.results[0].error_code, code.code(), "{count}");
        assert_eq!(broker.node.topics().get("a").unwrap().partitions().len(), has);
    }
    let Response::Produce(response) = client.ask(9, produce("a", 2, -1, batch(&["v"]))).await else {
        panic!()
    };
    assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
}

#[tokio::test]
async fn no_leader_needs_to_be_elected() {
    let broker = Broker::start().await;
    let mut client = broker.client_with("a", 1).await;
    let named = |topic: &'static str, partitions: &[i32]| TopicPartitions {
        topic: topic.into(),
        partitions: partitions.to_vec(),
    };
    let (led, unknown) = (ErrorCode::ElectionNotNeeded.code(), ErrorCode::UnknownTopicOrPartition.code());
    for (topic_partitions, codes) in [
        (Some(vec![named("a", &[0, 1]), named("b", &[0])]), vec![led, unknown, unknown]),
        (Some(Vec::new()), Vec::new()),
        (None, Vec::new()),
    ] {
        let request = ElectLeadersRequest { topic_partitions, ..Default::default() };
        let Response::ElectLeaders(response) = client.ask(2, request).await else { panic!() };
        let results = response.replica_election_results.iter().flat_map(|topic| &topic.partition_result);
        assert_eq!(results.map(|result| result.error_code).collect::<Vec<_>>(), codes);
        assert_eq!(response.error_code, 0);
    }
}

#[tokio::test]
async fn records_below_an_offset_go() {
    let broker = Broker::start().await;
    let mut client = broker.client_with("a", 1).await;
    client.produce("a", batch(&["a", "b", "c"])).await;
    let out = ErrorCode::OffsetOutOfRange;
    for (offset, code, low) in [
        (1, ErrorCode::None, 1),
        (0, ErrorCode::None, 1),
        (4, out, -1),
        (-2, out, -1),
        (-1, ErrorCode::None, 3),
    ] {
        let partitions = vec![DeleteRecordsPartition { partition_index: 0, offset }];
        let topics = vec![DeleteRecordsTopic { name: "a".into(), partitions }];
        let request = DeleteRecordsRequest { topics, ..DeleteRecordsRequest::default() };
        let Response::DeleteRecords(response) = client.ask(2, request).await else { panic!() };
        let result = &response.topics[0].partitions[0];
        assert_eq!((result.error_code, result.low_watermark), (code.code(), low), "{offset}");
    }
}

#[tokio::test]
async fn partitions_are_listed_page_by_page() {
    let broker = Broker::start().await;
    let mut client = broker.client_with("a", 3).await;
    broker.node.create_topic("b", 2, Overrides::default()).unwrap().1.wait().await;
    let (mut cursor, mut pages) = (None, Vec::new());
    loop {
        let request =
            DescribeTopicPartitionsRequest { response_partition_limit: 2, cursor, ..Default::default() };
        let Response::DescribeTopicPartitions(page) = client.ask(0, request).await else { panic!() };
        let partitions = page.topics.iter().flat_map(|topic| {
            let name = topic.name.as_deref().unwrap();
            topic.partitions.iter().map(move |partition| format!("{name}{}", partition.partition_index))
        });
        pages.push(partitions.collect::<Vec<_>>().join(" "));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(pages, ["a0 a1", "a2 b0", "b1"]);
}

async fn alter(client: &mut Client, kind: i8, name: &str, configs: Vec<incremental::AlterableConfig>) -> i16 {
    let resource = incremental::AlterConfigsResource {
        resource_type: kind,
        resource_name: name.to_owned().into(),
        configs,
    };
    let request =
        incremental::IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
    let Response::IncrementalAlterConfigs(response) = client.ask(1, request).await else { panic!() };
    response.responses[0].error_code
}

/// Value, source, and the sources of all values.
async fn described(client: &mut Client, setting: &'static str) -> (String, i8, Vec<i8>) {
    let resource = DescribeConfigsResource {
        resource_type: TOPIC,
        resource_name: "a".into(),
        configuration_keys: Some(vec![setting.into()]),
    };
    let request =
        DescribeConfigsRequest { resources: vec![resource], include_synonyms: true, ..Default::default() };
    let Response::DescribeConfigs(response) = client.ask(4, request).await else { panic!() };
    let [config] = &response.results[0].configs[..] else { panic!("{response:?}") };
    let sources = config.synonyms.iter().map(|synonym| synonym.source).collect();
    (config.value.as_deref().unwrap().to_owned(), config.config_source, sources)
}
