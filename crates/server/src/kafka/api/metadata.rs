//! The node, and the topics. A topic that is not there is made, if client and node agree.

use std::sync::Arc;

use cauce_broker::stream::{Topic, TopicError};
use cauce_core::stream::LEADER_EPOCH;
use cauce_core::topic::{Overrides, TopicId, is_internal};
use cauce_kafka::messages::metadata::*;
use cauce_kafka::{ErrorCode, Text, Uuid};

use super::{Call, Right, distinct, text};
use crate::kafka::error::Coded;

pub(super) async fn answer(call: &Call, request: MetadataRequest) -> MetadataResponse {
    let node = &call.service.node;
    let mut topics = Vec::new();
    // Version 0 had no null: none was all.
    match request.topics.filter(|wanted| call.version > 0 || !wanted.is_empty()) {
        None => {
            let all = node.topics().all();
            let known = all.iter().filter(|topic| call.may(Right::Describe, &topic.name));
            topics.extend(known.map(|topic| described(call, topic)));
        }
        Some(wanted) => {
            let wanted = distinct(wanted, |topic| (topic.topic_id, topic.name.clone()));
            for MetadataRequestTopic { topic_id, name } in wanted {
                let found = match name {
                    Some(name) => by_name(call, name, request.allow_auto_topic_creation).await,
                    None => by_id(call, topic_id),
                };
                topics.push(found);
            }
        }
    }
    if request.include_topic_authorized_operations {
        for topic in topics.iter_mut().filter(|topic| topic.error_code == 0) {
            topic.topic_authorized_operations =
                call.topic_operations(topic.name.as_deref().unwrap_or_default());
        }
    }
    let mut response = MetadataResponse {
        brokers: vec![MetadataResponseBroker {
            node_id: call.node_id(),
            host: text(&call.host),
            port: call.port.into(),
            rack: None,
        }],
        cluster_id: Some(text(node.cluster())),
        controller_id: call.node_id(),
        topics,
        ..MetadataResponse::default()
    };
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = call.cluster_operations();
    }
    response
}

async fn by_name(call: &Call, name: Text, may_create: bool) -> MetadataResponseTopic {
    let node = &call.service.node;
    if let Err(code) = call.check_topic(Right::Describe, &name) {
        return failed(name, code);
    }
    if let Some(topic) = node.topics().get(&name) {
        return described(call, &topic);
    }
    let settings = &node.settings().node;
    let creates = may_create && settings.auto_create_topics && !is_internal(&name);
    if creates && let Err(code) = call.check_topic(Right::Configure, &name) {
        return failed(name, code);
    }
    let created = match creates {
        true => node.create_topic(&name, settings.num_partitions, Overrides::default()),
        // Whether it could be there at all is said all the same.
        false => node
            .check_new_topic(&name, 1, &Overrides::default())
            .and(Err(TopicError::Unknown(name.to_string()))),
    };
    match created {
        Ok((topic, saved)) => {
            saved.wait().await;
            described(call, &topic)
        }
        Err(error) => match node.topics().get(&name) {
            // Somebody else was faster.
            Some(topic) => described(call, &topic),
            None => failed(name, error.code()),
        },
    }
}

fn failed(name: Text, code: ErrorCode) -> MetadataResponseTopic {
    MetadataResponseTopic { error_code: code.code(), name: Some(name), ..MetadataResponseTopic::default() }
}

fn by_id(call: &Call, id: Uuid) -> MetadataResponseTopic {
    let topic = call.service.node.topics().by_id(TopicId(id.0));
    match topic.filter(|topic| call.may(Right::Describe, &topic.name)) {
        Some(topic) => described(call, &topic),
        None => MetadataResponseTopic {
            error_code: ErrorCode::UnknownTopicId.code(),
            name: None,
            topic_id: id,
            ..MetadataResponseTopic::default()
        },
    }
}

fn described(call: &Call, topic: &Arc<Topic>) -> MetadataResponseTopic {
    let partitions = topic.partitions();
    let partitions = partitions.iter().map(|partition| MetadataResponsePartition {
        partition_index: partition.at.partition,
        leader_id: call.node_id(),
        leader_epoch: LEADER_EPOCH,
        replica_nodes: vec![call.node_id()],
        isr_nodes: vec![call.node_id()],
        ..MetadataResponsePartition::default()
    });
    MetadataResponseTopic {
        name: Some(text(&topic.name)),
        topic_id: Uuid(topic.id.0),
        is_internal: topic.is_internal(),
        partitions: partitions.collect(),
        ..MetadataResponseTopic::default()
    }
}
