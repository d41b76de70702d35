//! More partitions for topics.

use std::collections::HashSet;

use cauce_broker::Saved;
use cauce_kafka::ErrorCode;
use cauce_kafka::messages::create_partitions::*;

use super::configs::{Refused, invalid};
use super::{Call, Right, text};

pub(super) async fn answer(call: &Call, request: CreatePartitionsRequest) -> CreatePartitionsResponse {
    let mut seen = HashSet::new();
    let mut response = CreatePartitionsResponse::default();
    let mut unsaved = Vec::new();
    for topic in request.topics {
        let added = match seen.insert(topic.name.clone()) {
            true => add(call, &topic, request.validate_only),
            false => Err(invalid("the topic is named twice")),
        };
        let mut result =
            CreatePartitionsTopicResult { name: topic.name, ..CreatePartitionsTopicResult::default() };
        match added {
            Ok(saved) => unsaved.push(saved),
            Err(Refused(code, reason)) => {
                (result.error_code, result.error_message) = (code.code(), Some(text(reason)));
            }
        }
        response.results.push(result);
    }
    unsaved.into_iter().collect::<Saved>().wait().await;
    response
}

fn add(call: &Call, topic: &CreatePartitionsTopic, validate_only: bool) -> Result<Saved, Refused> {
    let node = &call.service.node;
    call.authorize(Right::Configure, &topic.name)?;
    if let (Some(assignments), Some(known)) = (&topic.assignments, node.topics().get(&topic.name)) {
        let more = topic.count - known.partitions().len() as i32;
        let here = assignments.iter().all(|assignment| assignment.broker_ids == [call.node_id()]);
        if !here || more != assignments.len() as i32 {
            let reason = format!("{more} new partitions can be on broker {} only", call.node_id());
            return Err(Refused(ErrorCode::InvalidReplicaAssignment, reason));
        }
    }
    Ok(node.add_partitions(&topic.name, topic.count, validate_only)?)
}
