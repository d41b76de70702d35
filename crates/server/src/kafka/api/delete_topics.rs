//! Deletes topics, by name or by id.

use cauce_core::topic::TopicId;
use cauce_kafka::messages::delete_topics::*;
use cauce_kafka::{ErrorCode, Text, Uuid};

use super::{Call, text};
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
    let mut refuse = |code: ErrorCode, reason: String| {
        (result.error_code, result.error_message) = (code.code(), Some(text(reason)));
    };
    if !node.settings().node.delete_topics {
        refuse(ErrorCode::TopicDeletionDisabled, "delete.topic.enable is false".to_owned());
        return result;
    }
    let found = match (&result.name, id) {
        (Some(_), id) if id != Uuid::ZERO => {
            refuse(ErrorCode::InvalidRequest, "a name and an id, where one may be".to_owned());
            return result;
        }
        (Some(name), _) => node.topics().get(name),
        (None, Uuid(id)) => node.topics().by_id(TopicId(id)),
    };
    let Some(topic) = found else {
        let code = match result.name {
            Some(_) => ErrorCode::UnknownTopicOrPartition,
            None => ErrorCode::UnknownTopicId,
        };
        refuse(code, "no such topic".to_owned());
        return result;
    };
    match node.delete_topic(&topic.name).await {
        Ok(()) => {}
        Err(error) => refuse(error.code(), error.to_string()),
    }
    result.name = Some(text(&topic.name));
    result.topic_id = Uuid(topic.id.0);
    result
}
