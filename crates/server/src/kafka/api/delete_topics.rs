//! Deletes topics, by name or by id.

use cauce_kafka::messages::delete_topics::*;
use cauce_kafka::{ErrorCode, Text, Uuid};

use super::{Call, Right, text};
use crate::kafka::error::Coded;

pub(super) async fn answer(call: &Call, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let by_name = request.topic_names.into_iter().map(|name| (Some(name), Uuid::ZERO));
    let by_either = request.topics.into_iter().map(|topic| (topic.name, topic.topic_id));
    let mut response = DeleteTopicsResponse::default();
    for (name, id) in by_name.chain(by_either) {
        response.responses.push(delete(call, name, id).await);
    }
    response
}

async fn delete(call: &Call, name: Option<Text>, id: Uuid) -> DeletableTopicResult {
    let node = &call.service.node;
    let mut result = DeletableTopicResult { name, topic_id: id, ..DeletableTopicResult::default() };
    let mut refuse = |code: ErrorCode, reason: &str| {
        (result.error_code, result.error_message) = (code.code(), Some(text(reason)));
    };
    if !node.settings().node.delete_topics {
        refuse(ErrorCode::TopicDeletionDisabled, "delete.topic.enable is false");
        return result;
    }
    let found = match (&result.name, id) {
        (Some(_), id) if id != Uuid::ZERO => {
            refuse(ErrorCode::InvalidRequest, "a name and an id, where one may be");
            return result;
        }
        (Some(name), _) => call
            .check_topic(Right::Configure, name)
            .and_then(|()| node.topics().get(name).ok_or(ErrorCode::UnknownTopicOrPartition)),
        (None, id) => call.topic(Right::Configure, "", id),
    };
    let topic = match found {
        Ok(topic) => topic,
        Err(code @ ErrorCode::TopicAuthorizationFailed) => {
            refuse(code, "no permission for this topic");
            return result;
        }
        Err(code) => {
            refuse(code, "no such topic");
            return result;
        }
    };
    match node.delete_topic(&topic.name).await {
        Ok(()) => {}
        Err(error) => refuse(error.code(), &error.to_string()),
    }
    result.name = Some(text(&topic.name));
    result.topic_id = Uuid(topic.id.0);
    result
}
