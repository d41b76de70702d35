//! Topics and their partitions, page by page, in the order of names.

use std::collections::BTreeSet;
use std::sync::Arc;

use cauce_broker::stream::Topic;
use cauce_core::stream::LEADER_EPOCH;
use cauce_core::topic::TopicName;
use cauce_kafka::messages::describe_topic_partitions::*;
use cauce_kafka::{ErrorCode, Uuid};

use super::{Call, Right, text};

/// Partitions on one page.
const PAGE_MAX: i32 = 2000;

pub(super) fn answer(
    call: &Call,
    request: &DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let mut left = request.response_partition_limit.clamp(1, PAGE_MAX) as usize;
    let mut response = DescribeTopicPartitionsResponse::default();
    for (name, topic) in wanted(call, request) {
        let skipped = match &request.cursor {
            Some(cursor) if *cursor.topic_name == *name => cursor.partition_index.max(0) as usize,
            _ => 0,
        };
        if left == 0 {
            response.next_cursor = Some(Cursor { topic_name: text(name), partition_index: 0 });
            break;
        }
        let Some(topic) = topic else {
            left -= 1;
            response.topics.push(unknown(call, &name));
            continue;
        };
        let shown = described(call, &topic, skipped, left);
        let next = skipped + shown.partitions.len();
        left -= shown.partitions.len();
        response.topics.push(shown);
        if next < topic.partitions().len() {
            response.next_cursor = Some(Cursor { topic_name: text(name), partition_index: next as i32 });
            break;
        }
    }
    response
}

/// From the cursor on: those that were named, or all.
fn wanted(call: &Call, request: &DescribeTopicPartitionsRequest) -> Vec<(String, Option<Arc<Topic>>)> {
    let topics = call.service.node.topics();
    let from = request.cursor.as_ref().map_or("", |cursor| &*cursor.topic_name);
    if request.topics.is_empty() {
        let known = |topic: &Arc<Topic>| call.may(Right::Describe, &topic.name);
        let all = topics.all().into_iter().filter(known).map(|topic| (topic.name.to_string(), Some(topic)));
        return all.filter(|(name, _)| &**name >= from).collect();
    }
    let names: BTreeSet<&str> = request.topics.iter().map(|topic| &*topic.name).collect();
    let find = |name: &str| topics.get(name).filter(|_| call.may(Right::Describe, name));
    names.range(from..).map(|name| ((*name).to_owned(), find(name))).collect()
}

fn unknown(call: &Call, name: &str) -> DescribeTopicPartitionsResponseTopic {
    let code = match (call.check_topic(Right::Describe, name), TopicName::parse(name)) {
        (Err(code), _) => code,
        (Ok(()), Ok(_)) => ErrorCode::UnknownTopicOrPartition,
        (Ok(()), Err(_)) => ErrorCode::InvalidTopic,
    };
    DescribeTopicPartitionsResponseTopic {
        error_code: code.code(),
        name: Some(text(name)),
        ..DescribeTopicPartitionsResponseTopic::default()
    }
}

fn described(
    call: &Call,
    topic: &Topic,
    skipped: usize,
    most: usize,
) -> DescribeTopicPartitionsResponseTopic {
    let node_id = call.node_id();
    let all = topic.partitions();
    let partitions = all.iter().skip(skipped).take(most);
    let partitions = partitions.map(|partition| DescribeTopicPartitionsResponsePartition {
        partition_index: partition.at.partition,
        leader_id: node_id,
        leader_epoch: LEADER_EPOCH,
        replica_nodes: vec![node_id],
        isr_nodes: vec![node_id],
        eligible_leader_replicas: Some(Vec::new()),
        last_known_elr: Some(Vec::new()),
        ..DescribeTopicPartitionsResponsePartition::default()
    });
    DescribeTopicPartitionsResponseTopic {
        name: Some(text(&topic.name)),
        topic_id: Uuid(topic.id.0),
        is_internal: topic.is_internal(),
        partitions: partitions.collect(),
        topic_authorized_operations: call.topic_operations(&topic.name),
        ..DescribeTopicPartitionsResponseTopic::default()
    }
}
