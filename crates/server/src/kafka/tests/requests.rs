//! A request of each API that somebody may lack the permission for, about a topic, a group or a transactional id.

use std::collections::BTreeSet;

use cauce_kafka::messages::{
    add_offsets_to_txn, add_partitions_to_txn, alter_configs, create_partitions, create_topics,
    delete_groups, delete_records, delete_topics, describe_configs, describe_groups, describe_producers,
    describe_topic_partitions, describe_transactions, end_txn, find_coordinator, heartbeat,
    incremental_alter_configs, init_producer_id, join_group, leave_group, list_offsets, metadata,
    offset_commit, offset_delete, offset_fetch, offset_for_leader_epoch, sync_group, txn_offset_commit,
    write_txn_markers,
};
use cauce_kafka::{Api, ErrorCode, Request, Response, Text};

use super::transactions::Producer;

pub(super) const TOPIC: i8 = 2;
pub(super) const BROKER: i8 = 4;

/// The newest version in which topics have names, and a transaction stands alone.
pub(super) fn version(api: Api) -> i16 {
    match api {
        Api::Produce | Api::Fetch => 12,
        Api::AddPartitionsToTxn => 3,
        Api::DeleteTopics => 5,
        api => *api.versions().end(),
    }
}

pub(super) fn metadata(topic: &str) -> Request {
    let topic = metadata::MetadataRequestTopic { name: Some(name(topic)), ..Default::default() };
    metadata::MetadataRequest { topics: Some(vec![topic]), ..Default::default() }.into()
}

pub(super) fn list_offsets(topic: &str) -> Request {
    let partitions = vec![Default::default()];
    let topics = vec![list_offsets::ListOffsetsTopic { name: name(topic), partitions }];
    list_offsets::ListOffsetsRequest { topics, ..Default::default() }.into()
}

pub(super) fn leader_epochs(topic: &str) -> Request {
    let partitions = vec![Default::default()];
    let topics = vec![offset_for_leader_epoch::OffsetForLeaderTopic { topic: name(topic), partitions }];
    offset_for_leader_epoch::OffsetForLeaderEpochRequest { topics, ..Default::default() }.into()
}

/// No topics: all of them.
pub(super) fn page(topics: &[&str]) -> Request {
    let topics = topics.iter().map(|topic| describe_topic_partitions::TopicRequest { name: name(topic) });
    let topics = topics.collect();
    describe_topic_partitions::DescribeTopicPartitionsRequest { topics, ..Default::default() }.into()
}

pub(super) fn producers(topic: &str) -> Request {
    let topic = describe_producers::TopicRequest { name: name(topic), partition_indexes: vec![0] };
    describe_producers::DescribeProducersRequest { topics: vec![topic] }.into()
}

pub(super) fn create_topic(topic: &str) -> Request {
    let topic = create_topics::CreatableTopic {
        name: name(topic),
        num_partitions: 1,
        replication_factor: 1,
        ..Default::default()
    };
    create_topics::CreateTopicsRequest { topics: vec![topic], ..Default::default() }.into()
}

pub(super) fn create_partitions(topic: &str) -> Request {
    let topic = create_partitions::CreatePartitionsTopic { name: name(topic), count: 2, assignments: None };
    create_partitions::CreatePartitionsRequest { topics: vec![topic], ..Default::default() }.into()
}

/// All there are.
pub(super) fn delete_records(topic: &str) -> Request {
    let partitions = vec![delete_records::DeleteRecordsPartition { partition_index: 0, offset: -1 }];
    let topic = delete_records::DeleteRecordsTopic { name: name(topic), partitions };
    delete_records::DeleteRecordsRequest { topics: vec![topic], ..Default::default() }.into()
}

pub(super) fn delete_topic(topic: &str) -> Request {
    delete_topics::DeleteTopicsRequest { topic_names: vec![name(topic)], ..Default::default() }.into()
}

pub(super) fn describe_configs(resource_type: i8, of: &str) -> Request {
    let resource = describe_configs::DescribeConfigsResource {
        resource_type,
        resource_name: name(of),
        configuration_keys: None,
    };
    describe_configs::DescribeConfigsRequest { resources: vec![resource], ..Default::default() }.into()
}

pub(super) fn alter_configs(resource_type: i8, of: &str) -> Request {
    let resource =
        alter_configs::AlterConfigsResource { resource_type, resource_name: name(of), configs: Vec::new() };
    alter_configs::AlterConfigsRequest { resources: vec![resource], ..Default::default() }.into()
}

pub(super) fn change_configs(resource_type: i8, of: &str) -> Request {
    let resource = incremental_alter_configs::AlterConfigsResource {
        resource_type,
        resource_name: name(of),
        configs: Vec::new(),
    };
    let resources = vec![resource];
    incremental_alter_configs::IncrementalAlterConfigsRequest { resources, ..Default::default() }.into()
}

pub(super) fn find_group(group: &str) -> Request {
    find_coordinator::FindCoordinatorRequest { coordinator_keys: vec![name(group)], ..Default::default() }
        .into()
}

pub(super) fn find_transaction(id: &str) -> Request {
    let coordinator_keys = vec![name(id)];
    find_coordinator::FindCoordinatorRequest { key_type: 1, coordinator_keys, ..Default::default() }.into()
}

pub(super) fn join(group: &str) -> Request {
    join_group::JoinGroupRequest { group_id: name(group), ..Default::default() }.into()
}

pub(super) fn sync(group: &str) -> Request {
    sync_group::SyncGroupRequest {
        group_id: name(group),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        ..Default::default()
    }
    .into()
}

pub(super) fn heartbeat(group: &str) -> Request {
    heartbeat::HeartbeatRequest { group_id: name(group), ..Default::default() }.into()
}

pub(super) fn leave(group: &str) -> Request {
    leave_group::LeaveGroupRequest { group_id: name(group), ..Default::default() }.into()
}

pub(super) fn commit(group: &str, topics: &[&str]) -> Request {
    let topics = topics.iter().map(|topic| offset_commit::OffsetCommitRequestTopic {
        name: name(topic),
        partitions: vec![Default::default()],
    });
    let (group_id, topics) = (name(group), topics.collect());
    offset_commit::OffsetCommitRequest { group_id, topics, ..Default::default() }.into()
}

/// All offsets of the group.
pub(super) fn committed(group: &str) -> Request {
    let group =
        offset_fetch::OffsetFetchRequestGroup { group_id: name(group), topics: None, ..Default::default() };
    offset_fetch::OffsetFetchRequest { groups: vec![group], ..Default::default() }.into()
}

pub(super) fn describe_group(group: &str) -> Request {
    describe_groups::DescribeGroupsRequest { groups: vec![name(group)], ..Default::default() }.into()
}

pub(super) fn delete_offsets(group: &str) -> Request {
    offset_delete::OffsetDeleteRequest { group_id: name(group), ..Default::default() }.into()
}

pub(super) fn delete_group(group: &str) -> Request {
    delete_groups::DeleteGroupsRequest { groups_names: vec![name(group)] }.into()
}

/// No transactional id: an idempotent producer.
pub(super) fn init_producer(id: Option<&str>) -> Request {
    init_producer_id::InitProducerIdRequest {
        transactional_id: id.map(name),
        transaction_timeout_ms: 60_000,
        ..Default::default()
    }
    .into()
}

pub(super) fn add_partition(id: &str, topic: &str) -> Request {
    let topic = add_partitions_to_txn::AddPartitionsToTxnTopic { name: name(topic), partitions: vec![0] };
    add_partitions_to_txn::AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: name(id),
        v3_and_below_topics: vec![topic],
        ..Default::default()
    }
    .into()
}

pub(super) fn add_offsets(id: &str, group: &str) -> Request {
    add_offsets_to_txn::AddOffsetsToTxnRequest {
        transactional_id: name(id),
        group_id: name(group),
        ..Default::default()
    }
    .into()
}

pub(super) fn commit_in_transaction(id: &str, group: &str, topic: &str) -> Request {
    txn_offset_commit::TxnOffsetCommitRequest {
        transactional_id: name(id),
        group_id: name(group),
        topics: vec![txn_offset_commit::TxnOffsetCommitRequestTopic {
            name: name(topic),
            partitions: vec![Default::default()],
        }],
        ..Default::default()
    }
    .into()
}

pub(super) fn end_transaction(id: &str, committed: bool) -> Request {
    end_txn::EndTxnRequest { transactional_id: name(id), committed, ..Default::default() }.into()
}

/// A request of a transaction, by this producer.
pub(super) fn by(producer: Producer, mut request: Request) -> Request {
    let (id, epoch) = match &mut request {
        Request::AddPartitionsToTxn(request) => {
            (&mut request.v3_and_below_producer_id, &mut request.v3_and_below_producer_epoch)
        }
        Request::AddOffsetsToTxn(request) => (&mut request.producer_id, &mut request.producer_epoch),
        Request::TxnOffsetCommit(request) => (&mut request.producer_id, &mut request.producer_epoch),
        Request::EndTxn(request) => (&mut request.producer_id, &mut request.producer_epoch),
        _ => return request,
    };
    (*id, *epoch) = producer;
    request
}

pub(super) fn describe_transaction(id: &str) -> Request {
    describe_transactions::DescribeTransactionsRequest { transactional_ids: vec![name(id)] }.into()
}

pub(super) fn write_marker(topic: &str) -> Request {
    let topic = write_txn_markers::WritableTxnMarkerTopic { name: name(topic), partition_indexes: vec![0] };
    let marker = write_txn_markers::WritableTxnMarker { topics: vec![topic], ..Default::default() };
    write_txn_markers::WriteTxnMarkersRequest { markers: vec![marker] }.into()
}

/// All errors in an answer, or none.
pub(super) fn errors_in(response: &Response) -> BTreeSet<ErrorCode> {
    // Where they are in the answer differs from API to API; what they are called does not.
    let text = format!("{response:?}");
    let numbers = text.split("error_code: ").skip(1).map(|rest| {
        let end = rest.find(|letter: char| letter != '-' && !letter.is_ascii_digit()).unwrap();
        ErrorCode::from_code(rest[..end].parse().unwrap()).unwrap()
    });
    let mut errors: BTreeSet<ErrorCode> = numbers.collect();
    assert!(!errors.is_empty(), "{text}");
    if errors.len() > 1 {
        errors.remove(&ErrorCode::None);
    }
    errors
}

fn name(text: &str) -> Text {
    text.to_owned().into()
}
