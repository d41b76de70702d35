//! Makes topics.

use std::collections::HashMap;

use cauce_broker::stream::TopicError;
use cauce_core::topic::{Overrides, TopicConfig, is_internal};
use cauce_kafka::messages::create_topics::*;
use cauce_kafka::{ErrorCode, Text, Uuid};

use super::configs::{FROM_BROKER, FROM_DEFAULT, FROM_TOPIC, Refused, invalid};
use super::{Call, Right, text};

/// Partitions that one request may make.
const PARTITIONS_MAX: i64 = 10_000;

pub(super) async fn answer(call: &Call, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let mut named: HashMap<Text, usize> = HashMap::new();
    for topic in &request.topics {
        *named.entry(topic.name.clone()).or_default() += 1;
    }
    let mut response = CreateTopicsResponse::default();
    let mut unsaved = Vec::new();
    let mut left = PARTITIONS_MAX;
    for topic in request.topics {
        let twice = named[&topic.name] > 1;
        let plain = CreatableTopicResult { name: topic.name.clone(), ..CreatableTopicResult::default() };
        let made = match twice {
            true => Err(invalid("the topic is named twice")),
            false => make(call, &topic, request.validate_only, &mut left),
        };
        response.topics.push(match made {
            Ok(Made { id, partitions, config, overrides, saved }) => {
                unsaved.extend(saved);
                CreatableTopicResult {
                    topic_id: id,
                    error_message: None,
                    num_partitions: partitions,
                    replication_factor: 1,
                    configs: Some(described(&call.service.node.settings().topic, &config, &overrides)),
                    ..plain
                }
            }
            Err(Refused(code, reason)) => {
                CreatableTopicResult { error_code: code.code(), error_message: Some(text(reason)), ..plain }
            }
        });
    }
    for saved in unsaved {
        saved.wait().await;
    }
    response
}

struct Made {
    id: Uuid,
    partitions: i32,
    config: TopicConfig,
    overrides: Overrides,
    saved: Option<cauce_broker::Saved>,
}

fn make(call: &Call, topic: &CreatableTopic, validate_only: bool, left: &mut i64) -> Result<Made, Refused> {
    let node = &call.service.node;
    call.authorize(Right::Configure, &topic.name)?;
    let partitions = partitions(call, topic)?;
    *left -= i64::from(partitions.max(1));
    if *left < 0 {
        let reason = format!("more than {PARTITIONS_MAX} partitions in a request");
        return Err(Refused(ErrorCode::PolicyViolation, reason));
    }
    let mut settings = Vec::with_capacity(topic.configs.len());
    for CreatableTopicConfig { name, value } in &topic.configs {
        let value = value
            .as_deref()
            .ok_or_else(|| Refused(ErrorCode::InvalidConfig, format!("setting '{name}' has no value")))?;
        settings.push((&**name, value));
    }
    let overrides = Overrides::parse(settings).map_err(TopicError::from)?;
    if is_internal(&topic.name) {
        return Err(TopicError::Internal(topic.name.to_string()).into());
    }
    node.check_new_topic(&topic.name, partitions, &overrides)?;
    let config = overrides.over(&node.settings().topic).map_err(TopicError::from)?;
    if validate_only {
        return Ok(Made { id: Uuid::ZERO, partitions, config, overrides, saved: None });
    }
    let (made, saved) = node.create_topic(&topic.name, partitions, overrides.clone())?;
    Ok(Made { id: Uuid(made.id.0), partitions, config, overrides, saved: Some(saved) })
}

/// How many partitions are wanted, of which each must be on this node and nowhere else.
fn partitions(call: &Call, topic: &CreatableTopic) -> Result<i32, Refused> {
    let settings = &call.service.node.settings().node;
    if topic.assignments.is_empty() {
        if !matches!(topic.replication_factor, -1 | 1) {
            let reason = format!("replication factor {}, and there is one broker", topic.replication_factor);
            return Err(Refused(ErrorCode::InvalidReplicationFactor, reason));
        }
        return Ok(if topic.num_partitions == -1 { settings.num_partitions } else { topic.num_partitions });
    }
    if topic.num_partitions != -1 || topic.replication_factor != -1 {
        let reason = "replicas are assigned, so their numbers must be left open".to_owned();
        return Err(Refused(ErrorCode::InvalidRequest, reason));
    }
    let mut numbers: Vec<i32> = topic.assignments.iter().map(|each| each.partition_index).collect();
    numbers.sort_unstable();
    let here = topic.assignments.iter().all(|each| each.broker_ids == [settings.node_id]);
    match here && numbers.iter().copied().eq(0..numbers.len() as i32) {
        true => Ok(numbers.len() as i32),
        false => {
            let reason = format!("partitions 0 and up can be on broker {} only", settings.node_id);
            Err(Refused(ErrorCode::InvalidReplicaAssignment, reason))
        }
    }
}

fn described(usual: &TopicConfig, config: &TopicConfig, overrides: &Overrides) -> Vec<CreatableTopicConfigs> {
    let defaults = TopicConfig::default();
    let describe = |(name, _): &(&'static str, _)| CreatableTopicConfigs {
        name: Text::from(*name),
        value: config.get(name).map(text),
        config_source: match overrides.get(name) {
            Some(_) => FROM_TOPIC,
            None if usual.get(name) != defaults.get(name) => FROM_BROKER,
            None => FROM_DEFAULT,
        },
        ..CreatableTopicConfigs::default()
    };
    TopicConfig::NAMES.iter().map(describe).collect()
}
